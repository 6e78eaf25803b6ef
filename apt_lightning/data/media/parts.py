"""A clip in time: the windows of a long one, and what its sound is if only some of its seconds are heard."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.data.media.audio import Samples, compute_functionals

MOST_PARTS = 20
"""Parts of the sound, of a second each if there are no more."""
PAIRS = 1
"""Orders of the parts, each also backwards; openSMILE runs once a part and order, on half of the sound in the mean."""
COLUMNS = 400
"""Columns of the drawn wave."""


class SoundParts(NamedTuple):
    """What the functionals are of some parts of the sound."""

    ends: list[float]
    """(P,) second at which each part ends; the first begins at 0."""
    orders: npt.NDArray[np.int64]
    """(O, P) orders in which parts are added to silence, see :func:`orders`."""
    kept: npt.NDArray[np.bool_]
    """(S, P) parts that are heard: the beginnings of each order."""
    functionals: npt.NDArray[np.float32]
    """(S, 88) functionals of them, one after the other; NaN where openSMILE finds none."""
    wave: npt.NDArray[np.float32]
    """(W,) loudest sample of each of at most :data:`COLUMNS` equal pieces."""


def spans(seconds: float, every: float | None) -> list[tuple[float, float]]:
    """Cut a clip into windows; a rest of less than half a window belongs to the last.

    Args:
        seconds: Length of the clip.
        every: Length of a window; none if not given.

    Example:
        >>> spans(37, 15), spans(38, 15), spans(4, 15), spans(4, None)
        ([(0.0, 15.0), (15.0, 37.0)], [(0.0, 15.0), (15.0, 30.0), (30.0, 38.0)], [(0.0, 4.0)], [])
    """
    if every is None:
        return []
    edges = [float(every * i) for i in range(max(1, int(seconds / every + 0.5)))]
    return list(zip(edges, [*edges[1:], float(seconds)], strict=True))


def orders(n: int, pairs: int) -> npt.NDArray[np.int64]:
    """Orders of ``n`` parts, drawn with a fixed seed, each also backwards, which takes half of the chance out.

    Returns:
        (2 * pairs, n); a single one if there is only one part.

    Example:
        >>> orders(4, 1).tolist()
        [[2, 0, 1, 3], [3, 1, 0, 2]]
    """
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(n) for _ in range(pairs if n > 1 else 1)]
    return np.array([order for one in drawn for order in (one, one[::-1])][: 2 * pairs if n > 1 else 1])


def sound_parts(samples: Samples, rate: int, feature_set: str) -> SoundParts:
    """Describe some parts of a sound.

    Args:
        samples: (T,) mono samples that openSMILE can describe.
        rate: Samples a second.
        feature_set: openSMILE feature set.
    """
    pieces = np.array_split(samples, int(np.clip(round(len(samples) / rate), 1, MOST_PARTS)))
    chosen = orders(len(pieces), PAIRS)
    heard = {tuple(sorted(order[:size])) for order in chosen.tolist() for size in range(1, len(pieces))}
    kept = np.array([[i in some for i in range(len(pieces))] for some in sorted(heard)], bool).reshape(-1, len(pieces))
    found = [
        compute_functionals(np.concatenate([pieces[i] for i in some]), rate, feature_set) for some in sorted(heard)
    ]
    columns = np.array_split(np.abs(samples), min(COLUMNS, len(samples)))
    return SoundParts(
        (np.cumsum([len(piece) for piece in pieces]) / rate).tolist(),
        chosen,
        kept,
        np.array(found, np.float32).reshape(len(kept), -1),
        np.array([column.max() for column in columns], np.float32),
    )
