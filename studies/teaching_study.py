"""Taught by the others: does a net of few modalities gain by what a model of all says? Part of ``make benchmark``.

With a squared loss, a teacher is a store whose training labels are mixed with its scores. The plan is in
docs/benchmark.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.data.synthetic.features import CUE_SHARE, SIZES, SyntheticFeatures, synthetic_features
from apt_lightning.data.synthetic.planted import Planted, best_scores
from apt_lightning.evaluation.baselines import ridge
from apt_lightning.evaluation.significance import holm
from apt_lightning.evaluation.spread import System
from apt_lightning.evaluation.tables import number, render
from apt_lightning.experiments.plan import Unit
from apt_lightning.stages.load import load
from apt_lightning.stages.metric import labels_of_other_sources
from apt_lightning.stages.names import BEST, stage1
from studies.benchmark import SHORT, figures, interval, out_of_fold, study, table_of, train
from studies.embedding_study import write_store

WORLDS = {"plain": Planted(), "shared": Planted(shared=0.5)}
SUBSETS = {"_".join(names): list(names) for count in (1, 2) for names in combinations(SIZES, count)}
"""Name of the joined vectors to the modalities."""
ARMS = ("alone", "taught by all", "taught by itself", "taught by all, shuffled", "taught by the best")
ALONE, ALL, ITSELF, SHUFFLED, BEST_TEACHER = ARMS
CEILING = "ceiling"
WEIGHT = 1.0
"""Of the teacher's scores beside the labels."""
SQUARED = ("--model.loss.mae_weight=0", "--model.loss.bell_weight=0")


def teachers(drawn: SyntheticFeatures, planted: Planted, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Arm and subset to the teacher's scores (N, 5), of which those of training clips are of use.

    Args:
        drawn: With the vectors of the modalities.
        planted: Strengths that it was drawn with.
        seed: Of the deal between sources.
    """
    rows, held_out = (np.flatnonzero(drawn.split == name) for name in ("train", "validation"))

    def scores(names: list[str]) -> np.ndarray:
        x = np.hstack([drawn.features[name] for name in names]).astype(np.float64)
        _, strength = ridge(x[rows], drawn.labels[rows], x[held_out], drawn.labels[held_out], x[:1])
        found = np.zeros_like(drawn.labels)
        found[rows] = out_of_fold(x[rows], drawn.labels[rows], drawn.source[rows], strength)
        return found

    of_all = scores(list(SIZES))
    same = {
        ALONE: drawn.labels,
        ALL: of_all,
        SHUFFLED: labels_of_other_sources(of_all, drawn.source, rows, seed),
        BEST_TEACHER: best_scores(drawn.cues, CUE_SHARE, planted, list(SIZES)),
    }
    own = {subset: scores(names) for subset, names in SUBSETS.items()}
    return {arm: dict.fromkeys(SUBSETS, taught) for arm, taught in same.items()} | {ITSELF: own}


def mixed(drawn: SyntheticFeatures, taught: np.ndarray) -> np.ndarray:
    """Labels (N, 5), those of training clips mixed with a teacher's scores."""
    training = (drawn.split == "train")[:, None]
    return np.where(training, (drawn.labels + WEIGHT * taught.clip(0, 1)) / (1 + WEIGHT), drawn.labels)


def record(world: str, n_clips: int, seed: int, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Train a net for each arm and subset on one draw of clips; its figures on the test clips."""
    drawn = synthetic_features(n_clips, seed, grouped=True, planted=WORLDS[world])
    joined = {name: np.hstack([drawn.features[n] for n in names]) for name, names in SUBSETS.items()}
    rows = {on: np.flatnonzero(drawn.split == on) for on in ("train", "validation", "test")}
    systems: dict[str, dict[str, System]] = {subset: {} for subset in SUBSETS}
    for arm, taught in teachers(drawn, WORLDS[world], seed).items():
        groups = [[subset] for subset in SUBSETS] if arm == ITSELF else [list(SUBSETS)]
        for subsets in groups:
            own = folder / f"{arm}-{subsets[0]}".replace(" ", "_")
            features = {name: joined[name] for name in subsets}
            path = write_store(own, replace(drawn, labels=mixed(drawn, taught[subsets[0]]), features=features))
            base, store = train(own, path, seed, map(unit, subsets)), Store.open(path)
            for subset in subsets:
                systems[subset][arm] = _system(store, rows, drawn.labels, scores(base / stage1(subset) / BEST, store))
    for subset, names in SUBSETS.items():
        best = best_scores(drawn.cues, CUE_SHARE, WORLDS[world], names).clip(0, 1)
        systems[subset][CEILING] = _system(store, rows, drawn.labels, best)
    return {subset: figures(arms, drawn.labels[rows["train"]]) for subset, arms in systems.items()}


def unit(subset: str) -> Unit:
    """The training of a net on the joined vectors of a subset."""
    flags = (f"--model.modality={subset}", *SHORT, *SQUARED)
    return Unit(stage1(subset), stage1("audio"), subset, options=flags, test=False)


def scores(checkpoint: Path, store: Store) -> np.ndarray:
    """Scores (N, 5) of all clips of a store."""
    module = load(str(checkpoint))
    with torch.inference_mode():
        batch = ClipDataset(store, module.modalities)[torch.arange(len(store.clips))]
        return module(batch).clamp(0, 1).double().numpy()


def _system(store: Store, rows: Mapping[str, np.ndarray], labels: np.ndarray, predicted: np.ndarray) -> System:
    return System(*([table_of(store, rows[on], labels, predicted[rows[on]])] for on in ("test", "validation")))


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
            ends = [interval(own[ALL][end] - own[ALONE][end]) for end in ("low", "high")]
            figures = [number(float(alone.mean())), *gains, number(float(p), 2), number(float(beside), 2)]
            rows.append([subset.replace("_", " + "), *figures, f"{100 * way:.0f} %", *ends])
        ends = ("low, equal spread", "high, equal spread")
        head = ["", *ARMS, "p to alone (Holm)", "p to itself (Holm)", "way to ceiling", *ends]
        parts.append(f"### {world}\n\n" + render(head, rows, f"{len(found)} seeds"))
    return "\n\n".join(parts)


def _values(found: list[dict], subset: str, arm: str) -> dict[str, np.ndarray]:
    return {metric: np.array([r[subset][arm][metric] for r in found]) for metric in found[0][subset][arm]}


def _p(values: dict[str, dict[str, np.ndarray]], arm: str) -> float:
    """Of a paired t test over seeds that teaching by all differs from another arm."""
    return float(stats.ttest_rel(values[ALL]["1-MAE"], values[arm]["1-MAE"]).pvalue)


if __name__ == "__main__":
    study(__doc__, "benchmark/teaching", WORLDS, record, tables)
