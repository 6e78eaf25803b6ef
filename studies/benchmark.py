"""What earns its place: joint training, metric losses, a linear path (``make benchmark``).

The plan is in docs/benchmark.md. Every seed is a new draw of clips and new weights; what is complete is kept.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from apt_lightning.common.traits import trait_statistics
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.data.synthetic.ceiling import best_balanced_scores, best_scores, posterior
from apt_lightning.data.synthetic.features import CUE_SHARE, SyntheticFeatures, synthetic_features
from apt_lightning.data.synthetic.planted import AGREEMENT_TRAIT, Planted
from apt_lightning.evaluation.baselines import ridge
from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.predictions import Predictions, read_predictions
from apt_lightning.evaluation.significance import holm
from apt_lightning.evaluation.spread import System, at_equal_spread
from apt_lightning.evaluation.tables import number, render
from apt_lightning.experiments.plan import Unit, run_units
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run
from apt_lightning.stages.load import load
from apt_lightning.training.callbacks import BEST
from studies.embedding_study import write_store
from studies.retrieval_head import fit_retrieval_head

WORLDS = {"plain": Planted(), "agreement": Planted(agreement=0.8), "extremes": Planted(extremes=2.0)}
MODALITIES = ["audio", "visual", "text"]
BASELINE, AGAIN = "stage 2", "stage 2 again"
SHORT = ("--patience=5", "--data.batch_size=128", "--trainer.max_epochs=50")
LINEAR = "--model.linear_path=true"
JOINT = (*SHORT[1:], "--patience=10", "--data.num_workers=0", "--model.encoder_batch=null")
SCRATCH = ("--model.start_ckpt=null", "--model.encoder_rate=1", "--model.head_epochs=0")
RANKED = ("--model.metric.kind=rank_n_contrast", "--model.metric.pairs=across", "--model.metric.other_sources=true")
JOINTS = {
    "joint, metric 0": ("--model.metric_weight=0",),
    "joint, multi-similarity": (),
    "joint, Rank-N-Contrast": RANKED,
    "joint, Rank-N-Contrast, shuffled": (*RANKED, "--model.metric.shuffled=true"),
}
EDGES = np.arange(-2.0, 3.0)
"""Deviations of the training labels at which the six classes of the class-balanced figure meet."""
FACTORS = np.arange(1.0, 2.05, 0.05)
JUDGED = ("test", "validation")
CEILING = "ceiling"
WAY = {"agreement": "R2 openness", "extremes": "class-balanced"}
"""World to the figure by which the way to the ceiling is measured; 1-MAE elsewhere."""


def units(world: str) -> dict[str, Unit]:
    """Arm, or name of an earlier stage, to its training."""
    plain = {unit.name: unit for unit in run_units(MODALITIES)}
    first = {name: replace(unit, options=SHORT) for name, unit in plain.items() if name.startswith("stage1")}
    second, third, fourth = (replace(plain[name], options=SHORT) for name in ("stage2", "stage3", "stage4"))
    made = {
        **first,
        BASELINE: second,
        AGAIN: replace(second, name="stage2_again", reseed=1000),
        "linear path": replace(second, name="stage2_linear_path", options=(*SHORT, LINEAR)),
    }
    if world != "extremes":
        made["stage 3"] = third
        made["stage 4"] = fourth
        none = (*SHORT, "--model.embeddings=none")
        made["stage 4 without embeddings"] = replace(fourth, name="stage4_none", options=none)
        for arm, options in JOINTS.items():
            made[arm] = Unit(_slug(arm), "joint", "joint", options=(*JOINT, *SCRATCH, *options))
    return made


def _slug(arm: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in arm.lower()).split())


def computed_arms(
    store: Store, rows: Mapping[str, np.ndarray], base: Path, tables: Mapping[str, System]
) -> dict[str, System]:
    """Ridge, ridge with retrieval, the mean of two baselines, and the baseline's deviations multiplied."""
    labels = np.array([clip.traits for clip in store.clips])
    x = np.hstack([store.vectors(name) for name in store.modalities]).astype(np.float64)
    train, held_out = rows["train"], rows["validation"]
    scores, strength = ridge(x[train], labels[train], x[held_out], labels[held_out], x)
    linear = judged(scores, rows)
    residuals = labels[train] - out_of_fold(x[train], labels[train], _sources(store)[train], strength)
    plain, again = (_of(tables[arm]) for arm in (BASELINE, AGAIN))
    centre = plain["validation"].mean(axis=0)
    louder = {k: {on: (centre + k * (plain[on] - centre)).clip(0, 1) for on in JUDGED} for k in FACTORS}
    edges = class_edges(labels[train])
    best = max(FACTORS, key=lambda k: class_balanced(louder[k]["validation"], labels[held_out], edges).mean())
    arms = {
        "ridge": linear,
        "ridge, retrieval": retrieved(store, rows, base, residuals, linear),
        "mean of two stage 2": {on: (plain[on] + again[on]) / 2 for on in JUDGED},
        "stage 2, deviations multiplied": louder[best],
    }
    return {arm: system_of(store, rows, scores) for arm, scores in arms.items()}


