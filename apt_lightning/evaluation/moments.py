"""The sums over clips that every metric is a function of, and the functions."""

import numpy as np
import numpy.typing as npt

from apt_lightning.evaluation.predictions import Predictions

FloatArray = npt.NDArray[np.float64]

_N, _ABS, _SQ, _T, _P, _TT, _PP, _TP, _LOW_N, _LOW, _HIGH_N, _HIGH = range(12)
_CONSTANT = 1e-14
"""Variance below which values count as all equal: a deviation of 1e-7, the rounding of float32 on [0, 1]."""


def moments(predictions: Predictions) -> FloatArray:
    """What each clip adds to the sums that all metrics are functions of.

    Args:
        predictions: N labels and predictions.

    Returns:
        (N, 5, 12); zero where the label is missing.
    """
    known, classes = ~np.isnan(predictions.true), predictions.classes
    t, p = np.where(known, predictions.true, 0.0), np.where(known, predictions.predicted, 0.0)
    error = np.abs(p - t)
    low, high = (known & (classes == c) if classes is not None else np.zeros_like(known) for c in (0, 3))
    parts = (known, error, error**2, t, p, t * t, p * p, t * p, low, low * error, high, high * error)
    return np.stack([np.asarray(part, dtype=np.float64) for part in parts], axis=-1)


def metrics_of(sums: FloatArray) -> dict[str, FloatArray]:
    """Compute every metric from sums of :func:`moments`.

    Args:
        sums: (..., 5, 12).

    Returns:
        Metric name to (..., 6): the five traits and their mean; NaN where undefined.
    """
    n = sums[..., _N]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_t, mean_p = sums[..., _T] / n, sums[..., _P] / n
        var_t, var_p = sums[..., _TT] / n - mean_t**2, sums[..., _PP] / n - mean_p**2
        cov = sums[..., _TP] / n - mean_t * mean_p
        gap = (mean_t - mean_p) ** 2
        mse = sums[..., _SQ] / n
        spread_t, spread_p = (n > 1) & (var_t > _CONSTANT), (n > 1) & (var_p > _CONSTANT)
        values = {
            "1-MAE": 1 - sums[..., _ABS] / n,
            "RMSE": np.sqrt(mse),
            "R2": np.where(spread_t, 1 - mse / var_t, np.nan),
            "PCC": np.where(spread_t & spread_p, cov / np.sqrt(var_t * var_p), np.nan),
            "CCC": np.where((n > 1) & (var_t + var_p + gap > _CONSTANT), 2 * cov / (var_t + var_p + gap), np.nan),
            "sd ratio": np.where(spread_t, np.sqrt(np.maximum(var_p, 0) / var_t), np.nan),
            "low": 1 - sums[..., _LOW] / sums[..., _LOW_N],
            "high": 1 - sums[..., _HIGH] / sums[..., _HIGH_N],
        }
    return {name: np.concatenate([v, v.mean(axis=-1, keepdims=True)], axis=-1) for name, v in values.items()}


def signed_error(sums: FloatArray) -> FloatArray:
    """Mean of prediction minus label.

    Args:
        sums: (..., 5, 12) from :func:`moments`.

    Returns:
        (..., 6): the five traits and their mean; NaN without a labelled clip.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        error = (sums[..., _P] - sums[..., _T]) / sums[..., _N]
    return np.concatenate([error, error.mean(axis=-1, keepdims=True)], axis=-1)


def labelled(sums: FloatArray, metric: str) -> FloatArray:
    """Number of labelled clips that a metric rests on.

    Args:
        sums: (..., 5, 12) from :func:`moments`.
        metric: One of :data:`apt_lightning.evaluation.metrics.METRICS`.

    Returns:
        (..., 5).
    """
    return sums[..., {"low": _LOW_N, "high": _HIGH_N}.get(metric, _N)]


def equal_labels(sums: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether all labels are equal, up to the rounding of float32.

    Args:
        sums: (..., 5, 12) from :func:`moments`.

    Returns:
        (..., 5).
    """
    n, t, tt = sums[..., _N], sums[..., _T], sums[..., _TT]
    equal: npt.NDArray[np.bool_] = n * tt - t**2 <= _CONSTANT * n**2
    return equal
