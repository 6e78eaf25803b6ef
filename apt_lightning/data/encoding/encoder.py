"""One way in for every pretrained encoder: what it is, what it reads, and what it makes of a batch of clips."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.media.material import Material, Reads, Sense


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of one clip."""

    values: npt.NDArray[np.float32]
    """(T, L, D): T steps, L layers kept, D numbers."""
    times: npt.NDArray[np.float64]
    """(T,) middle of each step in s; NaN for words."""


@dataclass(frozen=True)
class Choice:
    """Which encoder, and what of it."""

    encoder: str
    """``KIND:NAME``; see :data:`KINDS`."""
    weights: str | None = None
    """File or folder; NAME itself, or a local cache, if not given."""
    sense: Sense = "sound"
    """What it shall read."""
    layers: tuple[int, ...] = ()
    """Hidden states to keep, 0 the embedding, -1 the last; the model's own output if empty."""
    device: str = "cpu"
    """Torch's word for the device."""
    allow_download: bool = False
    """Whether weights that are not here may be fetched from the hub."""


class Encoder(Protocol):
    """A frozen encoder."""

    reads: Reads
    """What it reads."""

    def specification(self) -> dict[str, Any]:
        """Library, version, architecture, SHA-256 of every file of weights, preprocessing: all that values rest on."""
        ...

    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode clips; the values of a clip do not depend on the others of its batch."""
        ...


KINDS = {
    "torchvision": "apt_lightning.data.encoding.pictures:torchvision_encoder",
    "timm": "apt_lightning.data.encoding.pictures:timm_encoder",
    "transformers": "apt_lightning.data.encoding.hugging_face:transformers_encoder",
    "onnx": "apt_lightning.data.encoding.onnx_file:OnnxEncoder",
    "python": "apt_lightning.data.encoding.own_class:python_encoder",
}
"""Kind -> what makes an encoder of a name and a :class:`Choice`."""


def load_encoder(choice: Choice) -> Encoder:
    """Load an encoder; nothing is downloaded unless the choice allows it, and no code of a model folder is run.

    Raises:
        UsageError: If the kind, its library, the weights or the architecture are not there; the message says what to
            install or where to put it.
    """
    kind, _, name = choice.encoder.partition(":")
    if kind not in KINDS or not name:
        raise UsageError(
            f"expected `--encoder` as KIND:NAME with KIND of {', '.join(KINDS)}, but got {choice.encoder!r}"
        )
    module, function = KINDS[kind].split(":")
    try:
        encoder: Encoder = getattr(importlib.import_module(module), function)(name, choice)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("apt_lightning"):
            raise
        raise UsageError(f"{kind}: encoders need {error.name}: `pip install 'apt-lightning[encoders]'`") from None
    if encoder.reads.sense != choice.sense:
        raise UsageError(
            f"{choice.encoder} reads {encoder.reads.sense}, but the modality is of {choice.sense}; give another "
            "MODALITY or encoder"
        )
    return encoder


def checked(encoded: Encoded) -> Encoded:
    """The same, if it is what the protocol says.

    Raises:
        UsageError: If they are no numbers, or the shape is another.
    """
    try:
        values, times = np.asarray(encoded.values, np.float32), np.asarray(encoded.times, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"expected arrays of numbers of an encoder ({error}); docs/encoders.md has the form"
        ) from error
    if values.ndim != 3 or not values.size or times.shape != values.shape[:1]:
        raise UsageError(
            f"expected values (T, L, D) and times (T,) of an encoder, but got {values.shape}, {times.shape};"
            " docs/encoders.md has the form"
        )
    return Encoded(values, times)
