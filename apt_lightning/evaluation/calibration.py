"""Regression to the mean and errors along the label: slopes, deciles and distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    bootstrap_sums,
    cluster_sums,
    percentile_interval,
)
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import interval, number, render

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DECILES = 10
HISTOGRAM_EDGES = np.linspace(0, 1, 21)
"""Bins of the distributions."""


@dataclass(frozen=True)
class Slopes:
    """Linear fits between labels and predictions; arrays are (5,), NaN where one of the two is constant."""

    predicted_on_true: FloatArray
    """1 = no regression to the mean; below 1 even for the best predictor that can be."""
    true_on_predicted: FloatArray
    """1 = calibrated: the labels of two clips differ on average as much as their predictions."""
    lower: tuple[FloatArray, FloatArray]
    """Lower ends of the two intervals."""
    upper: tuple[FloatArray, FloatArray]
    clips: IntArray


@dataclass(frozen=True)
class Deciles:
    """Predictions and errors by decile of the label; every array is (5, 10), NaN in a bin without a clip."""

    true: FloatArray
    """Mean label."""
    predicted: FloatArray
    """Mean prediction."""
    mae: FloatArray
    """Mean absolute error."""
    lower: FloatArray
    """Lower end of the interval of the mean absolute error."""
    upper: FloatArray
    clips: IntArray


@dataclass(frozen=True)
class Distributions:
    """Histograms of labels and predictions of the labelled clips."""

    true: IntArray
    """(5, 20) clips a bin of :data:`HISTOGRAM_EDGES`."""
    predicted: IntArray
    """(5, 20)."""
    distance: FloatArray
    """(5,) Wasserstein distance between the two, in label units; NaN without a labelled clip."""


def slopes(predictions: Predictions, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Slopes:
    """Fit lines between labels and predictions, with percentile intervals over sources.

    Args:
        predictions: Labels and predictions.
        resamples: Bootstrap samples.
        level: Nominal coverage.
        seed: Seed of the bootstrap.
    """
    known = ~np.isnan(predictions.true)
    t, p = np.where(known, predictions.true, 0.0), np.where(known, predictions.predicted, 0.0)
    sums = cluster_sums(np.stack([known * 1.0, t, p, t * t, p * p, t * p], axis=-1), predictions.sources)
    total = sums.sum(axis=0)
    one, two = _slopes(total)
    ends = [percentile_interval(drawn, level) for drawn in _slopes(bootstrap_sums(sums, resamples, seed))]
    (lower_one, upper_one), (lower_two, upper_two) = ends
    return Slopes(one, two, (lower_one, lower_two), (upper_one, upper_two), total[..., 0].astype(np.int64))


def _slopes(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    n, t, p, tt, pp, tp = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cov, var_t, var_p = tp / n - t * p / n**2, tt / n - (t / n) ** 2, pp / n - (p / n) ** 2
        # A deviation of 1e-7 is the rounding of float32.
        return np.where(var_t > 1e-14, cov / var_t, np.nan), np.where(var_p > 1e-14, cov / var_p, np.nan)


def decile_edges(labels: FloatArray) -> FloatArray:
    """Bounds between the deciles of each trait.

    Args:
        labels: (N, 5), NaN where missing.

    Returns:
        (9, 5); NaN for a trait without labels.
    """
    edges = np.full((DECILES - 1, labels.shape[1]), np.nan)
    labelled = ~np.isnan(labels).all(axis=0)
    if labelled.any():
        edges[:, labelled] = np.nanquantile(labels[:, labelled], np.linspace(0, 1, DECILES + 1)[1:-1], axis=0)
    return edges


def decile_of(labels: FloatArray, edges: FloatArray | None = None) -> IntArray:
    """Decile of each label among the clips; equal labels share one, so deciles can differ in size.

    Args:
        labels: (N, 5), NaN where missing.
        edges: (9, 5) bounds from other clips; by default those of these.

    Returns:
        (N, 5) 0 to 9; -1 where the label is missing.
    """
    edges = decile_edges(labels) if edges is None else edges
    decile = (labels[None] >= edges[:, None]).sum(axis=0)
    return np.where(np.isnan(labels), -1, decile).astype(np.int64)


def deciles(predictions: Predictions, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Deciles:
    """Compute mean prediction and error in each decile of the label, per trait.

    Args:
        predictions: Labels and predictions.
        resamples: Bootstrap samples over sources.
        level: Nominal coverage of the error's interval.
        seed: Seed of the bootstrap.
    """
    inside = decile_of(predictions.true)[..., None] == np.arange(DECILES)
    t = np.nan_to_num(predictions.true)
    parts = (np.ones_like(t), t, predictions.predicted, np.abs(predictions.predicted - t))
    sums = cluster_sums(np.stack([part[..., None] * inside for part in parts], axis=1), predictions.sources)
    total = sums.sum(axis=0)
    drawn = bootstrap_sums(sums[:, [0, 3]], resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        true, predicted, mae = total[1:] / total[0]
        lower, upper = percentile_interval(drawn[:, 1] / drawn[:, 0], level)
    return Deciles(true, predicted, mae, lower, upper, total[0].astype(np.int64))


def distributions(predictions: Predictions) -> Distributions:
    """Count labels and predictions in bins of [0, 1].

    Args:
        predictions: Labels and predictions; a clip without a label is counted on neither side.
    """
    from scipy.stats import wasserstein_distance

    true, predicted, distance = [], [], []
    for t, p in zip(predictions.true.T, predictions.predicted.T, strict=True):
        known = ~np.isnan(t)
        true.append(np.histogram(t[known], HISTOGRAM_EDGES)[0])
        predicted.append(np.histogram(p[known], HISTOGRAM_EDGES)[0])
        distance.append(wasserstein_distance(t[known], p[known]) if known.any() else np.nan)
    return Distributions(np.array(true, dtype=np.int64), np.array(predicted, dtype=np.int64), np.array(distance))


def calibration_text(systems: dict[str, Predictions], title: str) -> str:
    """Lay out slopes and errors by decile of several systems on the same clips, side by side.

    Args:
        systems: Name to predictions.
        title: What the clips are.
    """
    rows = []
    for name, predictions in systems.items():
        s = slopes(predictions)
        for kind, values, lower, upper in (
            ("predicted on true", s.predicted_on_true, s.lower[0], s.upper[0]),
            ("true on predicted", s.true_on_predicted, s.lower[1], s.upper[1]),
        ):
            cells = [
                interval(*ends, digits=2) for ends in zip(values.tolist(), lower.tolist(), upper.tolist(), strict=True)
            ]
            rows.append([f"{name}, {kind}", *cells])
    n = len(next(iter(systems.values())))
    notes = ["predicted on true: 1 = no regression to the mean. true on predicted: 1 = calibrated."]
    blocks = [render(["slope", *TRAIT_CODES], rows, f"{title}, slopes: {n} clips", notes)]
    for name, predictions in systems.items():
        d = deciles(predictions)
        rows = [[trait, *(number(float(v), 3) for v in d.mae[i])] for i, trait in enumerate(TRAIT_CODES)]
        least = d.clips.min()
        head = ["label decile", *(str(i + 1) for i in range(DECILES))]
        blocks.append(
            render(head, rows, f"{name}, mean absolute error: {len(predictions)} clips, {least} or more a cell")
        )
    return "\n\n".join(blocks)
