"""People who appear under several source ids: clips of two sources that are alike in picture and in sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MIN_SIBLINGS = 60
"""With fewer clips beyond the first of their source, nobody knows how alike the clips of one person are."""
SIBLING_SHARE = 0.9
"""Two clips are alike if they lie nearer than this share of the clips lie to their nearest sibling."""


def same_people(features: Mapping[str, FloatArray], sources: Sequence[str]) -> list[tuple[str, str, int]] | None:
    """Name pairs of sources that may be one person.

    In each modality, distances are counted in units of what varies within a source (features whitened by the
    shrunk covariance within sources), so that what a person keeps weighs most. A clip testifies for two sources if
    its nearest clip of another source is, in two modalities or more, of the same other source, and no further
    away than siblings are from each other. Names of sources decide nothing.

    Args:
        features: Modality to (N, D), rows of NaN where missing; words do not tell who speaks, leave them out.
        sources: N source ids.

    Returns:
        Pairs of sources and the number of clips that testify for them, most first; None if fewer than two
        modalities have :data:`MIN_SIBLINGS` to compare with.
    """
    names = np.asarray(sources)
    found = [_nearest_other(values, names) for values in features.values()]
    named = [sources_of for sources_of in found if sources_of is not None]
    if len(named) < 2:
        return None
    pairs: Counter[tuple[str, str]] = Counter()
    for own, others in zip(sources, zip(*named, strict=True), strict=True):
        for other, times in Counter(name for name in others if name).items():
            if times > 1:
                pairs[(min(own, other), max(own, other))] += 1
    return [(a, b, n) for (a, b), n in pairs.most_common()]


def _nearest_other(values: FloatArray, names: npt.NDArray[np.str_]) -> list[str] | None:
    """Source of each clip's nearest clip of another source, empty where none is as near as siblings are."""
    from sklearn.neighbors import NearestNeighbors

    there = np.flatnonzero(~np.isnan(values).all(axis=1))
    own, codes, sizes = np.unique(names[there], return_inverse=True, return_counts=True)
    if len(own) < 2 or len(there) - len(own) < MIN_SIBLINGS:
        return None
    x = _whitened(values[there], codes, sizes)
    if x is None:
        return None
    # Far enough to meet a clip of another source whatever the size of its own, and a sibling if it is near.
    wanted = min(len(there), int(sizes.max()) + 1)
    distances, rows = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(x).kneighbors(x)
    other = codes[rows] != codes[:, None]
    limit = _sibling_distance(x, codes, sizes)
    first = np.where(other, distances, np.inf).argmin(axis=1)
    reached = np.arange(len(there)), first
    near = other[reached] & (distances[reached] <= limit)
    answer = np.full(len(names), "", dtype=names.dtype)
    answer[there[near]] = own[codes[rows[reached]]][near]
    return [str(name) for name in answer]


def _whitened(x: FloatArray, codes: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> FloatArray | None:
    """Features in which the clips of a source vary by 1 in every direction; None if nothing varies."""
    from sklearn.covariance import ledoit_wolf
    from sklearn.impute import SimpleImputer

    x = SimpleImputer(keep_empty_features=True).fit_transform(x)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    means = np.zeros((len(sizes), x.shape[1]))
    np.add.at(means, codes, x)
    within = x - (means / sizes[:, None])[codes]
    if not within.any():
        return None
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    return np.asarray(np.linalg.solve(np.linalg.cholesky(covariance), x.T).T)


def _sibling_distance(x: FloatArray, codes: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> float:
    """Distance within which :data:`SIBLING_SHARE` of the clips that have a sibling have one."""
    from sklearn.metrics import pairwise_distances

    nearest: list[float] = []
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.cumsum(sizes)[:-1]):
        if len(rows) > 1:
            apart = pairwise_distances(x[rows])
            np.fill_diagonal(apart, np.inf)
            nearest += apart.min(axis=1).tolist()
    return float(np.quantile(nearest, SIBLING_SHARE))
