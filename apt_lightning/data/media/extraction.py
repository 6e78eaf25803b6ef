"""What is taken from a clip, how it is asked for, and which faults cost the sound or the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.parts import SoundParts

Found = list[tuple[str, str]]
"""Codes of faults with what was measured."""

SPEECH_RATE = 16_000
"""Samples a second that speech is recognised from."""

_LOSSES = {"no-audio", "short-audio", "silent-audio", "invalid-audio", "no-video", "black-picture", "no-face"}


@dataclass(frozen=True)
class ExtractionSettings:
    """What is taken from a clip; part of the key under which a store keeps it."""

    sample_rate: int = 44100
    """Samples a second at which openSMILE works; its values depend on it."""
    feature_set: str = "eGeMAPSv02"
    """openSMILE feature set."""
    n_frames: int = 6
    """Pictures a clip (paper section 3)."""
    frame_size: tuple[int, int] = (140, 248)
    """Height and width of the pictures (paper section 3)."""
    jpeg_quality: int = 95
    """Quality of the stored pictures, of 100."""
    decoder: Literal["pyav", "decord"] = "pyav"
    """Reader of pictures; ``decord`` is used only where it is exact."""

    def __post_init__(self) -> None:
        if self.decoder == "decord" and find_spec("decord") is None:
            raise UsageError("decord is not installed; it has wheels for Linux on x86-64 only: leave out `--decoder`")


@dataclass
class Extraction:
    """What was taken from one clip."""

    functionals: npt.NDArray[np.float32] | None
    """(88,) functionals of the sound; ``None`` without usable sound, or if they were not asked for."""
    frames: list[bytes]
    """JPEG pictures, in time order; fewer than asked for, or none, if the clip has no more."""
    times: list[float]
    """Second of the clip at which each picture is shown."""
    duration: float
    """Seconds the picture is shown, or the sound heard if there is no picture."""
    faults: list[Fault]
    """Everything found; see :data:`apt_lightning.data.faults.FAULTS`."""
    sha256: str
    """Digest of the file, hexadecimal."""
    start: float = 0.0
    """Second of the file at which it begins."""
    windows: list[Extraction] = field(default_factory=list)
    """The same of each window, where asked for."""
    parts: SoundParts | None = None
    """What its sound is if only some of its seconds are heard, where asked for."""
    speech: npt.NDArray[np.float32] | None = None
    """(T,) samples at :data:`SPEECH_RATE`, if only they were asked for."""


def useless(found: Found) -> bool:
    """Whether the picture, or the sound, of which this was found is not used."""
    return any(code in _LOSSES for code, _ in found)
