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
from tqdm import tqdm

from apt_lightning.common.traits import TRAITS, trait_classes, trait_statistics
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store
from apt_lightning.data.synthetic.features import SyntheticFeatures, synthetic_features
from apt_lightning.evaluation.metrics import score
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.retrieval import retrieve
from apt_lightning.experiments.ablation_plan import LABEL_NOISE, stage3, stage4
from apt_lightning.experiments.plan import Unit, run_units
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run
from apt_lightning.stages.load import load
from apt_lightning.stages.names import BEST
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.callbacks import METRICS_FILE, best_epoch
from studies.embedding_tables import CONTROLS, DROPPED, MAX_EPOCHS, PATIENCE, STAGE3, VARIANTS, tables

NOISE = {"visual": 2.0}
"""The noisy regime: the strongest modality with noise of twice its features' spread."""
MISSING_SHARE = 0.5
"""Test clips of the missing regime that lack one modality, drawn evenly among the three."""
DROPOUT = 0.25
"""Chance that a modality is dropped in training, where modality dropout is named."""
RATE = ("--model.lr=0.003", "--model.final_lr=0.0003")
"""Stage 3 only: an epoch has 7 steps here and 47 on the real set, so that the paper's rate would need 200 epochs."""


def units(noisy: bool) -> list[Unit]:
    """All trainings on one set of clips; none is tested by the runner, since masks of modalities are tested here.

    Anchors, raw embeddings and modality dropout are studied on clean clips only, to save time.
    """
    first = [u for u in run_units() if u.name.startswith("stage1")]
    first = [replace(u, options=("--patience=10", "--data.batch_size=128", "--trainer.max_epochs=50")) for u in first]
    long = (f"--patience={PATIENCE}", f"--trainer.max_epochs={MAX_EPOCHS}", *RATE)
    by_name = {u.name: u for u in run_units()}
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
            stage3("all", tuple(PREPARED), "--model.anchors=all", *long),
            stage3("soft", tuple(PREPARED), f"--model.label_noise={LABEL_NOISE}", *long),
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
    identity: float = 0.0
    """Strength of the planted identity cue."""

    @property
    def name(self) -> str:
        """Folder name."""
        return f"{self.protocol}-{'noisy' if self.noisy else 'clean'}-{self.seed}"


def build_store(folder: Path, n_clips: int, condition: Condition) -> Path:
    """A feature store of the clips of a condition."""
    noise = NOISE if condition.noisy else None
    grouped = condition.protocol == "disjoint"
    return write_store(
        folder, synthetic_features(n_clips, condition.seed, noise, grouped=grouped, identity=condition.identity)
    )


def write_store(folder: Path, drawn: SyntheticFeatures) -> Path:
    """A feature store of synthetic vectors, through the path of features made elsewhere."""
    store = folder / "store"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{source:05d}.{i:05d}.mp4" for i, source in enumerate(drawn.source)]
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "split", *TRAITS])
        for name, split, labels in zip(names, drawn.split, drawn.labels, strict=True):
            writer.writerow([name, split, *labels.tolist()])
    prepare(folder / "clips.csv", store)
    for modality, features in drawn.features.items():
        file = folder / f"{modality}.npz"
        np.savez(file, features=features, names=names)
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
        batch = ClipDataset(self.store, self.store.modalities)[torch.from_numpy(self.rows)]
        return module.encode(batch)

    def accuracy(self, checkpoint: Path, masks: list[str]) -> dict[str, list[float]]:
        """Mean 1-MAE of all clips, and of those in C1 or C4, for each mask."""
        module = load(str(checkpoint))
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
        for f in retrieve(embeddings, self.masks["all"], classes, self.store.modalities, self.sources):
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
        module = load(str(base / name / BEST))
        record["retrieval"][name] = split.retrieval(module.network, module)
        best = best_epoch(base / name, SiameseModule.monitor, SiameseModule.mode)
        epochs = len((base / name / METRICS_FILE).read_text().splitlines()) - 1
        record["epochs"][name] = [epochs, int(best["epoch"]) + 1, best["val/precision"]]
    untrained = load(str(base / "stage4_untrained" / BEST))
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
