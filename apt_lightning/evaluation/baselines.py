"""What a model must beat: constants, a look-up of the source video without content, a ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError

FloatArray = npt.NDArray[np.float64]

CONTENT_FREE = ("constant mean", "constant median", "source look-up, no content")
"""Systems that read no clip: labels and source ids are enough."""
SHRINKAGE = 0.75
"""Clips' worth of training mean in the look-up, picked on the official validation split."""
STRENGTHS = tuple(float(s) for s in np.logspace(-2, 6, 17))
"""Ridge penalties that are tried, on standardised features."""


def constant(train: FloatArray, clips: int, statistic: Literal["mean", "median"] = "mean") -> FloatArray:
    """Predict the training mean or median for every clip: the floor.

    Args:
        train: (N, 5) training labels, NaN where missing.
        clips: How many clips to predict.
        statistic: Which constant; the median is the best one for 1-MAE.

    Returns:
        (clips, 5).

    Raises:
        DataError: If a trait has no training label.
    """
    _check_labelled(train)
    value = np.nanmean(train, axis=0) if statistic == "mean" else np.nanmedian(train, axis=0)
    return np.tile(value, (clips, 1))


def source_lookup(
    train: FloatArray, train_sources: Sequence[str], sources: Sequence[str], shrinkage: float = SHRINKAGE
) -> FloatArray:
    """Predict from the source id alone, without picture, sound or word.

    The prediction is mean + n / (n + shrinkage) * (mean of the source's n training clips - mean). On the
    official split it scores about what a trained model scores: most test clips have a training clip of the
    same person in the same room.

    Args:
        train: (N, 5) training labels, NaN where missing.
        train_sources: N source ids.
        sources: Source ids of the M clips to predict.
        shrinkage: Pull towards the training mean, in clips.

    Returns:
        (M, 5); the training mean for a source that training does not hold.

    Raises:
        DataError: If a trait has no training label.

    Example:
        >>> train = np.array([[0.2] * 5, [0.6] * 5, [0.6] * 5])
        >>> source_lookup(train, ["a", "b", "b"], ["a", "b", "c"], shrinkage=1)[:, 0].round(3).tolist()
        [0.333, 0.556, 0.467]
    """
    _check_labelled(train)
    mean: FloatArray = np.nanmean(train, axis=0)
    names, rows = np.unique(np.asarray(train_sources), return_inverse=True)
    offsets, counts = np.zeros((len(names), 5)), np.zeros((len(names), 5))
    np.add.at(offsets, rows, np.nan_to_num(train - mean))
    np.add.at(counts, rows, ~np.isnan(train))
    # n / (n + s) * (sum / n) is sum / (n + s), which also holds without a label if s > 0.
    table = dict(zip(names.tolist(), offsets / np.maximum(counts + shrinkage, 1e-12), strict=True))
    found: FloatArray = np.array([table.get(source, np.zeros(5)) for source in sources]).reshape(-1, 5)
    return mean + found


def content_free(train: FloatArray, train_sources: Sequence[str], sources: Sequence[str]) -> dict[str, FloatArray]:
    """Predict by the systems in :data:`CONTENT_FREE`.

    Args:
        train: (N, 5) training labels.
        train_sources: N source ids.
        sources: Source ids of the M clips to predict.

    Returns:
        Name to (M, 5).
    """
    predicted = (
        constant(train, len(sources)),
        constant(train, len(sources), "median"),
        source_lookup(train, train_sources, sources),
    )
    return dict(zip(CONTENT_FREE, predicted, strict=True))


def ridge(
    train_x: FloatArray,
    train_y: FloatArray,
    validation_x: FloatArray,
    validation_y: FloatArray,
    test_x: FloatArray,
) -> tuple[FloatArray, float]:
    """Regress the labels on features linearly; the penalty is the one with the best 1-MAE on validation.

    A missing feature (NaN) is replaced by its training mean. Clips without all five labels are not fitted.

    Args:
        train_x: (N, D) features.
        train_y: (N, 5) labels.
        validation_x: (V, D).
        validation_y: (V, 5).
        test_x: (M, D).

    Returns:
        (M, 5) predictions in [0, 1], and the penalty chosen.

    Raises:
        DataError: If no training or no validation clip has all its labels.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    complete, checked = ~np.isnan(train_y).any(axis=1), ~np.isnan(validation_y).any(axis=1)
    if not complete.any() or not checked.any():
        raise DataError("a ridge baseline needs training and validation clips with all five labels")
    prepare = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    x = prepare.fit_transform(train_x[complete])
    held_out, target = prepare.transform(validation_x[checked]), validation_y[checked]
    best: tuple[float, float, Ridge] | None = None
    for strength in STRENGTHS:
        model = Ridge(alpha=strength).fit(x, train_y[complete])
        error = float(np.abs(np.clip(model.predict(held_out), 0, 1) - target).mean())
        if best is None or error < best[0]:
            best = (error, strength, model)
    assert best is not None
    return np.clip(best[2].predict(prepare.transform(test_x)), 0, 1), best[1]


def _check_labelled(train: FloatArray) -> None:
    if len(train) == 0 or np.isnan(train).all(axis=0).any():
        raise DataError("a baseline needs at least one training label of each trait")
