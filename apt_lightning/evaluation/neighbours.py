"""The neighbour baseline: what a clip's nearest training clips are labelled, on the same features and no learning.

A look-up by content. Where clips of one source are in training too, the nearest are often of that source, and the
baseline recognises the person and the room. The rate at which it does so says how much of the leak between splits
can be read from the features alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

COUNTS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of neighbours that are tried."""
WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0, np.inf)
"""Widths of the Gaussian that are tried, in median distances of a validation clip to its nearest training clip."""
JOINED = "joined"
"""Name of all modalities together."""


@dataclass(frozen=True)
class Neighbours:
    """The baseline's predictions for M clips, and how they came about."""

    predicted: FloatArray
    """(M, 5)."""
    count: int
    """Neighbours taken."""
    width: float
    """Of the Gaussian weights, in units of the standardised features; infinite for equal weights."""
    same_source: float
    """Of the clips whose source is in training: share whose nearest training clip is of that source. NaN without
    such a clip, or where neighbours of the same source are left out."""
    chance: float
    """The same share if the nearest clip were any training clip."""


def neighbours(
    blocks: Sequence[FloatArray],
    labels: FloatArray,
    sources: Sequence[str],
    train: IntArray,
    validation: IntArray,
    test: IntArray,
    other_sources: bool = False,
) -> Neighbours:
    """Predict the mean label of the nearest training clips with Gaussian weights exp(-d² / 2 width²).

    Features are standardised on the training clips, and each block counts the same whatever its number of
    columns. Number and width are those with the best 1-MAE on validation. A missing feature is the training mean;
    a clip without any feature gets the mean label, and is nobody's neighbour.

    Args:
        blocks: One (N, D) array of features, or one a modality; NaN where missing.
        labels: (N, 5), NaN where missing. Training and validation clips without all five are not used.
        sources: N source ids.
        train: Rows of the training clips.
        validation: Rows of the validation clips.
        test: Rows of the M clips to predict.
        other_sources: Leave out neighbours of the clip's own source.

    Raises:
        DataError: If no training clip with features, or no validation clip, has all its labels.
    """
    names = np.asarray(sources)
    seen = np.asarray(~np.stack([np.isnan(block).all(axis=1) for block in blocks]).all(axis=0))
    complete = np.asarray(~np.isnan(labels).any(axis=1))
    train, validation = train[complete[train]], validation[complete[validation]]
    floor = labels[train].mean(axis=0) if len(train) else np.empty(0)
    train = train[seen[train]]
    if not len(train) or not len(validation):
        raise DataError("a neighbour baseline needs training and validation clips with features and all five labels")
    x = np.concatenate([_standardised(block, train) for block in blocks], axis=1)
    found = {name: nearest(x, names, train, rows, other_sources) for name, rows in (("v", validation), ("t", test))}
    first = found["v"][0][seen[validation], 0]
    scale = float(np.median(first[np.isfinite(first)])) if np.isfinite(first).any() else 1.0
    best = (np.inf, 1, np.inf)
    for width in WIDTHS:
        wide = width * (scale or 1.0)
        means = running_means(*found["v"], labels[train], wide, floor, seen[validation])
        for count in [n for n in COUNTS if n <= means.shape[1]]:
            error = float(np.abs(means[:, count - 1] - labels[validation]).mean())
            if error < best[0]:
                best = (error, count, wide)
    _, count, wide = best
    distances, rows = found["t"]
    predicted = running_means(distances[:, :count], rows[:, :count], labels[train], wide, floor, seen[test])[:, -1]
    rate, chance = np.nan, np.nan
    counted = np.isin(names[test], names[train]) & seen[test]
    if counted.any() and not other_sources:
        own, sizes = np.unique(names[train], return_counts=True)
        rate = float((names[train][rows[counted, 0]] == names[test][counted]).mean())
        chance = float(sizes[np.searchsorted(own, names[test][counted])].mean() / len(train))
    return Neighbours(predicted, count, wide, rate, chance)


