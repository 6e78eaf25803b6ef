"""Does the embedding help, and when? Trains the method and its controls on many synthetic sets (``make study``).

Every seed is a new draw of clips and new weights, so that an interval over seeds covers clips, sources and
training. Stages are trained by the runner of ``apt run`` on stores of feature vectors; what is complete is not
trained again. Figures and tables are in docs/embedding-study.md.
"""

import argparse
import csv
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

from apt_lightning.ablation import LABEL_NOISE, stage3, stage4
from apt_lightning.callbacks import BEST, METRICS, best_epoch
from apt_lightning.data.dataset import ClipDataset
from apt_lightning.data.foreign import put_features
from apt_lightning.data.prepare import prepare
from apt_lightning.data.store import MODALITIES, Store
from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.retrieval import retrieve
from apt_lightning.evaluation.tables import interval, number, render
from apt_lightning.models.siamese import SiameseModule
from apt_lightning.models.upstream import load_module
from apt_lightning.runner import RunSettings, run
from apt_lightning.stages import UNITS, Unit
from apt_lightning.synthetic.features import synthetic_features
from apt_lightning.traits import TRAITS, trait_classes, trait_statistics

NOISE = {"visual": 2.0}
"""The noisy regime: the strongest modality with noise of twice its features' spread."""
MISSING_SHARE = 0.5
"""Test clips of the missing regime that lack one modality, drawn evenly among the three."""
DROPOUT = 0.25
"""Chance that a modality is dropped in training, where modality dropout is named."""
MAX_EPOCHS, PATIENCE = 100, 20
"""Stage 3 counts as converged if it stopped because ``PATIENCE`` epochs did not raise the validation precision."""
RATE = ("--model.lr=0.003", "--model.final_lr=0.0003")
"""Stage 3 only: an epoch has 7 steps here and 47 on the real set, so that the paper's rate would need 200 epochs."""

CONTROLS = {
    "stage2": "stage 2",
    "stage4_none": "stage 4, no embeddings",
    "stage4_untrained": "stage 4, untrained",
    "stage4": "stage 4, trained (extreme anchors, normalised)",
}
VARIANTS = {
    "stage4_all": "stage 4, all anchors",
    "stage4_soft": f"stage 4, soft classes (noise {LABEL_NOISE})",
    "stage4_raw": "stage 4, raw embeddings",
}
DROPPED = {
    "stage2_drop": "stage 2",
    "stage4_drop_none": "stage 4, no embeddings",
    "stage4_drop_untrained": "stage 4, untrained, mean of present",
    "stage4_drop_learned": "stage 4, learned vector",
    "stage4_drop_zero": "stage 4, zero",
    "stage4_drop_mean": "stage 4, mean of present",
}
"""Trained with modality dropout; what stands for a missing embedding differs."""
STAGE3 = {"stage3": "extreme anchors", "stage3_all": "all anchors", "stage3_soft": "soft classes"}


def units(noisy: bool) -> list[Unit]:
    """All trainings on one set of clips; none is tested by the runner, since masks of modalities are tested here.

    Anchors, raw embeddings and modality dropout are studied on clean clips only, to save time.
    """
    first = [u for u in UNITS if u.name.startswith("stage1")]
    first = [replace(u, options=("--patience=10", "--data.batch_size=128", "--trainer.max_epochs=50")) for u in first]
    long = (f"--patience={PATIENCE}", f"--trainer.max_epochs={MAX_EPOCHS}", *RATE)
    by_name = {u.name: u for u in UNITS}
    made = [
        *first,
        by_name["stage2"],
        replace(by_name["stage3"], options=long),
        by_name["stage4"],
        stage4("none", "--model.embeddings=none"),
        stage4("untrained", "--model.embeddings=untrained"),
    ]
    if not noisy:
        drop, mean = f"--model.modality_dropout={DROPOUT}", "--model.missing_embedding=mean"
        made += [
            stage3("all", "--model.anchors=all", *long),
            stage3("soft", f"--model.label_noise={LABEL_NOISE}", *long),
            stage4("all", siamese="stage3_all"),
            stage4("soft", siamese="stage3_soft"),
            stage4("raw", "--model.normalize_embeddings=false"),
            replace(by_name["stage2"], name="stage2_drop", options=(drop,)),
            stage4("drop_none", drop, "--model.embeddings=none", fusion="stage2_drop"),
            stage4("drop_untrained", drop, "--model.embeddings=untrained", mean, fusion="stage2_drop"),
            stage4("drop_learned", drop, fusion="stage2_drop"),
            stage4("drop_zero", drop, "--model.missing_embedding=zero", fusion="stage2_drop"),
            stage4("drop_mean", drop, mean, fusion="stage2_drop"),
        ]
    return [replace(unit, test=False) for unit in made]


