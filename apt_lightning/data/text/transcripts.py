"""What is said in clips, as a person gives it: the words themselves, a text, subtitles, or a table of clips."""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.names import raw_name, shown
from apt_lightning.data.collection.tables import CsvRow, cell_error, read_table, read_text_file

TABLES = (".csv", ".tsv")
SUBTITLES = (".srt", ".vtt")

_ENDINGS = re.compile(r".*\.(?:csv|tsv|srt|vtt|sbv|ass|txt|text|md|json|pkl|docx?|rtf|xlsx?|pdf)", re.IGNORECASE)
_ROOTS = re.compile(r"(?:\.{0,2}|~)/|[A-Za-z]:[\\/]|\\\\")
_ONE_WORD = re.compile(r"\S*(?:[\\/]\S*|\.[A-Za-z]\w{1,4})")

_TIMES = re.compile(r"\s*(?:\d+:)?\d+:\d+[.,]\d+\s*-->\s*(?:\d+:)?\d+:\d+[.,]\d+")
_NO_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_SPEAKER = re.compile(
    # ANNA:  >> Dr. Anna Smith:  [Speaker 1]:  up to three words that begin with a capital or a digit
    r"^\s*(?:>>+|[-\u2013\u2014])?\s*"
    r"(?:[\[(]?[A-Z\u00c0-\u00de][\w.'-]*(?: [A-Z\u00c0-\u00de\d][\w.'-]*){0,2}[\])]?:(?=\s|$))?"
)


def read_transcripts(given: str | None, clips: Sequence[str]) -> dict[str, str]:
    """Read the words of clips.

    Args:
        given: The words of the one clip; or a file: a text, subtitles (``.srt``, ``.vtt``), or a table (``.csv``,
            ``.tsv``) with the columns clip and transcript.
        clips: Paths of the clips as a person gave them.

    Returns:
        Path -> words; a clip that a table does not name is absent.

    Raises:
        UsageError: If ``given`` looks like a path and is no file, or is one text for several clips.
        DataError: If a row of a table is of no clip or could be of several, or a clip is in two rows; the message
            names file and row.
    """
    if given is None:
        return {}
    path = Path(given)
    if not _is_file(given):
        if _looks_like_path(given):
            raise UsageError(
                f"no transcript file {given}; give a text, subtitles, a CSV (clip, transcript), or the words themselves"
            )
        text = given
    elif path.suffix.lower() in TABLES:
        return _match(path, read_table(path, ["clip", "transcript"]), clips)
    else:
        text = read_text_file(path)
        if path.suffix.lower() in SUBTITLES:
            text = spoken(path, text)
    if len(set(clips)) > 1:
        raise UsageError("one `--transcript` text cannot serve several clips; give a CSV with columns clip, transcript")
    return dict.fromkeys(clips, text)


def _is_file(given: str) -> bool:
    return "\n" not in given and len(given) < 4096 and os.path.isfile(given)


def _looks_like_path(given: str) -> bool:
    """Whether a text can only have been meant as a path: it begins or ends like one, or is one word that does."""
    if "\n" in given or os.path.isdir(given):
        return "\n" not in given
    return bool(_ENDINGS.fullmatch(given) or _ROOTS.match(given) or _ONE_WORD.fullmatch(given))


def _match(path: Path, rows: list[CsvRow], clips: Sequence[str]) -> dict[str, str]:
    """Words by clip: a row is of the clip at its path, else of the one clip of its file name."""
    places = {os.path.realpath(clip): clip for clip in clips}
    names = Counter(os.path.basename(place) for place in places)
    by_name = {os.path.basename(place): clip for place, clip in places.items()}
    lines: dict[str, int] = {}
    found: dict[str, str] = {}
    for row in rows:
        cell = row.cells["clip"]
        clip = _at_path(path, cell, places)
        if clip is None:
            name = next((n for n in _readings(os.path.basename(cell)) if n in by_name), None)
            if name is None:
                given = ", ".join(map(shown, clips[:3]))
                raise cell_error(path, row.line, "clip", f"{cell!r} is none of the clips given ({given})")
            if names[name] > 1:
                raise cell_error(
                    path, row.line, "clip", f"{cell!r} could be {names[name]} of the clips; write its path"
                )
            clip = by_name[name]
        if lines.setdefault(clip, row.line) != row.line:
            raise cell_error(path, row.line, "clip", f"{cell!r} is the clip of row {lines[clip]} already; keep one")
        found[os.path.realpath(clip)] = row.cells["transcript"]
    return {clip: found[os.path.realpath(clip)] for clip in clips if os.path.realpath(clip) in found}


def _at_path(path: Path, cell: str, places: dict[str, str]) -> str | None:
    """The clip at a path, which is relative to the table or to the working folder."""
    for reading in _readings(cell):
        for place in (path.parent / reading, reading):
            try:
                clip = places.get(os.path.realpath(place))
            except ValueError:  # a NUL in it
                continue
            if clip is not None:
                return clip
    return None


def _readings(cell: str) -> list[str]:
    """A name as it stands, and what it is the form of."""
    return list(dict.fromkeys([cell, raw_name(cell)]))


def spoken(path: Path, text: str) -> str:
    r"""Take the words out of subtitles, without numbers, times, headers, marks and speakers.

    Args:
        path: File, for the message.
        text: Its content, SubRip or WebVTT.

    Returns:
        What is said, in one line.

    Raises:
        DataError: If no line of it tells times.

    Example:
        >>> print(spoken(Path("a.srt"), "1\n00:00:01,000 --> 00:00:02,000\n<i>ANNA: Well, 3 &amp; 4.</i>\n- I see.\n"))
        Well, 3 & 4. I see.
    """
    said: list[str] = []
    timed = False
    for block in re.split(r"\n[ \t]*\n", "\n".join(text.splitlines())):
        lines = block.strip("\n").split("\n")
        times = [i for i, line in enumerate(lines) if _TIMES.match(line)]
        if not times and (not timed or lines[0].split(maxsplit=1)[:1] in [[word] for word in _NO_CUES]):
            continue
        # The line before the times is a cue's number, or its name if the block begins with it.
        names = {i - 1 for i in times if i == 1 or (i > 1 and lines[i - 1].strip().isdigit())}
        first = 0 if timed else times[0]
        said += [line for i, line in enumerate(lines) if i >= first and i not in times and i not in names]
        timed = True
    if not timed:
        raise DataError(f"{path}: no line of it tells times as 00:00:01,000 --> 00:00:02,000; give a text as .txt")
    words = (_SPEAKER.sub("", html.unescape(_TAG.sub("", line))).strip() for line in said)
    return " ".join(filter(None, words))
