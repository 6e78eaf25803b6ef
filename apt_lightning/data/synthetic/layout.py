"""The official layout of First Impressions: folders, nested zips, labels, transcripts and demographics."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.synthetic import python2
from apt_lightning.data.synthetic.clip import ClipPlan

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


def clip_folder(split: str, position: int) -> str:
    """Name the folder of a clip.

    Args:
        split: ``train``, ``validation`` or ``test``.
        position: Number of the clip within its split.

    Example:
        >>> clip_folder("train", 85)
        'train-1/training80_02'
    """
    outer, inner = FOLDERS[split]
    number = position // CLIPS_PER_FOLDER
    return f"{outer}-{number // FOLDERS_PER_ARCHIVE + 1}/{inner}_{number + 1:02d}"


def archive_of(root: Path, plan: ClipPlan) -> Path:
    """Path of the outer zip that holds a clip when the set is zipped."""
    return root / f"{plan.folder.split('/')[0]}.zip"


def pack(archive: Path) -> None:
    """Pack a folder of folders of clips into a zip of zips beside it, and remove it.

    Args:
        archive: Zip to write; the folder has its name without ``.zip``.
    """
    outer = archive.with_suffix("")
    inner = {
        f"{folder.name}.zip": _zip({clip.name: clip.read_bytes() for clip in sorted(folder.glob("*.mp4"))})
        for folder in sorted(outer.iterdir())
    }
    write_file(archive, _zip(inner))
    shutil.rmtree(outer)


def write_tables(plans: Sequence[ClipPlan], root: Path, zipped: bool) -> None:
    """Write labels, transcripts, ages, and ethnicity and gender codes.

    Args:
        plans: All clips.
        root: Folder of the data set.
        zipped: Put labels and transcripts into zips.
    """
    for split, name in FILES.items():
        clips = [plan for plan in plans if plan.split == split]
        outer = FOLDERS[split][0]
        for kind, content in (("annotation", _annotations(clips)), ("transcription", _transcripts(clips))):
            file, data = f"{kind}_{name}.pkl", python2.dumps(content)
            if zipped:
                write_file(root / f"{outer}-{kind}.zip", _zip({file: data}))
            else:
                write_file(root / file, data)
        ages = [(clip.name, clip.demographics[2]) for clip in clips]
        write_file(root / f"age_anno_{name}.csv", _csv(("VideoName", "AgeGroup"), ages, ","))
    for file, splits in {"dev": ("train", "validation"), "test": ("test",)}.items():
        rows = [(p.name, p.source, *p.demographics[:2]) for p in plans if p.split in splits]
        header = ("VideoName", "YouTubeID", "Ethnicity", "Gender")
        write_file(root / f"eth_gender_annotations_{file}.csv", _csv(header, rows, ";"))


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _annotations(clips: Sequence[ClipPlan]) -> python2.Value:
    scores = {clip.name: (*clip.labels[:4], clip.interview, clip.labels[4]) for clip in clips}
    # Both forms occur in the real files, so readers must meet both.
    number = np.float64 if clips and clips[0].split == "train" else float
    return {
        trait: {clip: number(row[column]) for clip, row in scores.items()} for column, trait in enumerate(LABEL_ORDER)
    }


def _transcripts(clips: Sequence[ClipPlan]) -> python2.Value:
    return {clip.name: clip.transcript for clip in clips}


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def _zip(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's fixed date keeps the bytes repeatable
    return data.getvalue()
