"""The clips that a person names: files, folders, patterns, a table, or names on the standard input."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.errors import UsageError
from apt_lightning.common.names import raw_name
from apt_lightning.data.collection.folder import BESIDE, list_folder, sounds_of_films
from apt_lightning.data.collection.tables import read_table

STANDARD_INPUT = "-"
TABLES = (".csv", ".tsv")


class Given(NamedTuple):
    """Clips in the order in which they were named, each once."""

    clips: list[str]
    transcripts: dict[str, str]
    """Clip -> its words, for those to which a table gives some."""
    others: dict[str, int]
    """Files of the folders that are no clips: kind -> how many."""


def given_clips(words: Sequence[str]) -> Given:
    """Find the clips that words of a command line stand for.

    Args:
        words: Each a file; a folder, for all clips below it; a pattern as ``*.mp4`` or ``**/*.webm``; a table
            (``.csv``, ``.tsv``) with the column clip, paths relative to it or to the working folder, and a column
            transcript if words are known; or ``-`` for such words on the standard input, one a line.

    Raises:
        UsageError: If a folder, a pattern or the standard input holds no clip.
        DataError: If a table cannot be read.
    """
    transcripts: dict[str, str] = {}
    others: Counter[str] = Counter()
    clips: dict[str, None] = {}
    for word in words:
        lines = _lines() if word == STANDARD_INPUT else [word]
        found = [clip for line in lines for clip in _clips(line, transcripts, others)]
        if not found:
            raise UsageError(f"{word} holds no clip; give files, folders, patterns, a CSV (clip, transcript), or -")
        clips |= dict.fromkeys(found)
    return Given(list(clips), transcripts, dict(others))


def _lines() -> Iterator[str]:
    # Names are bytes, of which the decoding of the standard input need not be that of names.
    for line in sys.stdin.buffer:
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield name


def _clips(word: str, transcripts: dict[str, str], others: Counter[str]) -> Iterable[str]:
    if os.path.isdir(word):
        listing = list_folder(Path(word))
        beside = set(sounds_of_films(listing.media, ()))
        others.update(listing.others)
        others.update(path.suffix.lower() for path in (*listing.labels, *listing.people))
        others.update([BESIDE] * len(beside))
        return [str(path) for path in listing.media if path not in beside]
    if word.lower().endswith(TABLES) and os.path.isfile(word):
        return list(_table(Path(word), transcripts))
    if has_magic(word) and not os.path.lexists(word):
        return sorted(path for path in glob(word, recursive=True) if not os.path.isdir(path))
    return [word]


def _table(path: Path, transcripts: dict[str, str]) -> Iterator[str]:
    for row in read_table(path, ["clip"], ["transcript"]):
        name = row.cells["clip"]
        places = [place for reading in (name, raw_name(name)) for place in (path.parent / reading, Path(reading))]
        clip = str(next((place for place in places if _is_there(place)), path.parent / name))
        if row.cells.get("transcript"):
            transcripts[clip] = row.cells["transcript"]
        yield clip


def _is_there(path: Path) -> bool:
    return "\0" not in str(path) and path.exists()
