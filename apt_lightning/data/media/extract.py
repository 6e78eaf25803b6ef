"""From one media file to what is stored of it: 88 functionals, six pictures, and every fault by its name."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from av.container import InputContainer
from PIL import Image

from apt_lightning.common.errors import ClipError
from apt_lightning.common.files import file_digest
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.audio import Samples, SoundTrack, audio_faults, compute_functionals
from apt_lightning.data.media.container import announced_end, check_file, films
from apt_lightning.data.media.decode import Picture, picture_faults, read_pictures
from apt_lightning.data.media.extraction import SPEECH_RATE, Extraction, ExtractionSettings, Found, useless
from apt_lightning.data.media.packets import demux, missing, opened, other_sound
from apt_lightning.data.media.parts import sound_parts, spans
from apt_lightning.data.media.video import Moment, PictureTrack

Shown = tuple[list[bytes], list[float], Found]
"""JPEG pictures, their times, and what is wrong with them."""

ASPECT = 16 / 9
"""Ratio of width to height of the data set's clips, which the paper's 248 x 140 keeps."""

SHORT_OF_END = 0.5
"""Seconds that a file may end before its announced end without being called cut short."""


def extract_clip(
    path: str | os.PathLike[str],
    name: str,
    settings: ExtractionSettings = ExtractionSettings(),
    functionals: bool = True,
    every: float | None = None,
    explain: bool = False,
) -> Extraction:
    """Read one media file from a stranger.

    Args:
        path: The file.
        name: Name of the clip, for its faults.
        settings: What to take.
        functionals: Whether to run openSMILE; the sound is decoded and checked in any case.
        every: Also take each window of so many seconds.
        explain: Also describe what the sound is if only some of its seconds are heard.

    Returns:
        What can be used of the clip, with the reason for what cannot.

    Raises:
        ClipError: If nothing of the clip can be used; its ``code`` says why.
    """
    return _guarded(name, lambda: _extract(os.fspath(path), name, settings, functionals, every, explain))


def extract_speech(
    path: str | os.PathLike[str],
    name: str,
    settings: ExtractionSettings = ExtractionSettings(),
    functionals: bool = False,
) -> Extraction:
    """As :func:`extract_clip`, but the sound itself and nothing else: no samples where there is none."""
    return _guarded(name, lambda: _speech(os.fspath(path), name))


def _guarded(name: str, work: Callable[[], Extraction]) -> Extraction:
    """Whatever a stranger's file does to a decoder becomes the fault of one clip."""
    try:
        return work()
    except ClipError:
        raise
    except MemoryError:
        raise ClipError("out-of-memory", f"{name}: decoding needs more memory than it is allowed") from None
    except Exception as error:
        # Decoders meet hostile bytes here: whatever they raise costs one clip.
        raise ClipError("decoder-crash", f"{name}: {type(error).__name__}: {error}") from error


def _extract(
    path: str, name: str, settings: ExtractionSettings, functionals: bool, every: float | None, explain: bool
) -> Extraction:
    head = check_file(path, name)
    with opened(path, name, head) as container:
        video, sound, end = demux(container, name, settings.sample_rate)
        if not container.streams.video and not container.streams.audio:
            raise ClipError("not-a-video", f"{name}: has neither a video nor an audio stream")
        if sound is not None and not sound.seconds:
            sound = other_sound(path, name, sound)
        faults = _file_faults(container, [track for track in (video, sound) if track is not None], end)
        samples, clipped = (np.zeros(0, np.float32), 0.0) if sound is None else sound.mono()
        heard = missing(container, "audio") if sound is None else audio_faults(samples, sound.rate, clipped)
        row = None
        with ThreadPoolExecutor(1) as pool:
            if functionals and not useless(heard):
                # openSMILE releases the interpreter's lock, so that a second core, if idle, works on the pictures.
                row = pool.submit(compute_functionals, samples, settings.sample_rate, settings.feature_set)
            duration = max(0.0 if video is None else video.duration, len(samples) / settings.sample_rate)
            cuts = spans(duration, every)
            (frames, times, seen), *shown = _pictures(path, container, video, settings, [None, *cuts])
        values = None if row is None else row.result()
        if values is not None and not np.isfinite(values).all():
            values, heard = None, [("invalid-audio", "openSMILE finds no numbers in it")]
        if not frames and useless(heard):
            reasons = "; ".join(f"{code} ({detail})" for code, detail in seen + heard)
            raise ClipError("nothing-usable", f"{name}: {reasons}")
        if any(track.damaged for track in (video, sound) if track is not None):
            faults.append(("damaged", ""))
    sound_used = functionals and not useless(heard)
    return Extraction(
        functionals=values,
        frames=frames,
        times=times,
        duration=(0.0 if video is None else video.duration) or len(samples) / settings.sample_rate,
        faults=[Fault(code, name, detail) for code, detail in faults + seen + heard],
        sha256=(sha256 := file_digest(Path(path))),
        windows=[
            _window(name, samples if sound_used else None, cut, pictures, settings, sha256)
            for cut, pictures in zip(cuts, shown, strict=True)
        ],
        parts=sound_parts(samples, settings.sample_rate, settings.feature_set) if explain and sound_used else None,
    )


