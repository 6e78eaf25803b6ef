"""From one media file to what is stored of it: 88 functionals, six pictures, and every fault by its name."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Disposition
from PIL import Image

from apt_lightning.common.errors import ClipError, UsageError
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.audio import SoundTrack, audio_faults, compute_functionals
from apt_lightning.data.media.video import Picture, PictureTrack, open_media, picture_faults, read_pictures

Found = list[tuple[str, str]]
"""Codes of faults with what was measured."""

ASPECT = 16 / 9
"""Ratio of width to height of the data set's clips, which the paper's 248 x 140 keeps."""

SHORT_OF_END = 0.5
"""Seconds that a file may end before its announced end without being called cut short."""

_LOSSES = {"no-audio", "short-audio", "silent-audio", "invalid-audio", "no-video", "black-picture"}
_SIGNATURES = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"FLV",
    b"OggS",
    b"\x30\x26\xb2\x75",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


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


def extract_clip(
    path: str | os.PathLike[str],
    name: str,
    settings: ExtractionSettings = ExtractionSettings(),
    functionals: bool = True,
) -> Extraction:
    """Read one media file from a stranger.

    Args:
        path: The file.
        name: Name of the clip, for its faults.
        settings: What to take.
        functionals: Whether to run openSMILE; the sound is decoded and checked in any case.

    Returns:
        What can be used of the clip, with the reason for what cannot.

    Raises:
        ClipError: If nothing of the clip can be used; its ``code`` says why.
    """
    try:
        return _extract(os.fspath(path), name, settings, functionals)
    except ClipError:
        raise
    except MemoryError:
        raise ClipError("out-of-memory", f"{name}: decoding needs more memory than it is allowed") from None
    except Exception as error:
        # Decoders meet hostile bytes here: whatever they raise costs one clip.
        raise ClipError("decoder-crash", f"{name}: {type(error).__name__}: {error}") from error


def _extract(path: str, name: str, settings: ExtractionSettings, functionals: bool) -> Extraction:
    sha256 = _digest(path, name)
    with _open(path, name) as container:
        video, sound = _demux(container, settings.sample_rate)
        if video is None and sound is None:
            raise ClipError("not-a-video", f"{name}: has neither a video nor an audio stream")
        samples, clipped = (np.zeros(0, np.float32), 0.0) if sound is None else sound.mono()
        heard = [("no-audio", "no audio stream")] if sound is None else audio_faults(samples, sound.rate, clipped)
        row = None
        with ThreadPoolExecutor(1) as pool:
            if functionals and not _useless(heard):
                # openSMILE releases the interpreter's lock, so that a second core, if idle, works on the pictures.
                row = pool.submit(compute_functionals, samples, settings.sample_rate, settings.feature_set)
            frames, times, seen = _pictures(path, container, video, settings)
        values = None if row is None else row.result()
        if values is not None and not np.isfinite(values).all():
            values, heard = None, [("invalid-audio", "openSMILE finds no numbers in it")]
        if not frames and _useless(heard):
            reasons = "; ".join(f"{code} ({detail})" for code, detail in seen + heard)
            raise ClipError("nothing-usable", f"{name}: {reasons}")
        durations = (0.0 if video is None else video.duration, len(samples) / settings.sample_rate)
        tracks = [track for track in (video, sound) if track is not None]
        faults = _file_faults(container, tracks, max(durations)) + seen + heard
    return Extraction(
        functionals=values,
        frames=frames,
        times=times,
        duration=durations[0] or durations[1],
        faults=[Fault(code, name, detail) for code, detail in faults],
        sha256=sha256,
    )


def _digest(path: str, name: str) -> str:
    """SHA-256 of a regular file that is not empty."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ClipError("unreadable-file", f"{name}: {path} is no regular file")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ClipError("zero-length", f"{name}: 0 bytes")
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ClipError("missing-file", f"{name}: no file at {path}") from None
    except OSError as error:
        raise ClipError("unreadable-file", f"{name}: {error.strerror}") from None