def retrieved(
    store: Store, rows: Mapping[str, np.ndarray], base: Path, residuals: np.ndarray, plain: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Scores corrected by the residuals of the nearest training clips in the space of M1(h)."""
    module = load(str(base / "stage2" / BEST))
    with torch.inference_mode():
        batch = ClipDataset(store, module.modalities)[torch.arange(len(store.clips))]
        space = module.network(module.encode(batch), batch.present).double().numpy()
    sources, train, held_out = _sources(store), rows["train"], rows["validation"]
    head = fit_retrieval_head(
        space[train],
        residuals,
        sources[train],
        space[held_out],
        plain["validation"],
        np.array([store.clips[i].traits for i in held_out]),
        sources[held_out],
    )
    return {on: head.correct(space[rows[on]], plain[on], sources[rows[on]]) for on in JUDGED}


def _sources(store: Store) -> np.ndarray:
    return np.array([clip.source for clip in store.clips])


def _of(system: System) -> dict[str, np.ndarray]:
    """Scores (N, 5) of a system on the splits that are judged."""
    assert system.validation is not None
    return {"test": system.test[0].predicted, "validation": system.validation[0].predicted}


def judged(scores: np.ndarray, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the (N, 5) scores that are of the splits that are judged."""
    return {on: scores[rows[on]] for on in JUDGED}


def system_of(store: Store, rows: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]) -> System:
    """A system, of its (N, 5) scores on the splits that are judged."""
    labels = np.array([clip.traits for clip in store.clips])
    return System(*([table_of(store, rows[on], labels, scores[on])] for on in JUDGED))


def class_edges(labels: np.ndarray) -> np.ndarray:
    """Labels (5, T) at which the six classes of the class-balanced figure meet, of (N, T) training labels."""
    mean, sd = trait_statistics(labels)
    return mean + EDGES[:, None] * sd