@dataclass(frozen=True)
class Condition:
    """One draw of clips."""

    protocol: str
    """``official`` (sources in several splits) or ``disjoint``."""
    noisy: bool
    seed: int

    @property
    def name(self) -> str:
        """Folder name."""
        return f"{self.protocol}-{'noisy' if self.noisy else 'clean'}-{self.seed}"


def build_store(folder: Path, n_clips: int, condition: Condition) -> Path:
    """A feature store of synthetic vectors, through the path of features made elsewhere."""
    store = folder / "store"
    folder.mkdir(parents=True, exist_ok=True)
    noise = NOISE if condition.noisy else None
    drawn = synthetic_features(n_clips, condition.seed, noise, grouped=condition.protocol == "disjoint")
    names = [f"{source:05d}.{i:05d}.mp4" for i, source in enumerate(drawn.source)]
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "split", *TRAITS])
        for name, split, labels in zip(names, drawn.split, drawn.labels, strict=True):
            writer.writerow([name, split, *labels.tolist()])
    prepare(folder / "clips.csv", store)
    for modality in MODALITIES:
        file = folder / f"{modality}.npz"
        np.savez(file, features=drawn.features[modality], names=names)
        put_features(Store.open(store), modality, str(file), None)
    return store


class TestSplit:
    """Test clips of a store, with the masks of present modalities on which systems are compared."""

    def __init__(self, store: Path, seed: int) -> None:
        self.store = Store.open(store)
        clips = self.store.clips
        labels = np.array([clip.traits for clip in clips])
        train = np.array([clip.split == "train" for clip in clips])
        self.rows = np.flatnonzero([clip.split == "test" for clip in clips])
        self.statistics = trait_statistics(labels[train])
        self.labels = labels[self.rows]
        self.clips = [clips[i].name for i in self.rows]
        self.sources = [clips[i].source for i in self.rows]
        seen = {clip.source for clip in clips if clip.split == "train"}
        self.seen = np.array([source in seen for source in self.sources])
        rng = np.random.default_rng([seed, 1])
        lacks = np.where(rng.random(len(self.rows)) < MISSING_SHARE, rng.integers(3, size=len(self.rows)), -1)
        self.masks = {"all": np.ones((len(self.rows), 3), bool), "missing": np.arange(3) != lacks[:, None]}
        for name in ("A", "V", "T", "AV", "AT", "VT"):
            self.masks[name] = np.tile([letter in name for letter in "AVT"], (len(self.rows), 1))

    def features(self, module: torch.nn.Module) -> torch.Tensor:
        """(N, 3, Q) features of the module's frozen encoders."""
        batch = ClipDataset(self.store, MODALITIES)[torch.from_numpy(self.rows)]
        return module.encode(batch)

    def accuracy(self, checkpoint: Path, masks: list[str]) -> dict[str, list[float]]:
        """Mean 1-MAE of all clips, and of those in C1 or C4, for each mask."""
        module = load_module(str(checkpoint))
        with torch.inference_mode():
            features = self.features(module)
            found = {}
            for name in masks:
                scores = module.score(features, torch.from_numpy(self.masks[name])).double().numpy()
                table = Predictions(self.clips, self.sources, self.seen, self.labels, scores)
                values = score(table, self.statistics, resamples=0).values
                extreme = (values["low"][-1] + values["high"][-1]) / 2
                found[name] = [float(values["1-MAE"][-1]), float(extreme)]
        return found

    def retrieval(self, network: torch.nn.Module, module: torch.nn.Module) -> dict[str, list[float]]:
        """Precision at 10 and MAP@R with their chance, mean over traits, per ordered pair of modalities."""
        with torch.inference_mode():
            embeddings = network(self.features(module)).numpy()
        classes = trait_classes(self.labels, self.statistics)
        found: dict[str, list[list[float]]] = {}
        for f in retrieve(embeddings, self.masks["all"], classes, MODALITIES, self.sources):
            figures = [f.precision, f.precision_chance, f.map_at_r, f.map_at_r_chance]
            found.setdefault(f"{f.query} -> {f.answer}", []).append(figures)
        return {pair: np.nanmean(values, axis=0).tolist() for pair, values in found.items()}


