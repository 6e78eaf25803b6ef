"""What can be scored on a data set without a network: constant, look-up of the source, ridge, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from apt_lightning.data.store.content import Content
from apt_lightning.evaluation.baselines import constant, ridge, source_lookup
from apt_lightning.evaluation.metrics import Scores, score
from apt_lightning.evaluation.neighbours import neighbour_systems, neighbours
from apt_lightning.evaluation.predictions import Predictions

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MEAN, LOOK_UP, RIDGE, NEIGHBOURS = "training mean", "source look-up, no content", "ridge", "neighbours"
"""Rows of the tables; the last is followed by its features."""


class LabelledClip(Protocol):
    """What the floors need of a clip."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def traits(self) -> tuple[float, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Floors:
    """Scores of systems without a network."""

    scores: dict[str, dict[str, dict[str, Scores]]]
    """Split to ``all``, ``seen sources``, ``unseen sources`` to system to its scores."""
    same_source: dict[str, dict[str, tuple[float, float]]]
    """Split to features to how often the nearest training clip is of the same source, and how often by chance."""

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file; an undefined metric is null."""
        return {
            "baselines": {
                split: {part: {name: s.to_dict() for name, s in found.items()} for part, found in parts.items()}
                for split, parts in self.scores.items()
            },
            "nearest_of_the_same_source": {
                split: {
                    name: None if np.isnan(rate) else {"share": rate, "by_chance": chance}
                    for name, (rate, chance) in rates.items()
                }
                for split, rates in self.same_source.items()
            },
        }


def floors(clips: Sequence[LabelledClip], content: Content | None, resamples: int) -> Floors:
    """Score all floors on the validation and test clips, seen and unseen sources apart.

    Args:
        clips: All clips of a data set.
        content: Their plain features, in their order; without them, or without labelled validation clips to
            choose by, the floors are the mean and the look-up.
        resamples: Bootstrap samples of the intervals.

    Returns:
        Scores; none without training labels of each trait. On validation, ridge and neighbours are those that
        score best there.
    """
    labels: FloatArray = np.array([clip.traits for clip in clips], dtype=np.float64).reshape(-1, 5)
    labels[(labels < 0) | (labels > 1)] = np.nan
    splits = np.array([clip.split for clip in clips], dtype=object)
    sources = [clip.source for clip in clips]
    train, validation = (np.flatnonzero(splits == name) for name in ("train", "validation"))
    if np.isnan(labels[train]).all(axis=0).any():
        return Floors({}, {})
    scored: dict[str, dict[str, dict[str, Scores]]] = {}
    rates: dict[str, dict[str, tuple[float, float]]] = {}
    for split in ("validation", "test"):
        rows = np.flatnonzero(splits == split)
        if np.isnan(labels[rows]).all():
            continue
        own = [sources[i] for i in rows]
        predicted = {
            MEAN: constant(labels[train], len(rows)),
            LOOK_UP: source_lookup(labels[train], [sources[i] for i in train], own),
        }
        complete = np.asarray(~np.isnan(labels).any(axis=1))
        known = {sources[i] for i in train}
        if content is not None and complete[train].any() and complete[validation].any():
            more, rates[split] = _content_floors(content, labels, sources, train[complete[train]], validation, rows)
            predicted |= more
        seen = np.array([source in known for source in own], dtype=bool)
        names = [clips[i].name for i in rows.tolist()]
        tables = {name: Predictions(names, own, seen, labels[rows], values) for name, values in predicted.items()}
        parts = {"all": seen | True, "seen sources": seen, "unseen sources": ~seen}
        scored[split] = {
            part: {name: score(table.select(chosen), resamples=resamples) for name, table in tables.items()}
            for part, chosen in parts.items()
            if chosen.any()
        }
    return Floors(scored, rates)


def _content_floors(
    content: Content, labels: FloatArray, sources: Sequence[str], train: IntArray, validation: IntArray, rows: IntArray
) -> tuple[dict[str, FloatArray], dict[str, tuple[float, float]]]:
    """Predictions of ridge, and of neighbours of any and of other sources; and the same-source rates."""
    x = content.joined
    predicted = {RIDGE: ridge(x[train], labels[train], x[validation], labels[validation], x[rows])[0]}
    rates = {}
    for name, blocks in neighbour_systems(content.features, train).items():
        found = neighbours(blocks, labels, sources, train, validation, rows)
        others = neighbours(blocks, labels, sources, train, validation, rows, other_sources=True)
        predicted |= {
            f"{NEIGHBOURS}, {name}": found.predicted,
            f"{NEIGHBOURS}, {name}, other sources": others.predicted,
        }
        rates[name] = (found.same_source, found.chance)
    return predicted, rates