def neighbour_systems(features: Mapping[str, FloatArray], train: IntArray) -> dict[str, list[FloatArray]]:
    """Name the blocks on which the baseline is computed: each modality, and all joined if there are several.

    Args:
        features: Modality to (N, D).
        train: Rows of the training clips; a modality that none of them has is left out.
    """
    there = {name: values for name, values in features.items() if not np.isnan(values[train]).all()}
    systems = {name: [values] for name, values in there.items()}
    return systems | ({JOINED: list(there.values())} if len(there) > 1 else {})


def same_source_note(rates: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say in a line how often the nearest training clip is of the clip's own source; nothing if it never could be.

    Args:
        rates: Features to that share and to the share by chance; NaN where no source is in training.

    Example:
        >>> same_source_note({"audio": (0.77, 0.0004), "text": (0.02, 0.0004)})
        ['Nearest training clip of the same source, where there is one: audio 77.0 %, text 2.0 %; by chance 0.04 %.']
    """
    known = {name: rate for name, rate in rates.items() if not np.isnan(rate[0])}
    if not known:
        return []
    each = ", ".join(f"{name} {100 * rate:.1f} %" for name, (rate, _) in known.items())
    chance = 100 * max(chance for _, chance in known.values())
    return [f"Nearest training clip of the same source, where there is one: {each}; by chance {chance:.2g} %."]


def _standardised(block: FloatArray, train: IntArray) -> FloatArray:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    prepare = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()).fit(block[train])
    return np.asarray(prepare.transform(block) / np.sqrt(block.shape[1]))


def nearest(
    x: FloatArray, names: npt.NDArray[np.str_], train: IntArray, rows: IntArray, other_sources: bool
) -> tuple[FloatArray, IntArray]:
    """Find the nearest training clips of each clip.

    Args:
        x: (N, D).
        names: (N,) source ids.
        train: Rows of the training clips.
        rows: Rows of the M clips that ask.
        other_sources: Leave out those of the clip's own source.

    Returns:
        (M, K) distances and places within ``train``; those left out lie at infinity, last.
    """
    from sklearn.neighbors import NearestNeighbors

    if not len(rows):
        return np.empty((0, 1)), np.empty((0, 1), dtype=np.int64)
    spare = int(np.unique(names[train], return_counts=True)[1].max()) if other_sources else 0
    wanted = min(len(train), COUNTS[-1] + spare)
    distances, numbers = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(x[train]).kneighbors(x[rows])
    if other_sources:
        distances[names[train][numbers] == names[rows, None]] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, : COUNTS[-1]]
        distances, numbers = (np.take_along_axis(values, order, axis=1) for values in (distances, numbers))
    return distances, numbers


def gaussian_weights(distances: FloatArray, width: float) -> FloatArray:
    """Weights exp(-d² / 2 width²) of the nearest, up to a factor of each row, lest all underflow.

    Args:
        distances: (M, K), ascending; infinite where there is none.
        width: Infinite for equal weights.

    Returns:
        (M, K); 0 where there is none, 1 for the nearest.
    """
    there = np.isfinite(distances)
    first = np.where(there[:, :1], distances[:, :1], 0)
    apart = np.where(there, distances, first) ** 2 - first**2
    return np.asarray(np.exp(-apart / (2 * width**2)) * there)


def running_means(
    distances: FloatArray, numbers: IntArray, labels: FloatArray, width: float, floor: FloatArray, seen: BoolArray
) -> FloatArray:
    """Average the labels of the nearest.

    Args:
        distances: (M, K) from :func:`nearest`.
        numbers: (M, K) places of their labels.
        labels: (T, 5).
        width: Of the Gaussian weights.
        floor: (5,) what a clip without neighbours gets.
        seen: (M,) False for a clip without features.

    Returns:
        (M, K, 5) weighted means of the labels of the 1, 2 ... K nearest.
    """
    weights = gaussian_weights(np.where(seen[:, None], distances, np.inf), width)
    sums = np.cumsum(weights[..., None] * labels[numbers], axis=1)
    total = np.cumsum(weights, axis=1)[..., None]
    return np.where(total > 0, sums / np.where(total > 0, total, 1), floor)
