"""What shared sources are worth: all systems on the official-style split and on source-disjoint folds.

Every seed is a new draw of clips and new weights, trained by the runner of ``apt run`` on a store of synthetic
feature vectors, once on a split whose sources overlap as the official ones do and once on five folds of whole
sources. Clips and sources of all seeds are then taken together. Also measured: stage 4 against stage 2, coverage of
the prediction intervals, and whether the spread of the scores over subsets of modalities would sharpen them. What
is found is in docs/results.md.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

from apt_lightning.evaluation.conformal import coverage, fit_conformal
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS, comparison_table, score, score_by_seen
from apt_lightning.evaluation.predictions import Predictions, read_predictions
from apt_lightning.evaluation.significance import COMPARED, Difference, compare
from apt_lightning.evaluation.tables import interval, number, p_value, render
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.results import read_run
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run
from studies.embedding_study import Condition, build_store
from studies.embedding_tables import cell
from studies.spread_study import spread_table

PROTOCOLS = {"official": None, "disjoint": 5}
"""Name to the number of source-disjoint folds."""
QUICK = ("--patience=10", "--data.batch_size=128")
"""Stage 1 only: all modalities are vectors here, and one net is as quick to train as another."""
RIDGE, BASELINE, FINAL = "ridge on the same features", "A+V+T baseline (stage 2)", "with embeddings (stage 4)"


def train(out: Path, n_clips: int, seed: int) -> dict[str, Path]:
    """Train one draw of clips under both protocols; what is complete is not trained again."""
    folder = out / f"seed{seed}"
    store = folder / "store"
    if not (store / "features").is_dir():
        build_store(folder, n_clips, Condition("official", False, seed))
    units = [replace(unit, options=QUICK) if unit.name.startswith("stage1") else unit for unit in run_units()]
    runs = {}
    for protocol, folds in PROTOCOLS.items():
        settings = RunSettings(
            str(store),
            str(folder / protocol),
            seeds=[seed],
            folds=folds,
            options=["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"],
        )
        with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            run(settings, units)
        runs[protocol] = folder / protocol
    return runs


def tagged(table: Predictions, seed: int) -> Predictions:
    """Name clips and sources by their draw, so that tables of several draws can be joined."""
    return replace(
        table,
        clips=[f"{seed}/{clip}" for clip in table.clips],
        sources=[f"{seed}/{source}" for source in table.sources],
    )


def together(runs: dict[int, Path]) -> dict[str, Predictions]:
    """Test predictions of each system, the draws one after another."""
    parts: dict[str, list[Predictions]] = {}
    for seed, folder in runs.items():
        for name, (table,) in read_run(folder).systems.items():
            parts.setdefault(name, []).append(tagged(table, seed))
    return {name: Predictions.join(tables) for name, tables in parts.items()}


def extremes_table(systems: dict[str, Predictions], title: str) -> str:
    """The form of the paper's Table 2: all, low and high clips of stages 2 and 4."""
    scores = {name: score(systems[name]) for name in (BASELINE, FINAL)}
    rows = []
    for i, column in enumerate(TRAIT_COLUMNS):
        cells = [
            interval(float(s.values[m][i]), float(s.lower[m][i]), float(s.upper[m][i]))
            for s in scores.values()
            for m in ("1-MAE", "low", "high")
        ]
        rows.append([column, *cells])
    head = ["", *(f"{stage}, {part}" for stage in ("stage 2", "stage 4") for part in ("all", "low", "high"))]
    return render(head, rows, f"{title}, 1-MAE: {len(systems[FINAL])} clips")


def mean_cell(d: Difference) -> str:
    """Difference of the mean over traits with its interval."""
    return interval(float(d.difference[-1]), float(d.lower[-1]), float(d.upper[-1]))


def leak_tables(official: dict[str, Predictions], disjoint: dict[str, Predictions]) -> str:
    """Seen against unseen sources, and the same clips under both protocols."""
    apart, paired = [], []
    for name, table in official.items():
        scores = score_by_seen(table)
        seen, unseen = scores["seen sources"], scores["unseen sources"]
        ends = [[float(a[-1]) for a in (s.values["1-MAE"], s.lower["1-MAE"], s.upper["1-MAE"])] for s in (seen, unseen)]
        gap = ends[0][0] - ends[1][0]
        half = float(np.hypot(*[(high - low) / 2 for _, low, high in ends]))  # no source is in both parts
        apart.append([name, *(interval(*e) for e in ends), interval(gap, gap - half, gap + half)])
        row = {clip: i for i, clip in enumerate(disjoint[name].clips)}
        same = disjoint[name].select(np.array([row[clip] for clip in table.clips]))
        values = [number(float(score(t, resamples=0).values["1-MAE"][-1])) for t in (table, same)]
        cells = []
        for part in (np.ones(len(table), dtype=bool), table.seen_source, ~table.seen_source):
            # The folds cut low and high at thresholds of their own; only 1-MAE is compared.
            sides = [replace(side.select(part), classes=None) for side in (same, table)]
            cells.append(mean_cell(compare(sides[:1], sides[1:]).metrics["1-MAE"]))
        paired.append([name, *values, *cells])
    first = next(iter(official.values()))
    n, unseen_n = len(first), int((~first.seen_source).sum())
    head = ["", "seen", "unseen", "seen - unseen"]
    one = render(
        head, apart, f"Official-style split, 1-MAE: {n - unseen_n} clips of seen, {unseen_n} of unseen sources"
    )
    head = ["", "official", "disjoint", "official - disjoint", "of seen sources", "of unseen sources"]
    title = f"The same {n} clips tested under both protocols, 1-MAE"
    return f"{one}\n\n{render(head, paired, title)}"


