"""The official layout: folders, nested zips, labels, transcripts, demographics; and the run that fills it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import string
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from apt_lightning.errors import UsageError
from apt_lightning.synthetic import python2
from apt_lightning.synthetic.clip import ClipFormat, ClipPlan, make_clip
from apt_lightning.synthetic.latents import draw_clips, draw_latents, draw_splits
from apt_lightning.synthetic.speech import load_espeak
from apt_lightning.synthetic.words import WORDS_PER_SECOND, compose, transcribe
from apt_lightning.traits import TRAITS

FORMAT = 1
"""Raised when the same settings would give other clips."""
FOLDERS = {
    "train": ("train", "training80"),
    "validation": ("val", "validation80"),
    "test": ("test", "test80"),
}
FILES = {"train": "training", "validation": "validation", "test": "test"}
CLIPS_PER_FOLDER = 80
FOLDERS_PER_ARCHIVE = 13
"""Gives the six training archives of the real set at its size."""
LABEL_ORDER = (*TRAITS[:4], "interview", TRAITS[4])
ID_CHARACTERS = string.ascii_letters + string.digits + "_"


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

    Raises:
        UsageError: If a number is out of range, the folder holds other things, or eSpeak NG is missing.
    """
    if seconds < 0.5 or fps < 1 or min(size) < 32 or size[0] % 2 or size[1] % 2:
        raise UsageError(
            f"{seconds:g} s, {fps:g} fps, {size[0]}x{size[1]}: give at least 0.5 s and 1 fps, and an even "
            "width and height of at least 32 pixels"
        )
    load_espeak()
    root = Path(out)
    plans = plan_clips(n_sources, n_clips, seed, seconds, grouped)
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
    }
    _claim(root, settings)
    _make_all(
        [p for p in plans if not _packed(root, p).exists()], ClipFormat(seconds, size, fps), root, workers
    )
    _write_tables(plans, root, zipped)
    if zipped:
        for archive in sorted({_packed(root, plan) for plan in plans}):
            _pack(archive)


def plan_clips(
    n_sources: int | None, n_clips: int | None, seed: int, seconds: float, grouped: bool = False
) -> list[ClipPlan]:
    """Decide everything about a set except its media.

    Args:
        n_sources: Number of sources; or
        n_clips: number of clips.
        seed: Seed of the set.
        seconds: Length of a clip, which decides its number of words.
        grouped: Keep every source in one split.

    Returns:
        The clips, split by split, in the order of the label files.

    Raises:
        UsageError: If not exactly one of the two numbers is given.
    """
    rng = np.random.default_rng(seed)
    source, within = draw_clips(rng, n_sources, n_clips)
    split = draw_splits(source, rng, grouped)
    latents = draw_latents(source, rng)
    ids = _source_ids(int(source.max()) + 1, rng)
    order = rng.permutation(len(source))
    plans = []
    for name in FOLDERS:
        for position, i in enumerate(order[split[order] == name]):
            source_seed, clip_seed = [seed, 1, int(source[i])], [seed, 2, int(source[i]), int(within[i])]
            words = np.random.default_rng([*clip_seed, 0])
            n_words = max(4, round(seconds * WORDS_PER_SECOND * words.uniform(0.85, 1.15)))
            said = compose(latents.cues["text"][i], n_words, source_seed, words)
            plans.append(
                ClipPlan(
                    name=f"{ids[source[i]]}.{within[i]:03d}.mp4",
                    source=ids[source[i]],
                    split=name,
                    folder=_folder(name, position),
                    labels=latents.labels[i],
                    interview=float(latents.interview[i]),
                    said=said,
                    transcript=transcribe(said, words),
                    audio_cues=latents.cues["audio"][i],
                    visual_cues=latents.cues["visual"][i],
                    source_seed=source_seed,
                    clip_seed=clip_seed,
                )
            )
    return plans


def _source_ids(n: int, rng: np.random.Generator) -> list[str]:
    letters = rng.choice(list(ID_CHARACTERS + "-"), size=(n, 11))
    letters[:, 0] = rng.choice(list(ID_CHARACTERS), size=n)
    letters[7::64, 0] = (
        "-"  # as often as by chance, but certain in a small set too: these names trip command lines
    )
    return ["".join(row) for row in letters]


