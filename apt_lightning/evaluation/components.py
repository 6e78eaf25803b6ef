"""Where the chance in a difference of two systems comes from: which sources, and which training runs.

Sources and training runs are crossed: every run predicts clips of every source. Over folds, a run predicts only the
sources of its fold, and runs of other folds are other models, so runs are nested in folds. Both are resampled:
sources by the bootstrap, runs through their own variance, since a bootstrap over two to five of them would be too
narrow by (runs - 1) / runs and know nothing of degrees of freedom.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.evaluation.moments import metrics_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Variance:
    """Variance of an estimate; both arrays are (6,), NaN where undefined."""

    value: FloatArray
    spread: FloatArray
    """What Satterthwaite's formula adds up: value ** 2 / degrees of freedom, summed over independent parts."""


def source_variance(drawn: FloatArray, sources: IntArray) -> Variance:
    """Variance over sources, made unbiased for few of them.

    Args:
        drawn: (resamples, 6) bootstrap replicates of an estimate.
        sources: (6,) sources that it rests on.
    """
    undefined = (np.isnan(drawn).mean(axis=0) > 0.05) | (sources < 2)
    value = np.full(6, np.nan)
    value[~undefined] = np.nanvar(drawn[:, ~undefined], axis=0)
    freedom = np.maximum(sources - 1, 1).astype(np.float64)
    value = value * sources / freedom
    return Variance(value, value**2 / freedom)


def run_metrics(sums: Sequence[FloatArray]) -> list[dict[str, FloatArray]]:
    """Metrics of a system in which the runs of one fold are taken one by one, those of the others on average.

    Args:
        sums: Each fold's (K, 5, 12) sums of moments of K runs.

    Returns:
        A fold each: metric name to (K, 6). With one fold, the metrics of the runs themselves.
    """
    total = np.sum([fold.mean(axis=0) for fold in sums], axis=0)
    return [metrics_of(total + fold - fold.mean(axis=0)) for fold in sums]


def run_variance(folds: Sequence[FloatArray], drawn: FloatArray) -> Variance:
    """Variance of a mean over training runs that is not the sources' already.

    The spread of runs holds a part that is run times source: other clips are hard for other runs. The bootstrap over
    sources holds that part too; it is what a single run's bootstrap variance has more than that of their mean, and is
    taken off here.

    Args:
        folds: Each fold's (K, 6) values of one metric, from :func:`run_metrics`.
        drawn: (resamples, K, 6) bootstrap replicates of each run, its folds put together.
    """
    k = len(folds[0])
    parts = np.stack([fold.var(axis=0, ddof=1) / k for fold in folds])
    raw = parts.sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any defined replicate is NaN
        each, mean = np.nanvar(drawn, axis=0).mean(axis=0), np.nanvar(drawn.mean(axis=1), axis=0)
    common = (each - mean) / (k - 1)
    return Variance(np.maximum(raw - np.maximum(common, 0), 0), (parts**2).sum(axis=0) / (k - 1))


def freedom(parts: Sequence[Variance]) -> FloatArray:
    """Degrees of freedom of a sum of variances (Satterthwaite 1946).

    Args:
        parts: At least one.

    Returns:
        (6,); 1 where there is no variance.
    """
    value = np.sum([part.value for part in parts], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = value**2 / np.sum([part.spread for part in parts], axis=0)
    return np.where(value < 1e-24, 1.0, np.maximum(found, 1.0))
