"""What an encoder reads of one clip: sound at a rate, pictures in their proportions, or words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import ClipError
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.audio import Samples, audio_faults
from apt_lightning.data.media.container import check_file
from apt_lightning.data.media.decode import picture_faults, read_pictures
from apt_lightning.data.media.extraction import Extraction, Found, useless
from apt_lightning.data.media.faces import CUT_FROM, cut_faces, face_settings, load_detector
from apt_lightning.data.media.packets import demux, missing, opened
from apt_lightning.data.media.video import PictureTrack

Pictures = npt.NDArray[np.uint8]
Sense = Literal["sound", "pictures", "words"]


@dataclass(frozen=True)
class Reads:
    """What an encoder reads, in its own units."""

    sense: Sense
    """Kind of material."""
    rate: int = 16000
    """Samples a second of the sound."""
    side: int = 224
    """Pixels of the shorter side of the pictures."""
    dense: bool = True
    """Whether it gives many steps a clip (a sound model's 50 a second, one a token), to be pooled."""


@dataclass(frozen=True)
class Material:
    """What is read of one clip; the fields of the other senses are empty."""

    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    """(S,) mono samples in [-1, 1]."""
    pictures: Pictures = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))
    """(F, H, W, 3) RGB."""
    times: list[float] = field(default_factory=list)
    """Second at which each picture is shown."""
    words: str = ""
    """Transcript."""


@dataclass(frozen=True)
class Take:
    """What to take of a clip; the settings of :func:`take_clip`."""

    sense: Sense
    rate: int = 16000
    side: int = 224
    frames: int = 16
    """Pictures, in the middle of as many equal parts of the clip."""
    fps: float | None = None
    """Pictures a second, in place of ``frames``."""
    detector: str | None = None
    """File of a face detector, to take faces in place of whole pictures."""

    def specification(self) -> dict[str, Any]:
        """What the values rest on, of a set that is made of this."""
        counts = {"sound": ("rate",), "pictures": ("side", "frames", "fps"), "words": ()}[self.sense]
        told = {"sense": self.sense} | {name: getattr(self, name) for name in counts}
        return told if self.detector is None else told | {"crop": face_settings(self.detector)}


SETTINGS = Take
"""What a decoding process makes of the settings it is sent."""


@dataclass(kw_only=True)
class Taken(Extraction):
    """What was decoded for an encoder; no functionals, no JPEGs."""

    samples: Samples
    """(S,), empty unless sound was asked for."""
    pictures: Pictures
    """(F, H, W, 3), empty unless pictures were asked for."""

    @property
    def material(self) -> Material:
        """What an encoder reads of it."""
        return Material(self.samples, self.pictures, self.times)


def take_clip(
    path: str | os.PathLike[str],
    name: str,
    take: Take,
    functionals: bool = True,
    span: tuple[float, float] | None = None,
) -> Taken:
    """Decode what an encoder reads of a stranger's file.

    Args:
        path: The file.
        name: Name of the clip, for its faults.
        take: What to take.
        functionals: Of no effect; part of what a decoding process asks.
        span: Seconds between which to take; the whole clip if not given.

    Raises:
        ClipError: If the clip has nothing of the kind; its ``code`` says why.
    """
    path = os.fspath(path)
    samples, pictures = np.zeros(0, np.float32), np.zeros((0, 1, 1, 3), np.uint8)
    times: list[float] = []
    with opened(path, name, check_file(path, name)) as container:
        video, sound, _ = demux(container, name, take.rate if take.sense == "sound" else None)
        if take.sense == "sound":
            found = missing(container, "audio")
            if sound is not None:
                samples, clipped = sound.mono()
                if span is not None:
                    samples = samples[round(span[0] * take.rate) : round(span[1] * take.rate)]
                found = audio_faults(samples, take.rate, clipped)
        elif video is None:
            found = missing(container, "video")
        else:
            pictures, times, found = _pictures(path, video, take, span)
    if useless(found):
        code, detail = found[0]
        raise ClipError(code, f"{name}: {detail}")
    faults = [Fault(code, name, detail) for code, detail in found]
    return Taken(None, [], times, len(samples) / take.rate, faults, "", samples=samples, pictures=pictures)


def _pictures(
    path: str, video: PictureTrack, take: Take, span: tuple[float, float] | None
) -> tuple[Pictures, list[float], Found]:
    none = np.zeros((0, 1, 1, 3), np.uint8)
    if not video.shown:
        return none, [], [("no-video", "the video stream holds no picture")]
    start, end = span or (0.0, video.duration)
    n = take.frames if take.fps is None else max(1, round((end - start) * take.fps))
    moments = video.moments(n, span)
    own = min(video.stream.width, video.stream.height)
    decoded = read_pictures(path, video, moments, take.side if take.detector is None else min(own, CUT_FROM), "pyav")
    kept = [moment for moment in moments if moment.time in decoded]
    if not kept:
        return none, [], [("no-video", "no picture can be decoded")]
    pictures = [decoded[moment.time] for moment in kept]
    found = picture_faults(pictures)
    if take.detector is not None and not useless(found):
        faces, seen = cut_faces(pictures, load_detector(take.detector), take.side)
        kept, pictures, found = [kept[i] for i in faces], list(faces.values()), seen + found
    if useless(found):
        return none, [], found
    if len(kept) < n:
        found.append(("few-frames", f"{len(kept)} of {n}"))
    return np.stack(pictures), [moment.seconds for moment in kept], found
