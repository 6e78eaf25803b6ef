"""Taught by the others: does a net of few modalities gain by what a model of all says? Part of ``make benchmark``.

A teacher is a store whose training clips without labels have its scores for labels. The plan is in docs/benchmark.md.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.data.synthetic.ceiling import best_scores
from apt_lightning.data.synthetic.features import CUE_SHARE, SIZES, SyntheticFeatures, synthetic_features
from apt_lightning.data.synthetic.planted import Planted
from apt_lightning.evaluation.baselines import ridge
from apt_lightning.evaluation.significance import holm
from apt_lightning.evaluation.spread import System
from apt_lightning.evaluation.tables import number, render
from apt_lightning.experiments.plan import Unit
from apt_lightning.stages.load import load
from apt_lightning.stages.metric import labels_of_other_sources
from apt_lightning.stages.names import BEST, stage1
from studies.benchmark import CEILING, figures, interval, judged, out_of_fold, study, system_of, train
from studies.embedding_study import write_store

WORLDS = {"plain": Planted(), "shared": Planted(shared=0.3)}
LABELLED = 300
"""Training clips that have labels, about; whole sources."""
SUBSETS = {"audio": ["audio"], "text": ["text"], "audio_text": ["audio", "text"], "visual": ["visual"]}
"""Name of the joined vectors to the modalities."""
ARMS = (
    "alone",
    "taught by all",
    "taught by all, same clips",
    "taught by itself",
    "taught by all, shuffled",
    "taught by the best",
)
ALONE, ALL, SAME, ITSELF, SHUFFLED, BEST_TEACHER = ARMS
SQUARED = ("--model.loss.mae_weight=0", "--model.loss.bell_weight=0", "--data.batch_size=128")
FEW = (*SQUARED, "--patience=30", "--trainer.max_epochs=200")
"""Options of a training on the labelled clips alone, whose epochs have three steps."""
MANY = (*SQUARED, "--patience=10", "--trainer.max_epochs=50")


def labelled_rows(drawn: SyntheticFeatures, seed: int) -> np.ndarray:
    """Training clips of the first sources of a random order that have :data:`LABELLED` clips together."""
    rows = np.flatnonzero(drawn.split == "train")
    sources, counts = np.unique(drawn.source[rows], return_counts=True)
    order = np.random.default_rng([seed, 2]).permutation(len(sources))
    kept = sources[order[: np.searchsorted(counts[order].cumsum(), LABELLED) + 1]]
    return rows[np.isin(drawn.source[rows], kept)]


def joined(drawn: SyntheticFeatures, names: Iterable[str]) -> np.ndarray:
    """Vectors of modalities side by side, (N, D)."""
    return np.hstack([drawn.features[name] for name in names])


def targets(drawn: SyntheticFeatures, planted: Planted, few: np.ndarray, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Arm and subset to the (N, 5) labels that its net is trained on.

    Args:
        drawn: With the vectors of the modalities.
        planted: Strengths that it was drawn with.
        few: Positions of the training clips that have labels.
        seed: Of the deal between sources.
    """
    train, held_out = (np.flatnonzero(drawn.split == name) for name in ("train", "validation"))
    own = np.zeros(len(drawn.labels), dtype=bool)
    own[few] = True
    keeps = (own | (drawn.split != "train"))[:, None]

    def scores(x: np.ndarray) -> tuple[np.ndarray, float]:
        return ridge(x[few], drawn.labels[few], x[held_out], drawn.labels[held_out], x)

    everything = joined(drawn, SIZES).astype(np.float64)
    of_all, strength = scores(everything)
    same = drawn.labels.copy()
    same[few] = (same[few] + out_of_fold(everything[few], same[few], drawn.source[few], strength)) / 2
    taught = {
        ALL: of_all,
        SHUFFLED: labels_of_other_sources(of_all, drawn.source, train, seed),
        BEST_TEACHER: best_scores(drawn.cues, CUE_SHARE, planted, list(SIZES)),
    }
    by_arm = {arm: np.where(keeps, drawn.labels, found).clip(0, 1) for arm, found in taught.items()}
    by_arm |= {ALONE: drawn.labels, SAME: same.clip(0, 1)}
    made = {arm: dict.fromkeys(SUBSETS, found) for arm, found in by_arm.items()}
    made[ITSELF] = {
        subset: np.where(keeps, drawn.labels, scores(joined(drawn, names).astype(np.float64))[0]).clip(0, 1)
        for subset, names in SUBSETS.items()
    }
    return made


