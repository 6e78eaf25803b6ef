"""Clips that are nearly the same in two splits: a file coded anew, pictures or sound used twice, repeated words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from apt_lightning.data.store.content import Content

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Pairs = set[tuple[int, int]]

NEAR = {"functionals": 0.3, "frames": 0.1, "vector": 0.1}
"""Kind of features to the distance below which two clips are nearly the same: root mean square over features, each
in its standard deviations. On 240 synthetic clips, frames coded anew lie at .03 to .06 and siblings at .19 or more;
functionals of sound coded anew at 48 kbit/s mostly at .16 to .34, siblings at .37 or more."""
NEAR_BITS = 0.05
"""Share of the bits of the frames' hashes that may differ; coded anew at most .045 there, siblings .20 on average."""
NEAR_WORDS = 0.8
"""Cosine of two transcripts' sets of three-word runs; 6000 synthetic ones of 15 s share at most .45 by chance."""
MIN_WORDS = 12
"""A shorter transcript may be near another by chance."""
NEIGHBOURS = 5
"""Nearest clips that are looked at, so that a set of equal clips costs no more than another."""


def near_copies(content: Content) -> dict[str, Pairs]:
    """Find clips whose features are nearly the same, modality by modality, words left out.

    Args:
        content: Plain features and hashes of the N clips.

    Returns:
        Modality to pairs of rows; modalities without such a pair are left out.
    """
    found = {}
    for modality, values in content.features.items():
        if content.kinds[modality] == "tokens":
            continue
        pairs = near_pairs(values, NEAR.get(content.kinds[modality], NEAR["vector"]))
        if modality in content.hashes:
            bits = content.hashes[modality]
            pairs = {(i, j) for i, j in pairs if (bits[i] != bits[j]).mean() <= NEAR_BITS}
        if pairs:
            found[modality] = pairs
    return found


def near_pairs(values: FloatArray, distance: float) -> Pairs:
    """Pairs of rows within a root mean square distance, columns in standard deviations.

    Args:
        values: (N, D); rows of NaN are in no pair, constant columns do not count.
        distance: Greatest distance.

    Returns:
        Pairs (i, j), i < j; of more than :data:`NEIGHBOURS` near rows the nearest. None if no column varies.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    if len(rows) < 2:
        return set()
    spread = values[rows].std(axis=0)
    used = spread > 1e-9 * np.abs(values[rows]).max(axis=0)  # rounding is no variation
    if not used.any():
        return set()
    x = (values[np.ix_(rows, used)] - values[np.ix_(rows, used)].mean(axis=0)) / spread[used] / np.sqrt(used.sum())
    model = NearestNeighbors(n_neighbors=min(len(rows), NEIGHBOURS + 1), algorithm="brute").fit(x)
    distances, numbers = model.kneighbors(x)
    return _pairs(distances, numbers, rows, distance)


def near_transcripts(transcripts: Sequence[str | None]) -> Pairs:
    """Pairs of clips whose transcripts share most of their runs of three words.

    Args:
        transcripts: Of the N clips; those shorter than :data:`MIN_WORDS` words are in no pair.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.neighbors import NearestNeighbors

    rows = np.array([i for i, text in enumerate(transcripts) if len((text or "").split()) >= MIN_WORDS], dtype=int)
    texts = [str(transcripts[i]) for i in rows]
    runs = CountVectorizer(ngram_range=(3, 3), binary=True, token_pattern=r"[^\W_]+(?:'[^\W_]+)?")
    try:
        x = runs.fit_transform(texts).astype(np.float32)
    except ValueError:  # no run of three words in any of them
        return set()
    some = np.flatnonzero(x.getnnz(axis=1))
    rows, x = rows[some], x[some]
    if len(rows) < 2:
        return set()
    model = NearestNeighbors(n_neighbors=min(len(rows), NEIGHBOURS + 1), metric="cosine", algorithm="brute").fit(x)
    distances, numbers = model.kneighbors(x)
    return _pairs(distances, numbers, rows, 1 - NEAR_WORDS)


def crossing(pairs: Pairs, splits: Sequence[str]) -> Pairs:
    """Those pairs whose clips are in two splits."""
    return {(i, j) for i, j in pairs if splits[i] != splits[j]}


def in_several(found: Mapping[str, Pairs]) -> Pairs:
    """Those pairs that two or more modalities name."""
    every = [pair for pairs in found.values() for pair in pairs]
    return {pair for pair in set(every) if every.count(pair) > 1}


def _pairs(distances: FloatArray, numbers: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], limit: float) -> Pairs:
    near = np.argwhere(distances <= limit + 1e-6)
    found = ((int(rows[i]), int(rows[numbers[i, k]])) for i, k in near)
    return {(min(pair), max(pair)) for pair in found if pair[0] != pair[1]}