def gain_tables(systems: dict[str, Predictions], protocol: str) -> str:
    """Stage 4 against stage 2 on the same clips, and how the gain varies between draws."""
    found = compare([systems[BASELINE]], [systems[FINAL]], resamples=10_000)
    rows = []
    for i, column in enumerate(TRAIT_COLUMNS):
        row = [column]
        for metric in COMPARED:
            d = found.metrics[metric]
            row += [interval(float(d.difference[i]), float(d.lower[i]), float(d.upper[i])), p_value(float(d.p_holm[i]))]
        rows.append(row)
    head = ["", *(h for metric in COMPARED for h in (metric, "p (Holm)"))]
    draws = np.array([clip.split("/")[0] for clip in systems[FINAL].clips])
    gains = []
    for draw in np.unique(draws):
        both = [score(systems[name].select(draws == draw), resamples=0) for name in (BASELINE, FINAL)]
        gains.append(both[1].values["1-MAE"][-1] - both[0].values["1-MAE"][-1])
    title = f"Stage 4 - stage 2, {protocol}: {found.n_clips} clips of {found.n_sources} sources"
    each = ", ".join(number(float(gain)) for gain in gains)
    ridge = compare([systems[BASELINE]], [systems[RIDGE]], resamples=10_000).metrics["1-MAE"]
    notes = [
        f"1-MAE, mean over traits, in each draw: {each}; mean and 95 % t interval over draws {cell(np.array(gains))}.",
        f"Ridge on the same features - stage 2, 1-MAE, mean over traits: {mean_cell(ridge)}.",
    ]
    return render(head, rows, title, notes)


@dataclass(frozen=True)
class Fixed:
    """Intervals of several networks, each of its own clips, one after another."""

    lower: np.ndarray
    upper: np.ndarray

    def intervals(self, predicted: np.ndarray, covariates: None) -> tuple[np.ndarray, np.ndarray]:
        """The intervals of all clips."""
        return self.lower, self.upper


def coverage_table(runs: dict[int, Path], protocol: str) -> str:
    """Coverage of stage 4's intervals, fitted on each network's validation clips and checked on its test clips."""
    tests, ends, calibrated = [], [], 0
    for seed, folder in runs.items():
        for stage in sorted(folder.glob("seed*/stage4")):
            conformal = fit_conformal(read_predictions(stage / "predictions_validation.csv"))
            tests.append(tagged(read_predictions(stage / "predictions_test.csv"), seed))
            ends.append(conformal.intervals(tests[-1].predicted))
            calibrated += conformal.sources
    joint = Fixed(*(np.concatenate(side) for side in zip(*ends, strict=True)))
    test = Predictions.join(tests)
    level = conformal.level
    fit_error = np.sqrt(level * (1 - level) / calibrated)  # of the quantiles, as if clips of a source were one
    rows = []
    for c in coverage(joint, test):
        if not c.labels:
            continue
        error = float(np.hypot((c.upper - c.lower) / 2, stats.norm.ppf(0.975) * fit_error))
        verdict = "yes" if abs(c.value - level) <= error else "above" if c.value > level else "below"
        rows.append([c.name, interval(c.value, c.lower, c.upper, 3), number(c.width, 3), str(c.labels), verdict])
    title = f"Coverage of stage 4's {level:.0%} intervals, {protocol}: {len(test)} clips, {len(tests)} networks"
    note = f"Within sampling error: of the test sources (interval) and of the fit ({calibrated} calibration sources)."
    return render(["", "inside", "mean width", "labels", "within sampling error"], rows, title, [note])


def tables(runs: dict[str, dict[int, Path]], out: Path) -> str:
    """All tables of the study."""
    systems = {protocol: together(folders) for protocol, folders in runs.items()}
    blocks = []
    for protocol, found in systems.items():
        blocks.append(comparison_table({name: score(t) for name, t in found.items()}, f"Protocol {protocol}"))
    for protocol, found in systems.items():
        blocks.append(extremes_table(found, f"Protocol {protocol}"))
    blocks.append(leak_tables(systems["official"], systems["disjoint"]))
    blocks += [gain_tables(found, protocol) for protocol, found in systems.items()]
    blocks += [coverage_table(folders, protocol) for protocol, folders in runs.items()]
    blocks.append(spread_table(runs["official"], out))
    return "\n\n".join(blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="leak", help="Folder; what is complete in it is not trained again.")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out = Path(args.out)
    started = time.monotonic()
    trained = {seed: train(out, args.clips, seed) for seed in tqdm(args.seeds, desc="draws of clips", unit="draw")}
    runs = {protocol: {seed: trained[seed][protocol] for seed in args.seeds} for protocol in PROTOCOLS}
    text = tables(runs, out)
    minutes = (time.monotonic() - started) / 60
    notes = f"{args.clips} clips a draw, seeds {args.seeds}, {minutes:.1f} minutes on one thread."
    (out / "tables.md").write_text(f"{text}\n\n{notes}\n")
    print(f"\n{text}\n\n{notes}")


if __name__ == "__main__":
    main()
