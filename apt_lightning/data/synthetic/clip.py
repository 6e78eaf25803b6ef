"""One synthetic clip: words, voice and face joined into an mp4."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from apt_lightning.data.synthetic.face import canvas_size, draw_frames, look_of
from apt_lightning.data.synthetic.identity import place
from apt_lightning.data.synthetic.latents import FloatArray
from apt_lightning.data.synthetic.speech import SAMPLE_RATE, speak, voice_of


@dataclass(frozen=True)
class ClipPlan:
    """All that a worker needs to make one clip."""

    name: str
    """``<11-character source id>.<three digits>.mp4``."""
    source: str
    split: str
    folder: str
    """Folder inside the data set, such as ``train-1/training80_01``."""
    labels: FloatArray
    """(5,) labels in [0, 1]."""
    interview: float
    said: str
    transcript: str
    audio_cues: FloatArray
    visual_cues: FloatArray
    """(5,) each: what the voice and the picture show of the traits."""
    demographics: tuple[int, ...]
    """Codes of ethnicity, gender and age group, as in the CSVs; drawn apart from all else."""
    source_seed: list[int]
    clip_seed: list[int]
    identity: float
    """Strength of the source's tone and room in the sound."""


@dataclass(frozen=True)
class ClipFormat:
    """Form of the media files."""

    seconds: float
    size: tuple[int, int]
    """Width and height, pixels; even."""
    fps: float


def make_clip(plan: ClipPlan, form: ClipFormat, out: Path) -> None:
    """Make the mp4 of one clip.

    Args:
        plan: What the clip says and shows.
        form: Length, size and rate.
        out: Folder of the data set.

    Raises:
        UsageError: If eSpeak NG is not installed.
    """
    path = out / plan.folder / plan.name
    rng, habits = np.random.default_rng(plan.clip_seed), np.random.default_rng(plan.source_seed)
    voice = voice_of(plan.audio_cues, habits, rng)
    look = look_of(plan.visual_cues, habits, rng)
    sound = speak(plan.said, voice, form.seconds, rng)
    if plan.identity:
        sound = place(sound, np.random.default_rng([*plan.source_seed, 1]), plan.identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{plan.name}.part")
    with av.open(str(part), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(form.fps).limit_denominator(1001))
        video.width, video.height = form.size
        video.pix_fmt = "yuv420p"
        # x264's macroblock tree reads memory it has not set: without it and with one thread the bytes repeat.
        video.options = {"preset": "veryfast", "crf": "26", "x264-params": "mbtree=0"}
        video.thread_count = 1
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        frames = draw_frames(look, _loudness(sound, form), form.fps, canvas_size(form.size), rng)
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(video.encode(frame.reformat(*form.size, format="yuv420p", interpolation="BICUBIC")))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        block.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    os.replace(part, path)


def _loudness(sound: npt.NDArray[np.float32], form: ClipFormat) -> FloatArray:
    """(n_frames,) root mean square of the sound during each frame, scaled to 0 to 1."""
    n_frames = max(1, round(form.seconds * form.fps))
    rms = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(sound, n_frames)])
    return np.asarray(np.clip(rms / max(float(np.quantile(rms, 0.95)), 1e-9), 0, 1))
