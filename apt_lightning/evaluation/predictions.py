"""The prediction table: what a stage says about each clip, beside the labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.common.files import write_csv, write_json
from apt_lightning.common.traits import TRAITS, TraitStatistics, trait_classes

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PREDICTION_COLUMNS = ("clip", "source", "seen_source", *(f"true_{t}" for t in TRAITS), *(f"pred_{t}" for t in TRAITS))
"""Header of a prediction table."""
NO_COLUMNS: Mapping[str, Sequence[object]] = {}
STATISTICS_FILE = "statistics.json"
"""Beside the tables of a stage: the training split's means and deviations, which cut the classes C1 to C4."""


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions of N clips.

    Predictions are clipped to [0, 1], the range of the labels, as for all metrics (the paper names no output
    activation).

    Raises:
        DataError: If the parts differ in length, a clip occurs twice, a prediction is not finite, or a label
            lies outside [0, 1].

    Example:
        >>> p = Predictions(["a.000.mp4"], ["a"], np.ones(1), np.full((1, 5), 0.5), np.full((1, 5), 1.2))
        >>> p.predicted.tolist()
        [[1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    clips: Sequence[str]
    """Clip names, each once."""
    sources: Sequence[str]
    """Source video of each clip."""
    seen_source: BoolArray
    """(N,) whether the training split holds a clip of the same source."""
    true: FloatArray
    """(N, 5) labels in [0, 1]; NaN where missing."""
    predicted: FloatArray
    """(N, 5) in [0, 1]."""
    classes: IntArray | None = None
    """(N, 5) classes of the labels by the *training* thresholds, 0 to 3 for C1 to C4; None = not known."""
    fold: IntArray | None = None
    """(N,) which of the joined tables each clip is from: another one was predicted by another model; None = one."""

    def __post_init__(self) -> None:
        n = len(self.clips)
        object.__setattr__(self, "seen_source", np.asarray(self.seen_source, dtype=bool))
        object.__setattr__(self, "true", np.asarray(self.true, dtype=np.float64))
        shapes = (len(self.sources), self.seen_source.shape, self.true.shape, np.shape(self.predicted))
        if shapes != (n, (n,), (n, 5), (n, 5)):
            raise DataError(
                f"{n} clips need {n} sources and `seen_source`, ({n}, 5) `true` and `predicted`; got {shapes}"
            )
        if len(set(self.clips)) != n:
            twice = next(clip for i, clip in enumerate(self.clips) if clip in self.clips[:i])
            raise DataError(f"clip {twice!r} occurs more than once in a prediction table")
        finite = np.isfinite(self.predicted).all(axis=1)
        if not finite.all():
            name = self.clips[int(np.argmin(finite))]
            raise DataError(
                f"the prediction of clip {name!r} is not finite ({int((~finite).sum())} of {n} clips); "
                "the model has diverged or the table is damaged: run the stage again"
            )
        outside = (self.true < 0) | (self.true > 1)
        if outside.any():
            clip, trait = (int(i) for i in np.argwhere(outside)[0])
            raise DataError(
                f"label {TRAITS[trait]} of clip {self.clips[clip]!r} is {self.true[clip, trait]:g}; "
                "labels lie in [0, 1]: map another scale to it first"
            )
        object.__setattr__(self, "predicted", np.clip(np.asarray(self.predicted, dtype=np.float64), 0, 1))

    def __len__(self) -> int:
        return len(self.clips)

    def with_statistics(self, statistics: TraitStatistics) -> Predictions:
        """Cut the labels into the classes C1 to C4.

        Args:
            statistics: Means and deviations of the training split of the model that predicted.
        """
        return replace(self, classes=trait_classes(self.true, statistics))

    def select(self, rows: BoolArray | IntArray) -> Predictions:
        """Take some clips.

        Args:
            rows: (N,) mask or row numbers, in the order wanted.
        """
        numbers = np.arange(len(self))[rows]
        return Predictions(
            [self.clips[i] for i in numbers],
            [self.sources[i] for i in numbers],
            self.seen_source[numbers],
            self.true[numbers],
            self.predicted[numbers],
            None if self.classes is None else self.classes[numbers],
            None if self.fold is None else self.fold[numbers],
        )

    @staticmethod
    def join(parts: Sequence[Predictions]) -> Predictions:
        """Put tables of different clips one after another, as the test parts of grouped folds.

        Args:
            parts: At least one table; no clip in two of them.
        """
        classes = [part.classes for part in parts if part.classes is not None]
        return Predictions(
            [clip for part in parts for clip in part.clips],
            [source for part in parts for source in part.sources],
            np.concatenate([part.seen_source for part in parts]),
            np.concatenate([part.true for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate(classes) if len(classes) == len(parts) else None,
            np.repeat(np.arange(len(parts)), [len(part) for part in parts]) if len(parts) > 1 else None,
        )


def write_predictions(
    path: str | os.PathLike[str], predictions: Predictions, further: Mapping[str, Sequence[object]] = NO_COLUMNS
) -> None:
    """Write a prediction table as CSV, every digit kept; a missing label is an empty cell.

    Args:
        path: File to write.
        predictions: What to write.
        further: Name to (N,) values of columns beside :data:`PREDICTION_COLUMNS`.
    """
    lines = []
    rows = zip(predictions.clips, predictions.sources, predictions.seen_source, strict=True)
    for (clip, source, seen), true, predicted in zip(rows, predictions.true, predictions.predicted, strict=True):
        labels = ["" if np.isnan(value) else repr(float(value)) for value in true]
        lines.append([clip, source, int(seen), *labels, *(repr(float(value)) for value in predicted)])
    beside = zip(*further.values(), strict=True) if further else [()] * len(lines)
    write_csv(path, [*PREDICTION_COLUMNS, *further], ([*line, *more] for line, more in zip(lines, beside, strict=True)))


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read a prediction table, and the classes of its labels if :data:`STATISTICS_FILE` lies beside it.

    Args:
        path: CSV with the columns :data:`PREDICTION_COLUMNS`, in any order; further columns are ignored.

    Raises:
        DataError: If a column is missing, a cell is no number, or a rule of :class:`Predictions` is broken.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in PREDICTION_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} is no prediction table: it has no column {', '.join(missing)}")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no prediction table in UTF-8 ({error}); run the stage's test again") from None
    try:
        true = [[float(row[f"true_{t}"] or "nan") for t in TRAITS] for row in rows]
        predicted = [[float(row[f"pred_{t}"] or "nan") for t in TRAITS] for row in rows]
        seen = [{"0": False, "1": True}[row["seen_source"]] for row in rows]
        if any(row["clip"] is None or row["source"] is None for row in rows):
            raise ValueError("a row without a clip or source")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: {error} in a prediction table; it holds numbers, and 0 or 1 in `seen_source`"
        ) from None
    predictions = Predictions(
        [row["clip"] for row in rows],
        [row["source"] for row in rows],
        np.array(seen, dtype=bool),
        np.array(true, dtype=np.float64).reshape(-1, 5),
        np.array(predicted, dtype=np.float64).reshape(-1, 5),
    )
    statistics = read_statistics(Path(path).parent)
    return predictions if statistics is None else predictions.with_statistics(statistics)


def write_statistics(folder: str | os.PathLike[str], statistics: TraitStatistics) -> None:
    """Write the training split's statistics beside the prediction tables of a stage.

    Args:
        folder: The stage's folder.
        statistics: Mean and standard deviation per trait.
    """
    content = {"mean": statistics.mean.tolist(), "sd": statistics.sd.tolist()}
    write_json(Path(folder, STATISTICS_FILE), content)


def read_statistics(folder: str | os.PathLike[str]) -> TraitStatistics | None:
    """Read the training split's statistics of a stage.

    Args:
        folder: The stage's folder.

    Returns:
        The statistics, or None where the file is absent: then nothing can be said about C1 and C4.

    Raises:
        DataError: If the file does not hold five means and five deviations.
    """
    path = Path(folder, STATISTICS_FILE)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        mean, sd = (np.array(values[key], dtype=np.float64) for key in ("mean", "sd"))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); run the stage's test again") from None
    if mean.shape != (5,) or sd.shape != (5,) or not np.isfinite([mean, sd]).all():
        raise DataError(f"{path} must hold five means and five deviations; run the stage's test again")
    return TraitStatistics(mean, sd)