def _open(path: str, name: str) -> InputContainer:
    try:
        return open_media(path)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        with open(path, "rb") as file:
            head = file.read(12)
        code = "truncated" if head.startswith(_SIGNATURES) or head[4:8] in _BOXES else "not-a-video"
        detail = error.strerror if isinstance(error, av.FFmpegError) else error
        raise ClipError(code, f"{name}: {detail}") from None


def _demux(container: InputContainer, rate: int) -> tuple[PictureTrack | None, SoundTrack | None]:
    """Read all packets once; the sound is decoded on the way, the pictures only noted."""
    # A cover picture is no film; what has no decoder cannot be used.
    film = [
        one for one in container.streams.video if not one.disposition & Disposition.attached_pic and one.codec_context
    ]
    best, heard = container.streams.best("video"), container.streams.best("audio")
    video = PictureTrack(next((stream for stream in film if stream is best), film[0])) if film else None
    sound = SoundTrack(heard, rate) if isinstance(heard, av.AudioStream) and heard.codec_context else None
    tracks: dict[int, Any] = {track.stream.index: track for track in (video, sound) if track is not None}
    try:
        for packet in container.demux([track.stream for track in tracks.values()]) if tracks else ():
            tracks[packet.stream.index].add(packet)
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        # What cannot be read any more is missing from the duration, and found by that.
    return video, sound


def _pictures(
    path: str, container: InputContainer, video: PictureTrack | None, settings: ExtractionSettings
) -> tuple[list[bytes], list[float], Found]:
    """JPEG pictures, their times, and what is wrong with them."""
    if video is None or not video.shown:
        return [], [], [("no-video", "no video stream" if video is None else "the video stream holds no picture")]
    moments = video.moments(settings.n_frames)
    decoded = read_pictures(path, video, moments, settings.frame_size, settings.decoder)
    moments = [moment for moment in moments if moment.time in decoded]
    if not moments:
        return [], [], [("no-video", "no picture can be decoded")]
    found = picture_faults([decoded[time] for time in dict.fromkeys(moment.time for moment in moments)])
    if len(moments) < settings.n_frames:
        found.append(("few-frames", f"{len(moments)} of {settings.n_frames}"))
    if video.turned:
        found.append(("rotated", ""))
    if video.variable_rate:
        slowest, fastest = (video.seconds(pick(video.intervals)) for pick in (max, min))
        found.append(("variable-rate", f"{1000 * fastest:.0f} to {1000 * slowest:.0f} ms between pictures"))
    number = len(container.streams.video)
    if number > 1:
        found.append(("several-video-streams", f"number {video.stream.index} of {number} used"))
    ratio = video.aspect
    if ratio is not None and abs(ratio / ASPECT - 1) > 0.05:
        found.append(("wrong-aspect", f"{ratio:.2f} to 1"))
    if _useless(found):
        return [], [], found
    return (
        [_jpeg(decoded[moment.time], settings.jpeg_quality) for moment in moments],
        [m.seconds for m in moments],
        found,
    )


def _jpeg(picture: Picture, quality: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality)
    return data.getvalue()


def _file_faults(container: InputContainer, tracks: list[PictureTrack | SoundTrack], found: float) -> Found:
    """What is wrong with the file as a whole, given how many seconds were found in it."""
    faults = []
    streams = [track.stream for track in tracks]
    # Matroska tells the length of the file only, which may hold longer streams of no interest.
    whole = (container.duration or 0) / av.time_base
    announced = max((float(s.duration * s.time_base) for s in streams if s.duration and s.time_base), default=whole)
    if found < announced - SHORT_OF_END:
        faults.append(("cut-short", f"{found:.1f} of {announced:.1f} s"))
    if any(track.damaged for track in tracks):
        faults.append(("damaged", ""))
    return faults


def _useless(found: Found) -> bool:
    return any(code in _LOSSES for code, _ in found)
