"""Bootstrap over source videos. Clips of one source are not independent, so sources are what is drawn."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RESAMPLES = 2000
"""Default number of bootstrap samples."""
LEVEL = 0.95
"""Default level of intervals."""
_CHUNK = 8_000_000
"""Draw counts held at a time (64 MB), so that memory does not grow with the number of resamples."""
_KEPT = 4_000_000
"""Draw counts that are kept for the next metric of the same clips (32 MB)."""


def cluster_sums(values: FloatArray, sources: Sequence[str]) -> FloatArray:
    """Add up the rows of each source.

    Args:
        values: (N, ...) one row a clip.
        sources: N source ids.

    Returns:
        (C, ...) one row a source, in sorted order of the ids.

    Example:
        >>> cluster_sums(np.array([[1.0], [2.0], [4.0]]), ["a", "b", "a"])
        array([[5.],
               [2.]])
    """
    names, codes = np.unique(np.asarray(sources), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, codes.ravel(), values)
    return sums


def bootstrap_sums(sums: FloatArray, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray:
    """Draw as many sources as there are, with replacement, and add up their rows; many times.

    Every statistic that is a function of sums (means, ratios, correlations) follows from the result. The same
    seed and number of sources draw the same sources, so that two calls are paired.

    Args:
        sums: (C, ...) one row a source, from :func:`cluster_sums`.
        resamples: How many bootstrap samples.
        seed: Seed of the draws.

    Returns:
        (resamples, ...) sums.
    """
    flat = sums.reshape(len(sums), -1)
    totals = [counts @ flat for counts in _draws(len(sums), resamples, seed)]
    return np.concatenate(totals).reshape(resamples, *sums.shape[1:])


def _draws(clusters: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    if clusters * resamples <= _KEPT:
        yield _few_draws(clusters, resamples, seed)
    else:
        yield from _all_draws(clusters, resamples, seed)


@lru_cache(maxsize=3)
def _few_draws(clusters: int, resamples: int, seed: int) -> FloatArray:
    """All draws at once, kept: every table of a page draws the same for all, seen and unseen sources."""
    drawn = np.concatenate(list(_all_draws(clusters, resamples, seed)))
    drawn.flags.writeable = False
    return drawn


def _all_draws(clusters: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, clusters))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(clusters, size=(rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def percentile_interval(samples: FloatArray, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Ends of the percentile interval over the first axis.

    Args:
        samples: (resamples, ...) bootstrap replicates of a metric; NaN where a sample left it undefined.
        level: Nominal coverage.

    Returns:
        Lower and upper ends, both (...); NaN where more than one replicate in twenty is undefined.
    """
    kept = np.isnan(samples).mean(axis=0) <= 0.05
    ends = np.full((2, *samples.shape[1:]), np.nan)
    ends[:, kept] = np.nanquantile(samples[:, kept], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends[0], ends[1]
