"""The table of a run: every system of the paper's Table 1 beside its baselines, on the same clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from apt_lightning.common.configs import read_yaml_text
from apt_lightning.common.errors import UsageError
from apt_lightning.common.traits import TRAIT_CODES, TraitStatistics, trait_statistics
from apt_lightning.data.collection.folds import read_folds
from apt_lightning.data.store.content import read_content, set_means
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.baselines import CONTENT_FREE, content_free, ridge
from apt_lightning.evaluation.metrics import METRICS, Scores, score
from apt_lightning.evaluation.neighbours import neighbour_systems, neighbours, same_source_note
from apt_lightning.evaluation.predictions import Predictions, read_predictions, read_statistics
from apt_lightning.evaluation.tables import interval, number, render
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.run_folder import RunFolder
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.experiments.runner import FOLDS
from apt_lightning.stages.names import stage1
from apt_lightning.training.run_folder import CONFIG

FloatArray = npt.NDArray[np.float64]

BASELINES = (*CONTENT_FREE, "ridge on the same features")
"""Systems without a network, in every table; after them the neighbours on each modality and on all joined."""


@dataclass(frozen=True)
class Split:
    """Labels and places of the clips of one store under one protocol."""

    store: Store
    splits: list[str]
    labels: FloatArray
    """(N, 5); NaN where missing."""

    @classmethod
    def of(cls, store: Store, folds: str | None = None, fold: int = 1) -> Split:
        """Official splits of a store, or those of a fold."""
        labels = np.array([clip.traits for clip in store.clips], dtype=np.float64).reshape(-1, 5)
        splits = [clip.split for clip in store.clips]
        if folds is not None:
            splits = list(read_folds(folds).splits([clip.source for clip in store.clips], fold))
        return cls(store, splits, labels)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Positions of a split's usable, fully labelled clips."""
        chosen = np.array([name == split for name in self.splits]) & self.store.present.any(axis=1)
        return np.flatnonzero(chosen & ~np.isnan(self.labels).any(axis=1))

    def baselines(
        self, like: Predictions, features: Mapping[str, FloatArray]
    ) -> tuple[dict[str, Predictions], dict[str, tuple[float, float]]]:
        """Predict the clips of ``like`` without a network.

        Args:
            like: Which clips.
            features: Of :func:`plain_features`.

        Returns:
            Predictions of the systems in :data:`BASELINES` and of the neighbours; and, for each set of features,
            how often the nearest training clip is of the same source, and how often by chance.
        """
        train, validation = self.rows("train"), self.rows("validation")
        position = {clip.name: i for i, clip in enumerate(self.store.clips)}
        test = np.array([position[name] for name in like.clips])
        sources = [clip.source for clip in self.store.clips]
        y = self.labels[train]
        x = np.concatenate(list(features.values()), axis=1)
        values = (
            *content_free(y, [sources[i] for i in train], list(like.sources)).values(),
            ridge(x[train], y, x[validation], self.labels[validation], x[test])[0],
        )
        predicted, rates = dict(zip(BASELINES, values, strict=True)), {}
        for name, blocks in neighbour_systems(features, train).items():
            found = neighbours(blocks, self.labels, sources, train, validation, test)
            predicted[f"neighbours, {name}"] = found.predicted
            rates[name] = (found.same_source, found.chance)
        return {name: replace(like, predicted=own) for name, own in predicted.items()}, rates


@dataclass(frozen=True)
class RunResults:
    """Test predictions of a run: system -> one set a seed; the folds of a seed are put together."""

    systems: dict[str, list[Predictions]]
    statistics: TraitStatistics
    """Of the training labels; over folds, of all labels."""
    settings: dict[str, Any]
    floors: tuple[str, ...]
    """Systems without a network."""
    same_source: dict[str, tuple[float, float]]
    """Features to how often the nearest training clip is of the same source, and how often by chance; NaN where
    no source is in training, as over folds."""

    @property
    def scores(self) -> dict[str, list[Scores]]:
        """Metrics of each system and seed."""
        return {name: [score(p) for p in runs] for name, runs in self.systems.items()}


def plain_features(run: RunFolder, store: Store, modalities: Sequence[str]) -> dict[str, FloatArray]:
    """What a run's stage 1 reads, as plain numbers: the mean over time of its feature sets, else what the store holds.

    Args:
        run: Folder of the run, whose stages 1 say which feature sets they were trained on.
        store: Its store.
        modalities: Of the run.

    Returns:
        Modality to (N, D); NaN where a clip lacks it.

    Raises:
        UsageError: If the settings of a stage are damaged.
    """
    found = {}
    for modality in modalities:
        files = run.files(stage1(modality), CONFIG)
        if sets := _sets_read(files[0]) if files else []:
            found[modality] = np.concatenate([set_means(store, modality, name) for name in sets], axis=1)
    content = {} if len(found) == len(modalities) else read_content(store).features
    return {modality: found[modality] if modality in found else content[modality] for modality in modalities}


