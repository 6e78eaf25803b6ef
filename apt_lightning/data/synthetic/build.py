"""Plan a synthetic set and make it, clip by clip, over all cores."""

from __future__ import annotations

import json
import os
import signal
import string
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from apt_lightning.common.console import bar
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import reading
from apt_lightning.common.processes import core_count
from apt_lightning.data.collection.collection import SYNTHETIC
from apt_lightning.data.synthetic.clip import ClipFormat, ClipPlan, make_clip
from apt_lightning.data.synthetic.latents import draw_clips, draw_latents, draw_splits
from apt_lightning.data.synthetic.layout import archive_of, clip_folder, pack, write_file, write_tables
from apt_lightning.data.synthetic.planted import Planted
from apt_lightning.data.synthetic.speech import load_espeak
from apt_lightning.data.synthetic.words import WORDS_PER_SECOND, compose, transcribe

FORMAT = 1
"""Raised when the same settings would give other clips."""
ID_CHARACTERS = string.ascii_letters + string.digits + "_"
"""Of a source id, beside ``-``."""


def synthesize(
    out: str | os.PathLike[str],
    n_sources: int | None = None,
    seed: int = 0,
    seconds: float = 15.0,
    size: tuple[int, int] = (1280, 720),
    fps: float = 25.0,
    workers: int | None = None,
    zipped: bool = False,
    *,
    n_clips: int | None = None,
    grouped: bool = False,
    identity: float = 0.0,
    planted: Planted = Planted(),  # noqa: B008  (frozen)
) -> None:
    """Write a synthetic First Impressions set; clips that are there already are kept.

    With more than one worker, call it under ``if __name__ == "__main__":``: workers import the main module.

    Args:
        out: Folder of the data set; new, empty, or one that an interrupted call with the same settings left.
        n_sources: Number of source videos, each with 1 to 6 clips; or
        n_clips: number of clips.
        seed: The same seed and settings give the same bytes, whatever the number of workers.
        seconds: Length of each clip.
        size: Width and height, pixels; even.
        fps: Frames a second.
        workers: Number of processes; all cores if not given. 1 makes the clips in this process.
        zipped: Pack clips, labels and transcripts into zips, as they are downloaded; none is encrypted.
        grouped: Keep every source in one split, unlike the official split.
        identity: Strength of a cue that tells the source and nothing else: the tone of the voice and the echo of
            the room; 0 for none, 1 for one that is plain to hear.
        planted: Positive controls.

    Raises:
        UsageError: If a number is out of range, the folder holds other things, or eSpeak NG is missing.
    """
    if seconds < 0.5 or fps < 1 or min(size) < 32 or size[0] % 2 or size[1] % 2:
        raise UsageError(
            f"{seconds:g} s, {fps:g} fps, {size[0]}x{size[1]}: give at least 0.5 s and 1 fps, and an even "
            "width and height of at least 32 pixels"
        )
    if seed < 0 or (workers is not None and workers < 1):
        raise UsageError(f"seed {seed}, workers {workers}: a seed is 0 or more, workers are 1 or more")
    if not 0 <= identity < np.inf:
        raise UsageError(f"identity {identity}: a strength is 0 or more, for example 1")
    load_espeak()
    root = Path(out)
    plans = plan_clips(n_sources, n_clips, seed, seconds, grouped, identity, planted)
    settings = {
        "format": FORMAT,
        "what": "synthetic clips: drawn faces and synthesised speech, no data about people",
        "seed": seed,
        "sources": n_sources,
        "clips": n_clips,
        "seconds": seconds,
        "size": list(size),
        "fps": fps,
        "grouped": grouped,
        "zipped": zipped,
        # without them, the record is that of earlier versions
        **{name: value for name, value in {"identity": identity, **asdict(planted)}.items() if value},
    }
    _claim(root, settings)
    unpacked = [plan for plan in plans if not archive_of(root, plan).exists()]
    _make_all(unpacked, ClipFormat(seconds, size, fps), root, workers or core_count())
    write_tables(plans, root, zipped)
    if zipped:
        for archive in sorted({archive_of(root, plan) for plan in unpacked}):
            pack(archive)