def _window(
    name: str,
    samples: Samples | None,
    cut: tuple[float, float],
    pictures: Shown,
    settings: ExtractionSettings,
    sha256: str,
) -> Extraction:
    frames, times, found = pictures
    values = None
    if samples is not None:
        piece = samples[slice(*(round(second * settings.sample_rate) for second in cut))]
        heard = audio_faults(piece, settings.sample_rate, 0.0)
        found = found + heard
        if not useless(heard):
            values = compute_functionals(piece, settings.sample_rate, settings.feature_set)
            if not np.isfinite(values).all():
                values, found = None, [*found, ("invalid-audio", "openSMILE finds no numbers in it")]
    faults = [Fault(code, name, detail) for code, detail in found]
    return Extraction(values, frames, times, cut[1] - cut[0], faults, sha256, cut[0])


def _speech(path: str, name: str) -> Extraction:
    with opened(path, name, check_file(path, name)) as container:
        _, sound, _ = demux(container, name, SPEECH_RATE)
        if sound is not None and not sound.seconds:
            sound = other_sound(path, name, sound)
        samples = np.zeros(0, np.float32) if sound is None else np.nan_to_num(sound.mono()[0])
    return Extraction(None, [], [], len(samples) / SPEECH_RATE, [], "", speech=samples)


def _pictures(
    path: str,
    container: InputContainer,
    video: PictureTrack | None,
    settings: ExtractionSettings,
    cuts: Sequence[tuple[float, float] | None],
) -> list[Shown]:
    """JPEG pictures of each window, or of the whole for None, their times, and what is wrong with them."""
    if video is None or not video.shown:
        why = missing(container, "video") if video is None else [("no-video", "the video stream holds no picture")]
        return [([], [], why) for _ in cuts]
    chosen = [video.moments(settings.n_frames, cut) for cut in cuts]
    every = [moment for moments in chosen for moment in moments]
    decoded = read_pictures(path, video, every, settings.frame_size, settings.decoder)
    return [_shown(container, video, moments, decoded, settings) for moments in chosen]


def _shown(
    container: InputContainer,
    video: PictureTrack,
    moments: list[Moment],
    decoded: dict[int, Picture],
    settings: ExtractionSettings,
) -> Shown:
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
    if video.transparent:
        found.append(("transparent-picture", ""))
    if video.restarts:
        found.append(("clock-restarts", f"{video.restarts + 1} parts"))
    indices = [stream.index for stream in films(container)]
    if len(indices) > 1:
        found.append(
            ("several-video-streams", f"number {indices.index(video.stream.index) + 1} of {len(indices)} used")
        )
    ratio = video.aspect
    if ratio is not None and abs(ratio / ASPECT - 1) > 0.05:
        found.append(("wrong-aspect", f"{ratio:.2f} to 1"))
    if useless(found):
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


def _file_faults(container: InputContainer, tracks: list[PictureTrack | SoundTrack], end: float) -> Found:
    """What is wrong with the file as a whole, of which the last packet ends at ``end`` s."""
    announced = announced_end(container)
    if not tracks or announced is None or end >= announced - SHORT_OF_END:
        return []
    return [("cut-short", f"{end:.1f} of {announced:.1f} s")]
