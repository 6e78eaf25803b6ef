"""How a feature set is made: an encoder, what it is given of a clip, and what is kept of what it gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.data.encoding.encoder import KINDS, Choice, Encoder, checked, load_encoder
from apt_lightning.data.encoding.pooling import Pooling, pooled
from apt_lightning.data.media.faces import detector_file, load_detector
from apt_lightning.data.media.material import Material, Sense, Take

TAKE = "apt_lightning.data.media.material:take_clip"
"""What decoding processes call."""
DTYPES = ("float16", "float32")
"""Of stored values."""


class Made(NamedTuple):
    """What is stored of one clip."""

    values: npt.NDArray[Any]
    """(T, L, D); T is 0 if there is nothing."""
    times: npt.NDArray[np.float64]
    """(T,) in s."""
    faults: list[list[str]]
    """Code and detail."""


NOTHING = Made(np.zeros((0, 0, 0), "<f4"), np.zeros(0), [])


@dataclass(frozen=True)
class Recipe:
    """All that the values of a feature set rest on."""

    encoder: Encoder
    take: Take
    pooling: Pooling | None
    """Of dense encoders; None keeps every step."""
    dtype: str
    """Of the values stored."""

    @property
    def specification(self) -> dict[str, Any]:
        """The same as plain data; its digest is the key of the set."""
        return self.encoder.specification() | {
            "take": self.take.specification(),
            "pooling": self.pooling and asdict(self.pooling),
            "dtype": self.dtype,
        }

    def make(self, batch: Sequence[Material]) -> list[Made]:
        """Values, times and faults of clips; those of a clip do not depend on the others."""
        found = []
        for one in map(checked, self.encoder.encode(batch) if batch else []):
            steps = one if self.pooling is None else pooled(one, self.pooling)
            with np.errstate(over="ignore"):
                values = steps.values.astype(self.dtype)
            if np.isfinite(values).all():
                found.append(Made(values, steps.times, []))
            else:
                why = "" if np.isfinite(steps.values).all() else "not in float32 either; "
                found.append(NOTHING._replace(faults=[["not-encoded", f"{why}no finite {self.dtype}"]]))
        return found


def recipe(choice: Choice, take: Take, pooling: Pooling | None, dtype: str) -> Recipe:
    """Load an encoder, and give it what it reads.

    Args:
        choice: Which encoder.
        take: How many pictures, and whether of faces; rate and size are the encoder's own.
        pooling: For a dense encoder.
        dtype: Of the values stored.

    Raises:
        UsageError: If the encoder cannot be loaded or does not fit.
    """
    encoder = load_encoder(choice)
    reads = encoder.reads
    if take.detector is not None:
        if reads.sense != "pictures":
            raise UsageError(f"`--crop face` is for pictures, but {choice.encoder} reads {reads.sense}")
        load_detector(take.detector)  # what is wrong with it is said here, and not of every clip
    taken = Take(reads.sense, reads.rate, reads.side, take.frames, take.fps, take.detector)
    return Recipe(encoder, taken, pooling if reads.dense else None, dtype)


def restored(
    about: dict[str, Any], weights: str | None = None, device: str = "cpu", detector: str | None = None
) -> tuple[Recipe, str]:
    """The recipe of a set that a network was trained on.

    What a checkpoint names as an encoder is loaded, but never a class of ``python:``, which would be any code that can
    be imported here: its name must be in ``weights``.

    Args:
        about: Of :func:`apt_lightning.data.store.sequences.describe`; it may come from a stranger.
        weights: File or folder; where the set was made, if not given. Or ``python:module:Class``, or
            ``python:module:Class:FILE``.
        device: Torch's word for it.
        detector: File of the face detector of a set of faces; where it was then, or is installed, if not given.

    Returns:
        The recipe; and what may change its values a little, empty if nothing does.

    Raises:
        UsageError: If a library or the weights are not there, or these are others than those of the specification.
        CheckpointError: If the description is damaged.
    """
    try:
        name, told, origin = str(about["name"]), about["specification"], about["origin"]
        encoder, place = str(origin["encoder"]), None if origin["weights"] is None else str(origin["weights"])
        pooling = told["pooling"] and Pooling(**told["pooling"])
        counts = {key: told["take"][key] for key in ("frames", "fps") if key in told["take"]}
        take = Take(_one_of(get_args(Sense), told["take"]["sense"]), **counts)
        crop, found_by = told["take"].get("crop"), origin["detector"]
        layers, dtype = tuple(map(int, told.get("layers", ()))), _one_of(DTYPES, told["dtype"])
        kind = _one_of(tuple(KINDS), encoder.partition(":")[0])
        own = told["weights"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint describes a feature set in no form of this program ({error})") from None
    if crop is not None:
        there = found_by if isinstance(found_by, str) and Path(found_by).is_file() else None
        take = replace(take, detector=detector_file(detector or there))
    choice = Choice(*_encoder(name, encoder, place, weights), take.sense, layers, device)
    try:
        made = recipe(choice, take, pooling, dtype)
    except UsageError as error:
        raise UsageError(
            f"the checkpoint reads the feature set {name!r:.40}, of {told.get('encoder', kind)!r:.80}: {error}; give"
            f" `--weights {name:.40}=PATH`"
        ) from error
    found = json.loads(json.dumps(made.specification))
    if found.get("weights") != own:
        raise UsageError(
            f"{weights or place} holds other weights than those that the feature set {name!r:.40} was made by"
            f" (SHA-256 {_first(found.get('weights'))}, not {_first(own)}); give theirs by `--weights {name:.40}=PATH`"
        )
    if found["take"].get("crop") != crop:
        raise UsageError(
            f"{take.detector} is another face detector than the one of the feature set {name!r:.40}; give that one by"
            " `--weights detector=FILE`"
        )
    other = [key for key in sorted({*told, *found} - {"library"}) if told.get(key) != found.get(key)]
    if other:
        raise UsageError(
            f"the encoder of the feature set {name!r:.40} differs from the one trained on in {', '.join(other):.80};"
            " give the same version and files"
        )
    same = told.get("library") == found.get("library")
    return made, "" if same else f"{name} was made by {told.get('library')!s:.60}, here it is {found['library']}"


def _one_of(known: tuple[Any, ...], given: Any) -> Any:
    """The same, if it is known."""
    if given not in known:
        raise ValueError(f"{given!r:.40} is none of {', '.join(known)}")
    return given


def _encoder(name: str, encoder: str, place: str | None, weights: str | None) -> tuple[str, str | None]:
    """``KIND:NAME`` and weights of a choice."""
    if weights is not None and weights.startswith("python:"):
        module, _, rest = weights.removeprefix("python:").partition(":")
        attribute, _, file = rest.partition(":")
        return f"python:{module}:{attribute}", file or place
    if encoder.startswith("python:"):
        raise UsageError(
            f"the checkpoint reads the feature set {name!r:.40}, made by a class {encoder!r:.80}, which is run only if"
            f" you name it: `--weights {name:.40}={encoder:.80}`"
        )
    return encoder, weights or place


def _first(weights: Any) -> str:
    """Beginning of the first digest."""
    values = list(weights.values()) if isinstance(weights, dict) else []
    return str(values[0])[:12] if values else "of none"