def evaluate(condition: Condition, base: Path, store: Path) -> dict:
    """Figures of all systems and spaces of one set of clips."""
    split = TestSplit(store, condition.seed)
    masks = ["all"] if condition.noisy else ["all", "missing"]
    record = {"condition": vars(condition), "accuracy": {}, "retrieval": {}, "epochs": {}}
    for name in CONTROLS if condition.noisy else {**CONTROLS, **VARIANTS}:
        record["accuracy"][name] = split.accuracy(base / name / BEST, masks)
    for name in () if condition.noisy else DROPPED:
        record["accuracy"][name] = split.accuracy(base / name / BEST, list(split.masks))
    for name in ("stage3",) if condition.noisy else STAGE3:
        module = load_module(str(base / name / BEST))
        record["retrieval"][name] = split.retrieval(module.network, module)
        best = best_epoch(base / name, SiameseModule.monitor, SiameseModule.mode)
        epochs = len((base / name / METRICS).read_text().splitlines()) - 1
        record["epochs"][name] = [epochs, int(best["epoch"]) + 1, best["val/precision"]]
    untrained = load_module(str(base / "stage4_untrained" / BEST))
    record["retrieval"]["untrained"] = split.retrieval(untrained.network.siamese, untrained)
    return record


def study(out: Path, n_clips: int, seeds: Sequence[int]) -> list[dict]:
    """Train and evaluate every condition, but for those whose record is there; one record a condition."""
    conditions = [
        Condition(protocol, noisy, seed)
        for seed in seeds
        for protocol in ("official", "disjoint")
        for noisy in (False, True)
    ]
    records = []
    for condition in tqdm(conditions, desc="sets of clips", unit="set"):
        file, folder = out / f"{condition.name}.json", out / condition.name
        if not file.exists():
            started = time.process_time()
            store = build_store(folder, n_clips, condition)
            settings = RunSettings(
                str(store),
                str(folder / "run"),
                seeds=[condition.seed],
                options=["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"],
            )
            with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
                jobs = run(settings, units(condition.noisy))
            record = evaluate(condition, jobs[0].folder.parent, store)
            record["seconds"] = time.process_time() - started
            file.write_text(json.dumps(record, indent=1) + "\n")
            shutil.rmtree(folder)  # half a gigabyte of checkpoints
        records.append(json.loads(file.read_text()))
    return records


def cell(differences: np.ndarray) -> str:
    """Mean of paired differences over seeds with its 95 % t interval."""
    mean, error = differences.mean(), stats.sem(differences)
    half = error * stats.t.ppf(0.975, len(differences) - 1)
    return interval(float(mean), float(mean - half), float(mean + half))


def values(records: list[dict], protocol: str, noisy: bool, system: str, mask: str) -> np.ndarray:
    """(seeds, 2): 1-MAE of all and of extreme clips."""
    kept = [r for r in records if r["condition"]["protocol"] == protocol and r["condition"]["noisy"] == noisy]
    return np.array([r["accuracy"][system][mask] for r in kept])


REGIMES = {"clean": (False, "all"), "one noisy": (True, "all"), "one missing at test time": (False, "missing")}


def system_table(cells: dict[str, np.ndarray], titles: dict[str, str], references: dict[str, str], title: str) -> str:
    """Rows of systems, with mean and sd over seeds and the differences from each reference."""
    rows = []
    for name, label in titles.items():
        row = [label]
        for column in (0, 1):
            own = cells[name][:, column]
            row.append(f"{number(float(own.mean()))} ±{number(float(own.std(ddof=1)))}")
            row += ["" if r == name else cell(own - cells[r][:, column]) for r in references]
        rows.append(row)
    head = ["", "1-MAE", *(f"- {label}" for label in references.values())]
    head += ["extreme 1-MAE", *(f"- {label}" for label in references.values())]
    return render(head, rows, title)