def plan_clips(
    n_sources: int | None,
    n_clips: int | None,
    seed: int,
    seconds: float,
    grouped: bool = False,
    identity: float = 0.0,
    planted: Planted = Planted(),  # noqa: B008  (frozen)
) -> list[ClipPlan]:
    """Decide everything about a set except its media.

    Args:
        n_sources: Number of sources; or
        n_clips: number of clips.
        seed: Seed of the set.
        seconds: Length of a clip, which decides its number of words.
        grouped: Keep every source in one split.
        identity: Strength of the source's tone and room in the sound.
        planted: Positive controls.

    Returns:
        The clips, split by split, in the order of the label files.

    Raises:
        UsageError: If not exactly one of the two numbers is given.
    """
    rng = np.random.default_rng(seed)
    source, within = draw_clips(rng, n_sources, n_clips)
    split = draw_splits(source, rng, grouped)
    latents = draw_latents(source, rng, planted=planted)
    ids = _source_ids(int(source.max()) + 1, rng)
    codes = rng.integers([1, 1, 3], [4, 3, 9], size=(len(ids), 3))  # nothing else follows these
    plans = []
    position = dict.fromkeys(("train", "validation", "test"), 0)
    for i in rng.permutation(len(source)):
        source_seed, clip_seed = [seed, 1, int(source[i])], [seed, 2, int(source[i]), int(within[i])]
        rng_words = np.random.default_rng([*clip_seed, 0])
        n_words = max(4, round(seconds * WORDS_PER_SECOND * rng_words.uniform(0.85, 1.15)))
        habits = np.random.default_rng([*source_seed, 0])
        said = compose(latents.cues["text"][i], n_words, habits, rng_words)
        name = str(split[i])
        plans.append(
            ClipPlan(
                name=f"{ids[source[i]]}.{within[i]:03d}.mp4",
                source=ids[source[i]],
                split=name,
                folder=clip_folder(name, position[name]),
                labels=latents.labels[i],
                interview=float(latents.interview[i]),
                said=said,
                transcript=transcribe(said, rng_words),
                audio_cues=latents.cues["audio"][i],
                visual_cues=latents.cues["visual"][i],
                demographics=tuple(codes[source[i]].tolist()),
                source_seed=source_seed,
                clip_seed=clip_seed,
                identity=identity,
            )
        )
        position[name] += 1
    return sorted(plans, key=lambda plan: list(position).index(plan.split))


def _source_ids(n: int, rng: np.random.Generator) -> list[str]:
    letters = rng.choice(list(ID_CHARACTERS + "-"), size=(n, 11))
    letters[:, 0] = rng.choice(list(ID_CHARACTERS), size=n)
    letters[7::64, 0] = "-"  # as often as by chance, but certain in a small set too: it trips command lines
    return ["".join(row) for row in letters]


def _claim(root: Path, settings: Mapping[str, object]) -> None:
    """Record the settings in :data:`SYNTHETIC`, or make sure that the folder was made with the same ones."""
    record = root / SYNTHETIC
    if record.exists():
        with reading(record, "name another folder"):
            before = json.loads(record.read_text())
        if before != settings:
            raise UsageError(f"{root} holds a synthetic set of other settings (its {SYNTHETIC}): name another folder")
        return
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty and holds no synthetic set: name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    write_file(record, json.dumps(settings, indent=1).encode())


def _make_all(plans: Sequence[ClipPlan], form: ClipFormat, root: Path, workers: int) -> None:
    make = partial(make_clip, form=form, out=root)
    missing = [plan for plan in plans if not (root / plan.folder / plan.name).exists()]
    done = len(plans) - len(missing)
    workers = min(workers, len(missing))
    # spawn: the caller may have threads (torch, decoders), which a fork would break
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _ignore_interrupt) if workers > 1 else None
    with bar(len(plans), "synthesize", "clip", hidden=not missing, initial=done) as shown:
        try:
            for _ in pool.map(make, missing) if pool else map(make, missing):
                shown.update()
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers after the clip in hand