def _folder(split: str, position: int) -> str:
    outer, inner = FOLDERS[split]
    number = position // CLIPS_PER_FOLDER
    return f"{outer}-{number // FOLDERS_PER_ARCHIVE + 1}/{inner}_{number + 1:02d}"


def _packed(root: Path, plan: ClipPlan) -> Path:
    return root / f"{plan.folder.split('/')[0]}.zip"


def _claim(root: Path, settings: dict[str, object]) -> None:
    """Record the settings in ``synthetic.json``, or make sure that the folder was made with the same ones."""
    record = root / "synthetic.json"
    if record.exists():
        if json.loads(record.read_text()) != settings:
            raise UsageError(
                f"{root} holds a synthetic set of other settings (its synthetic.json): name another folder"
            )
        return
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty and holds no synthetic set: name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    _write(record, json.dumps(settings, indent=1).encode())


def _make_all(plans: Sequence[ClipPlan], form: ClipFormat, root: Path, workers: int | None) -> None:
    make = partial(make_clip, form=form, out=root)
    n_workers = min(workers or len(os.sched_getaffinity(0)), len(plans))
    progress = partial(tqdm, total=len(plans), desc="synthesize", unit="clip")
    if n_workers <= 1:
        for plan in progress(plans):
            make(plan)
        return
    # spawn: the caller may have threads (torch, decoders), which a fork would break
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _ignore_interrupt)
    try:
        for _ in progress(pool.map(make, plans)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers after the clip in hand


def _write_tables(plans: Sequence[ClipPlan], root: Path, zipped: bool) -> None:
    people = np.random.default_rng(0)
    codes = {p.source: people.integers([1, 1, 3], [4, 3, 9]) for p in sorted(plans, key=lambda p: p.source)}
    for split, name in FILES.items():
        clips = [plan for plan in plans if plan.split == split]
        number = np.float64 if split == "train" else float  # both forms occur in the real files
        columns = [*np.array([p.labels for p in clips]).reshape(-1, 5).T[:4], [p.interview for p in clips]]
        columns.append(np.array([p.labels[4] for p in clips]))
        labels = {
            trait: {clip.name: number(value) for clip, value in zip(clips, column, strict=True)}
            for trait, column in zip(LABEL_ORDER, columns, strict=True)
        }
        outer = FOLDERS[split][0]
        tables = {
            f"annotation_{name}.pkl": (f"{outer}-annotation.zip", python2.dumps(labels)),
            f"transcription_{name}.pkl": (
                f"{outer}-transcription.zip",
                python2.dumps({clip.name: clip.transcript for clip in clips}),
            ),
        }
        for file, (archive, data) in tables.items():
            if zipped:
                _write(root / archive, _zip({file: data}))
            else:
                _write(root / file, data)
        ages = [(clip.name, codes[clip.source][2]) for clip in clips]
        _write(root / f"age_anno_{name}.csv", _csv(("VideoName", "AgeGroup"), ages, ","))
    for file, splits in {"dev": ("train", "validation"), "test": ("test",)}.items():
        rows = [
            (p.name, p.source, codes[p.source][0], codes[p.source][1]) for p in plans if p.split in splits
        ]
        header = ("VideoName", "YouTubeID", "Ethnicity", "Gender")
        _write(root / f"eth_gender_annotations_{file}.csv", _csv(header, rows, ";"))


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def _zip(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(
                zipfile.ZipInfo(name), content
            )  # ZipInfo's fixed date keeps the bytes reproducible
    return data.getvalue()


def _pack(archive: Path) -> None:
    """Pack a folder of folders of clips into a zip of zips, and remove it."""
    outer = archive.with_suffix("")
    if not outer.exists():
        return
    inner = {
        f"{d.name}.zip": _zip({f.name: f.read_bytes() for f in sorted(d.iterdir())})
        for d in sorted(outer.iterdir())
    }
    _write(archive, _zip(inner))
    shutil.rmtree(outer)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)