def record(world: str, n_clips: int, seed: int, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Train a net for each arm and subset on one draw of clips; its figures on the test clips."""
    drawn = synthetic_features(n_clips, seed, grouped=True, planted=WORLDS[world])
    vectors = {subset: joined(drawn, names) for subset, names in SUBSETS.items()}
    rows = {on: np.flatnonzero(drawn.split == on) for on in ("train", "validation", "test")}
    few = labelled_rows(drawn, seed)
    whole = Store.open(write_store(folder / "whole", replace(drawn, features=vectors)))
    systems: dict[str, dict[str, System]] = {subset: {} for subset in SUBSETS}
    made = targets(drawn, WORLDS[world], few, seed)
    for arm in ARMS:
        used = np.concatenate([few, rows["validation"]]) if arm in (ALONE, SAME) else np.arange(n_clips)
        for subsets in [[subset] for subset in SUBSETS] if arm == ITSELF else [list(SUBSETS)]:
            own = folder / f"{arm}-{subsets[0]}".replace(" ", "_")
            kept = replace(
                drawn,
                labels=made[arm][subsets[0]][used],
                source=drawn.source[used],
                split=drawn.split[used],
                features={name: vectors[name][used] for name in subsets},
            )
            units = [unit(subset, FEW if len(used) < n_clips else MANY) for subset in subsets]
            base = train(own, write_store(own, kept), seed, units)
            for subset in subsets:
                found = scores(base / stage1(subset) / BEST, whole)
                systems[subset][arm] = system_of(whole, rows, judged(found, rows))
    for subset, names in SUBSETS.items():
        best = best_scores(drawn.cues, CUE_SHARE, WORLDS[world], names).clip(0, 1)
        systems[subset][CEILING] = system_of(whole, rows, judged(best, rows))
    return {subset: figures(arms, drawn.labels[few]) for subset, arms in systems.items()}


def unit(subset: str, options: tuple[str, ...]) -> Unit:
    """The training of a net on the joined vectors of a subset."""
    return Unit(stage1(subset), stage1("audio"), subset, options=(f"--model.modality={subset}", *options), test=False)


def scores(checkpoint: Path, store: Store) -> np.ndarray:
    """Scores (N, 5) of all clips of a store."""
    module = load(str(checkpoint))
    with torch.inference_mode():
        batch = ClipDataset(store, module.modalities)[torch.arange(len(store.clips))]
        return module(batch).clamp(0, 1).double().numpy()


def tables(records: dict[str, list[dict]]) -> str:
    """A table a world: each subset alone, differences by the teacher, and how far towards the ceiling."""
    parts = []
    for world, found in records.items():
        values = {s: {arm: _values(found, s, arm) for arm in found[0][s]} for s in SUBSETS}
        to_alone, to_itself = (holm(np.array([_p(v, arm) for v in values.values()])) for arm in (ALONE, ITSELF))
        rows = []
        for (subset, own), p, beside in zip(values.items(), to_alone, to_itself, strict=True):
            alone, ceiling = own[ALONE]["1-MAE"], own[CEILING]["1-MAE"]
            way = (own[ALL]["1-MAE"] - alone).mean() / (ceiling - alone).mean()
            gains = [interval(own[arm]["1-MAE"] - alone) for arm in ARMS[1:]]
            cells = [number(float(alone.mean())), *gains, number(float(p), 2), number(float(beside), 2)]
            rows.append([subset.replace("_", " + "), *cells, f"{100 * way:.0f} %"])
        head = ["", *ARMS, "p to alone (Holm)", "p to itself (Holm)", "way to ceiling"]
        parts.append(f"### {world}\n\n" + render(head, rows, f"{len(found)} seeds"))
    return "\n\n".join(parts)


def _values(found: list[dict], subset: str, arm: str) -> dict[str, np.ndarray]:
    return {metric: np.array([r[subset][arm][metric] for r in found]) for metric in found[0][subset][arm]}


def _p(values: dict[str, dict[str, np.ndarray]], arm: str) -> float:
    """Of a paired t test over seeds that teaching by all differs from another arm."""
    return float(stats.ttest_rel(values[ALL]["1-MAE"], values[arm]["1-MAE"]).pvalue)


if __name__ == "__main__":
    study(__doc__, "benchmark/teaching", WORLDS, record, tables, n_clips=4000)