def _sets_read(config: Path) -> list[str]:
    """Feature sets that a stage 1 was trained on, by its settings."""
    try:
        match yaml.safe_load(read_yaml_text(config)):
            case {"model": {"init_args": {"features": [*sets]}}} if {*map(type, sets)} <= {str}:
                return sets
            case {"model": {"class_path": str()}}:
                return []
    except (yaml.YAMLError, RecursionError):
        pass
    raise UsageError(f"{config} is damaged; delete its folder, and the same `apt run` command trains the stage again")


def read_run(folder: str | Path, split: str = "test") -> RunResults:
    """Collect the predictions of a finished run and compute the baselines on the same clips.

    Args:
        folder: Run folder of ``apt run``.
        split: ``test`` or ``validation``.

    Raises:
        UsageError: If the folder is no run, or has no finished stage.
    """
    path = Path(folder)
    settings = asdict(read_settings(path))
    store = Store.open(settings["store"])
    n_folds = settings["folds"]
    run = RunFolder(path)
    folds = [None] if n_folds is None else range(1, n_folds + 1)
    systems: dict[str, list[Predictions]] = {}
    for seed in settings["seeds"]:
        for unit in run_units(settings["modalities"]):
            files = [run.part(seed, fold) / unit.name / f"predictions_{split}.csv" for fold in folds]
            if unit.config != "stage3" and all(file.is_file() for file in files):
                parts = [read_predictions(file) for file in files]
                systems.setdefault(unit.title, []).append(Predictions.join(parts))
    if not systems:
        raise UsageError(f"{path} has no finished stage; `apt run` goes on where it stopped")
    first = next(iter(systems.values()))[0]
    places = [Split.of(store, None if fold is None else str(path / FOLDS), fold or 1) for fold in folds]
    statistics = trait_statistics(np.concatenate([place.labels[place.rows("train")] for place in places]))
    features = plain_features(run, store, settings["modalities"])
    parts_of: dict[str, list[Predictions]] = {}
    rates: dict[str, tuple[float, float]] = {}
    for place in places:
        inside = {place.store.clips[i].name for i in np.flatnonzero([s == split for s in place.splits])}
        part = first.select(np.array([clip in inside for clip in first.clips]))
        found, rates = place.baselines(part, features)
        for name, predictions in found.items():
            parts_of.setdefault(name, []).append(predictions)
    floors = {name: [Predictions.join(parts)] for name, parts in parts_of.items()}
    recorded = run.folders("stage2")
    if n_folds is None and recorded:
        statistics = read_statistics(recorded[0]) or statistics
    return RunResults({**floors, **systems}, statistics, settings, tuple(floors), rates)


def results_table(results: RunResults, metric: str = "1-MAE", title: str = "Test split") -> str:
    """Lay out one metric, a row a system: with an interval over sources for one seed, else mean and sd over seeds."""
    rows = []
    sizes: set[tuple[int, int]] = set()
    for name, runs in results.scores.items():
        sizes |= {(s.n_clips, s.n_sources) for s in runs}
        values = np.stack([s.values[metric] for s in runs])
        cells = [number(float(v)) for v in values.mean(axis=0)]
        if len(runs) > 1:
            cells = [f"{c} ±{number(float(sd))}" for c, sd in zip(cells, values.std(axis=0, ddof=1), strict=True)]
        else:
            lower, upper = runs[0].lower[metric], runs[0].upper[metric]
            cells[-1] = interval(float(values[0, -1]), float(lower[-1]), float(upper[-1]))
        rows.append([name, *cells])
    clips = "; ".join(f"{n} clips of {sources} sources" for n, sources in sorted(sizes))
    seeds = results.settings["seeds"]
    notes = [
        f"seeds {seeds}; " + ("mean ± sd over seeds." if len(seeds) > 1 else "95 % interval over sources."),
        "NEU is emotional stability (high = calm).",
        *same_source_note(results.same_source),
    ]
    return render(["", *TRAIT_CODES, "mean"], rows, f"{title}, {metric}: {clips}", notes)


__all__ = ["METRICS", "RunResults", "Split", "read_run", "results_table"]
