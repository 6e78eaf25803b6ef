"""What lies in a folder: clips, label files, tables of people, and every other file by its kind."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.names import name_form, shown
from apt_lightning.data.collection.formats import FILM_SUFFIXES, SOUND_SUFFIXES, SUFFIXES

RECORD = "unpacked.json"
"""Beside archives that were unpacked: which, and what came out of them."""
BESIDE = "sound of a film"
HIDDEN = "hidden"
SECOND = "second of a name"
_KINDS = 8
"""Kinds of other files that are named; the rest is summed up."""


class Listing(NamedTuple):
    """The files below a folder, in a fixed order."""

    media: list[Path]
    """By their names, :data:`~apt_lightning.data.collection.formats.SUFFIXES`."""
    labels: list[Path]
    """Pickles of labels and of transcripts."""
    people: list[Path]
    """Tables of demographics."""
    others: dict[str, int]
    """Kind of every other file -> how many; the kind is the ending of the name."""


def list_folder(root: Path) -> Listing:
    """Sort the files below a folder; links are followed once, hidden folders not entered but counted."""
    found = Listing([], [], [], Counter())
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            found.others[HIDDEN] += 1
        elif suffix in SUFFIXES:
            found.media.append(path)
        elif re.fullmatch(r"(annotation|transcription)_.*\.pkl", path.name):
            found.labels.append(path)
        elif re.fullmatch(r"(eth_gender_annotations|age_anno).*\.csv", path.name):
            found.people.append(path)
        elif path.name != RECORD:
            found.others[shown(suffix) if 1 < len(suffix) < 12 else "without an ending"] += 1
    return found


def sounds_of_films(media: list[Path], named: Collection[str]) -> list[Path]:
    """Find the sounds that are a film's and no clips of their own.

    These are sounds that are named like a film but for the ending, ``<id>.wav`` for ``<id>.mp4``: in the film's
    folder, or anywhere if label files name the film. A sound that label files name is a clip.

    Args:
        media: Films and sounds.
        named: Clips that label files name.
    """
    films = [path for path in media if path.suffix.lower() in FILM_SUFFIXES]
    here = {(path.parent, path.stem) for path in films}
    anywhere = {path.stem for path in films if name_form(path.name) in named}
    return [
        path
        for path in media
        if path.suffix.lower() in SOUND_SUFFIXES
        and name_form(path.name) not in named
        and ((path.parent, path.stem) in here or path.stem in anywhere)
    ]


def others_text(others: dict[str, int]) -> str:
    """One line that names the files of a folder that are no clips; empty if there are none.

    Example:
        >>> others_text({".txt": 3, ".jpg": 12, "hidden": 1})
        'other files: 12 .jpg, 3 .txt, 1 hidden'
    """
    if not others:
        return ""
    kinds = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in kinds[_KINDS:])
    parts = [f"{count} {kind}" for kind, count in kinds[:_KINDS]]
    if rest:
        parts.append(f"{rest} of {len(kinds) - _KINDS} further kinds")
    return f"other files: {', '.join(parts)}"


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order; a hidden folder itself in place of what it holds."""
    visited = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted([*files, *hidden]))