def class_balanced(scores: np.ndarray, labels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """1-MAE of each trait, (T,), in which every class of labels counts alike."""
    classes = (labels >= edges[:, None]).sum(axis=0)
    errors = np.abs(scores - labels)
    in_class = np.array([classes == k for k in range(len(edges) + 1)])
    with np.errstate(invalid="ignore"):  # a class without a clip does not count
        means = (in_class * errors).sum(axis=1) / in_class.sum(axis=1)
    return np.asarray(1 - np.nanmean(means, axis=0))


def out_of_fold(x: np.ndarray, labels: np.ndarray, sources: np.ndarray, strength: float) -> np.ndarray:
    """Scores (N, 5) of ridge models that have not seen the clip's source."""
    model = make_pipeline(StandardScaler(), Ridge(alpha=strength))
    return cross_val_predict(model, x, labels, groups=sources, cv=GroupKFold(5))


def table_of(store: Store, rows: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Predictions:
    """Predictions of some clips, of (N, 5) labels of all and the scores of these."""
    clips = [store.clips[i] for i in rows]
    names, sources = [clip.name for clip in clips], [clip.source for clip in clips]
    return Predictions(names, sources, np.zeros(len(rows), dtype=bool), labels[rows], scores)


def figures(systems: Mapping[str, System], train_labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Figures of each system, low and high at the spread of the first; undefined for one without a spread."""
    statistics, even, found = trait_statistics(train_labels), at_equal_spread(systems), {}
    edges = class_edges(train_labels)
    for arm, system in systems.items():
        table = system.test[0]
        raw = score(table, statistics, resamples=0).values
        none = {"low": [np.nan], "high": [np.nan]}
        scaled = score(even[arm][0], statistics, resamples=0).values if arm in even else none
        found[arm] = {
            "1-MAE": float(raw["1-MAE"][-1]),
            "R2 openness": float(raw["R2"][AGREEMENT_TRAIT]),
            "class-balanced": float(class_balanced(table.predicted, table.true, edges).mean()),
            "low": float(scaled["low"][-1]),
            "high": float(scaled["high"][-1]),
        }
    return found


def train(folder: Path, store: Path, seed: int, units: Iterable[Unit]) -> Path:
    """Train the units that are not complete; the folder that holds theirs."""
    options = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--tables=false"]
    settings = RunSettings(str(store), str(folder / "run"), seeds=[seed], options=options)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        return run(settings, list(units))[0].folder.parent


def record(world: str, n_clips: int, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Train all arms on one draw of clips; their figures on its test clips."""
    planted = WORLDS[world]
    drawn, made = synthetic_features(n_clips, seed, grouped=True, planted=planted), units(world)
    path = write_store(folder, drawn)
    base, store = train(folder, path, seed, made.values()), Store.open(path)
    tables = {
        arm: System(*([read_predictions(base / unit.name / f"predictions_{on}.csv")] for on in JUDGED))
        for arm, unit in made.items()
        if unit.config != "stage3" and not arm.startswith("stage1")
    }
    split = np.array([clip.split for clip in store.clips])
    rows = {on: np.flatnonzero(split == on) for on in ("train", *JUDGED)}
    labels = np.array([clip.traits for clip in store.clips])
    tables |= computed_arms(store, rows, base, tables)
    del tables[AGAIN]
    tables[CEILING] = system_of(store, rows, ceiling(drawn, planted, labels[rows["train"]], rows, world))
    return figures({BASELINE: tables[BASELINE], **tables}, labels[rows["train"]])


def ceiling(
    drawn: SyntheticFeatures, planted: Planted, labels: np.ndarray, rows: Mapping[str, np.ndarray], world: str
) -> dict[str, np.ndarray]:
    """Scores of the Bayes predictor; on *extremes* of that in which every class of labels counts alike."""
    if world == "extremes":
        edges = class_edges(labels)
        classes = (labels >= edges[:, None]).sum(axis=0)
        weights = np.array([1 / (classes == k).mean(axis=0) for k in range(len(edges) + 1)])
        best = best_balanced_scores(posterior(drawn.cues, CUE_SHARE, planted, MODALITIES), edges, weights)
    else:
        best = best_scores(drawn.cues, CUE_SHARE, planted, MODALITIES)
    return judged(best.clip(0, 1), rows)


def tables(records: dict[str, list[dict]]) -> str:
    """One table a world: differences to the baseline over seeds."""
    parts = []
    for world, found in records.items():
        arms = [arm for arm in found[0] if arm != BASELINE]
        values = {arm: {m: np.array([r[arm][m] for r in found]) for m in found[0][arm]} for arm in found[0]}
        base, ceiling = values[BASELINE], values[CEILING]
        p = [float(stats.ttest_rel(values[arm]["1-MAE"], base["1-MAE"]).pvalue) for arm in arms]
        metric = WAY.get(world, "1-MAE")
        rows = [
            [BASELINE, number(float(base["1-MAE"].mean())), "", "", "", "", number(float(base[metric].mean()), 3), ""]
        ]
        for arm, adjusted in zip(arms, holm(np.array(p)), strict=True):
            own = values[arm]
            way = (own[metric] - base[metric]).mean() / (ceiling[metric] - base[metric]).mean()
            differences = [interval(own[m] - base[m]) for m in ("1-MAE", "low", "high")]
            cells = [number(float(own["1-MAE"].mean())), *differences, number(float(adjusted), 2)]
            rows.append([arm, *cells, number(float(own[metric].mean()), 3), f"{100 * way:.0f} %"])
        head = [
            "",
            "1-MAE",
            "to stage 2",
            "low, equal spread",
            "high, equal spread",
            "p (Holm)",
            metric,
            "way to ceiling",
        ]
        parts.append(f"### {world}\n\n" + render(head, rows, f"{len(found)} seeds"))
    return "\n\n".join(parts)


def interval(differences: np.ndarray) -> str:
    """Mean and half-width of the 95 % t interval over seeds."""
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1) if len(differences) > 1 else np.nan
    return f"{differences.mean():+.4f} ± {half:.4f}"


def study(
    about: str,
    out: str,
    worlds: Iterable[str],
    record: Callable[[str, int, int, Path], dict],
    tables: Callable[[dict[str, list[dict]]], str],
    n_clips: int = 10_000,
) -> None:
    """Run a study of worlds by seeds from the command line, and print its tables; what is complete is kept.

    Args:
        about: What it is, for ``--help``.
        out: Folder if none is given.
        worlds: Their names.
        record: World, number of clips, seed and an empty folder to figures.
        tables: World to the figures of its seeds, to text.
        n_clips: Clips a set unless ``--clips`` says otherwise.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", default=out, help="Folder; what is complete in it is not trained again.")
    parser.add_argument("--clips", type=int, default=n_clips)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    conditions = [(world, seed) for seed in range(1, args.seeds + 1) for world in worlds]
    found: dict[str, list[dict]] = {world: [] for world in worlds}
    seconds = 0.0
    for world, seed in tqdm(conditions, desc="sets of clips", unit="set"):
        folder = Path(args.out, f"{world}-{seed}")
        file = folder.with_suffix(".json")
        if not file.exists():
            started = time.process_time()
            folder.mkdir(parents=True, exist_ok=True)
            made = record(world, args.clips, seed, folder)
            file.write_text(json.dumps({"figures": made, "seconds": time.process_time() - started}, indent=1) + "\n")
            shutil.rmtree(folder)
        content = json.loads(file.read_text())
        found[world].append(content["figures"])
        seconds += content["seconds"]
    size = f"{args.clips} clips a set, seeds 1 to {args.seeds}; {seconds / 60:.0f} minutes of one core."
    text = f"{tables(found)}\n\n{size}\n"
    Path(args.out, "tables.md").write_text(text)
    print(f"\n{text}")


if __name__ == "__main__":
    study(__doc__, "benchmark", WORLDS, record, tables)