def tables(records: list[dict]) -> str:
    """All tables of the study."""
    blocks = []
    protocols = ("official", "disjoint")
    references = {"stage2": "stage 2", "stage4_none": "no embeddings", "stage4_untrained": "untrained"}
    cases, names = [], []
    for protocol in protocols:
        for regime, (noisy, mask) in REGIMES.items():
            names.append(f"{protocol}, {regime}")
            titles = CONTROLS if noisy else {**CONTROLS, **VARIANTS}
            cases.append({name: values(records, protocol, noisy, name, mask) for name in titles})
            blocks.append(system_table(cases[-1], titles, references, f"Split {names[-1]}"))
    mean = {name: np.mean([case[name] for case in cases], axis=0) for name in CONTROLS}
    blocks.append(system_table(mean, CONTROLS, references, "Mean over the two splits and three regimes"))
    rows = []
    for name, case in zip([*names, "mean"], [*cases, mean], strict=True):
        changes = [case["stage4"] - case[reference] for reference in references]
        rows.append([name, *(cell(change[:, column]) for column in (0, 1) for change in changes)])
    head = ["split, regime", *(f"- {label}" for label in references.values())]
    head += [f"extreme - {label}" for label in references.values()]
    blocks.append(render(head, rows, "Stage 4 with trained embeddings, 1-MAE minus that of each control"))
    rows = []
    for name, label in VARIANTS.items():
        change = np.mean([case[name] - case["stage4"] for case in cases if name in case], axis=0)
        rows.append([label, cell(change[:, 0]), cell(change[:, 1])])
    title = "Minus stage 4 with extreme anchors and normalised embeddings, mean over splits, clean and missing"
    blocks.append(render(["", "1-MAE", "extreme 1-MAE"], rows, title))
    subsets = ["A", "V", "T", "AV", "AT", "VT", "all", "missing"]
    drawn = {
        name: {m: np.mean([values(records, p, False, name, m)[:, 0] for p in protocols], axis=0) for m in subsets}
        for name in DROPPED
    }
    rows = [[label, *(number(float(drawn[n][m].mean())) for m in subsets)] for n, label in DROPPED.items()]
    title = "With modality dropout: 1-MAE where only these modalities are given, mean over the two splits"
    blocks.append(render(["", *subsets], rows, title))
    contrasts = [(name, "stage4_drop_none") for name in DROPPED if name != "stage4_drop_none"]
    contrasts += [("stage4_drop_mean", "stage4_drop_learned"), ("stage4_drop_mean", "stage4_drop_zero")]
    rows = [[f"{DROPPED[a]} - {DROPPED[b]}", *(cell(drawn[a][m] - drawn[b][m]) for m in subsets)] for a, b in contrasts]
    blocks.append(render(["", *subsets], rows, "The same, paired differences"))
    pairs = list(records[0]["retrieval"]["stage3"])
    spaces = {"untrained": "untrained", **STAGE3}
    for protocol in protocols:
        rows = []
        kept = [
            r["retrieval"] for r in records if r["condition"]["protocol"] == protocol and not r["condition"]["noisy"]
        ]
        for pair in pairs:
            found = {name: np.array([r[name][pair] for r in kept]) for name in spaces}
            row = [pair, number(float(found["stage3"][:, 1].mean()))]
            row += [f"{number(float(f[:, 0].mean()))} ±{number(float(f[:, 0].std(ddof=1)))}" for f in found.values()]
            row += [number(float(found["stage3"][:, 3].mean()))]
            row += [number(float(f[:, 2].mean())) for f in found.values()]
            rows.append(row)
        head = ["query -> answer", "P@10 chance", *spaces.values(), "MAP@R chance", *spaces.values()]
        blocks.append(render(head, rows, f"Retrieval of extreme clips, clean, split {protocol}, mean over traits"))
    clean = [r for r in records if not r["condition"]["noisy"]]
    cross = [pair for pair in pairs if len(set(pair.split(" -> "))) == 2]
    rows = []
    for name, label in spaces.items():
        gains = {pair: [] for pair in cross}
        for seed in sorted({r["condition"]["seed"] for r in clean}):
            found = [r["retrieval"][name] for r in clean if r["condition"]["seed"] == seed]
            for pair in cross:
                gains[pair].append(np.mean([f[pair][0] - f[pair][1] for f in found]))
        rows.append(
            [label, *(cell(np.array(gains[pair])) for pair in cross), cell(np.mean(list(gains.values()), axis=0))]
        )
    title = "Precision at 10 minus chance across modalities, clean, mean over traits and splits"
    blocks.append(render(["", *cross, "mean"], rows, title))
    epochs = {name: np.array([r["epochs"][name] for r in records if name in r["epochs"]]) for name in STAGE3}
    rows = [
        [
            STAGE3[name],
            f"{int((e[:, 0] < MAX_EPOCHS).sum())} of {len(e)}",
            f"{np.median(e[:, 1]):.0f}",
            f"{e[:, 1].max():.0f}",
        ]
        for name, e in epochs.items()
    ]
    blocks.append(render(["stage 3", "converged", "median best epoch", "latest"], rows, "Convergence"))
    return "\n\n".join(blocks)


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="study", help="Folder; what is complete in it is not trained again.")
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    records = study(out, args.clips, range(1, args.seeds + 1))
    minutes = sum(record["seconds"] for record in records) / 60
    notes = f"{args.clips} clips a set, seeds 1 to {args.seeds}; {minutes:.0f} minutes of one core."
    text = f"{tables(records)}\n\n{notes}\n"
    (out / "tables.md").write_text(text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
