"""What in a clip moves its scores: the seconds of its sound, its frames, its words.

The parts of a modality are added one after another, in several orders, until it is whole; the share of a part is the
mean of what adding it changed (Shapley's value, sampled as by `Strumbelj and Kononenko, 2014
<https://doi.org/10.1007/s10115-013-0679-x>`__, each order also backwards). So the shares of a modality's parts add up
to what the score loses without that modality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from apt_lightning.common.traits import by_trait
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.media.parts import orders
from apt_lightning.networks import FrameEncoder, TokenEncoder, VectorEncoder

FloatArray = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]

MOST_WORDS = 160
"""Words that are parts of their own; the model reads the first 80 tokens."""
PAIRS = 4
"""Orders of frames and words, each also backwards."""


class Parts(NamedTuple):
    """A modality of a clip in parts."""

    what: list[dict[str, Any]]
    """Each part: ``from`` and ``to`` in seconds, ``at`` second, or ``word``."""
    orders: npt.NDArray[np.int64]
    """(O, P) orders in which they are added."""
    keep: Callable[[Kept], tuple[Extraction, str | None]]
    """The clip with some of them."""


def explain(
    clip: Extraction,
    transcript: str | None,
    encoders: Mapping[str, nn.Module],
    score: Callable[[str, Tensor | None], FloatArray],
    encode: Callable[[str, Extraction, str | None], Tensor | None],
) -> dict[str, Any]:
    """Share what each modality does among its parts.

    Args:
        clip: With its sound in parts.
        transcript: What is said in it.
        encoders: Of the modalities that the clip has; those that read feature sets have no parts.
        score: (5,) scores with another feature of a modality, or without it.
        encode: Feature of a modality of a clip; None if there is nothing of it.

    Returns:
        By modality: ``parts`` with what each is and its ``effects`` by trait, and ``sum``, what the score loses
        without the modality.
    """
    told: dict[str, Any] = {}
    for name, encoder in encoders.items():
        if type(encoder) not in PARTS:
            continue
        parts = PARTS[type(encoder)](clip, transcript)

        def value(kept: Kept, name: str = name, parts: Parts = parts) -> FloatArray:
            return score(name, encode(name, *parts.keep(kept)) if kept.any() else None)

        effects = shares(value, parts.orders)
        told[name] = {
            "parts": [what | {"effects": by_trait(effect)} for what, effect in zip(parts.what, effects, strict=True)],
            "sum": by_trait(effects.sum(axis=0)),
        }
    return told


def shares(value: Callable[[Kept], FloatArray], orders: npt.NDArray[np.int64]) -> FloatArray:
    """Mean change by each of P parts over the orders in which they are added.

    Args:
        value: (5,) scores with some of the parts.
        orders: (O, P).

    Returns:
        (P, 5), whose sum over the parts is the score with all less that with none.

    Example:
        >>> both = np.array([[0, 1, 2], [2, 1, 0]])
        >>> shares(lambda kept: np.full(5, 0.1 * kept[0] + 0.2 * (kept[1] and kept[2])), both)[:, 0].round(3).tolist()
        [0.1, 0.1, 0.1]
    """
    known: dict[bytes, FloatArray] = {}
    changes = np.zeros((orders.shape[1], 5))
    for order in orders:
        kept = np.zeros(len(order), bool)
        before = known.setdefault(kept.tobytes(), value(kept))
        for part in order:
            kept[part] = True
            key = kept.tobytes()
            if key not in known:
                known[key] = value(kept)
            changes[part] += known[key] - before
            before = known[key]
    return changes / len(orders)


def _seconds(clip: Extraction, transcript: str | None) -> Parts:
    sound = clip.parts
    assert sound is not None
    starts = [0.0, *sound.ends[:-1]]
    what = [{"from": round(a, 2), "to": round(b, 2)} for a, b in zip(starts, sound.ends, strict=True)]

    def keep(kept: Kept) -> tuple[Extraction, str | None]:
        values = clip.functionals if kept.all() else sound.functionals[(sound.kept == kept).all(axis=1)][0]
        assert values is not None
        return replace(clip, functionals=values if np.isfinite(values).all() else None), transcript

    return Parts(what, sound.orders, keep)


def _frames(clip: Extraction, transcript: str | None) -> Parts:
    def keep(kept: Kept) -> tuple[Extraction, str | None]:
        return replace(clip, frames=[frame for frame, k in zip(clip.frames, kept, strict=True) if k]), transcript

    return Parts([{"at": round(time, 2)} for time in clip.times], orders(len(clip.frames), PAIRS), keep)


def _words(clip: Extraction, transcript: str | None) -> Parts:
    words = (transcript or "").split()
    parts = words[:MOST_WORDS]

    def keep(kept: Kept) -> tuple[Extraction, str | None]:
        some = [word for word, k in zip(parts, kept, strict=True) if k]
        return clip, " ".join([*some, *words[MOST_WORDS:]])

    return Parts([{"word": word} for word in parts], orders(len(parts), PAIRS), keep)


PARTS: dict[type[nn.Module], Callable[[Extraction, str | None], Parts]] = {
    VectorEncoder: _seconds,
    FrameEncoder: _frames,
    TokenEncoder: _words,
}
"""Encoder to the parts of what it reads."""
