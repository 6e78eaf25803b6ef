"""The words of clips by a Whisper model: files are opened by the expendable workers, words are found here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from apt_lightning.common.console import bar
from apt_lightning.common.files import write_bytes
from apt_lightning.data.preparation.share import DEFAULTS, Options, extracting, size_and_time
from apt_lightning.data.store.index import needs_row
from apt_lightning.data.store.rows import Row, line_of, read_lines
from apt_lightning.data.text.transcribe import Transcriber

TRANSCRIPTS = "transcripts.jsonl"
"""File of a store: a line a clip that was transcribed, with the model, so that no clip is heard twice."""
CHUNK = 16
"""Clips whose sound is held in memory at once; the workers, whose time is limited, do not wait for the model."""

_SILENT_FAULTS = ("no-transcript", "empty-transcript")


def transcribe_clips(
    transcriber: Transcriber, clips: Sequence[str | os.PathLike[str]], options: Options = DEFAULTS
) -> Iterator[tuple[str, str | None]]:
    """Write down what is said in clips.

    Args:
        transcriber: The model.
        clips: Files; one given twice is heard once.
        options: Number of workers and time limit.

    Yields:
        Path and words of each clip: empty words where nobody speaks or there is no sound, ``None`` where the file
        cannot be read.

    Raises:
        StoreError: If the workers cannot start.
    """
    hearing = replace(options, extract="apt_lightning.data.media.extract:extract_speech")
    paths = list(dict.fromkeys(os.fspath(clip) for clip in clips))
    for first in range(0, len(paths), CHUNK):
        with extracting(paths[first : first + CHUNK], hearing) as results:
            opened = list(results)
        for result in opened:
            heard = result.extraction
            said = None if heard is None or heard.speech is None else transcriber.transcribe(heard.speech)
            yield result.task.path, said


def transcribe_entries(store: Path, entries: list[Row], options: Options) -> list[Row]:
    """Give index entries the words of ``options.transcribe``, each marked with the model that found them.

    What was heard is kept in :data:`TRANSCRIPTS` of the store, for the next call.

    Args:
        store: Folder of the store.
        entries: All clips; a given transcript is replaced unless ``options.only_missing``.
        options: How.

    Returns:
        Entries anew. One with words of the model has the key ``transcribed``: model and digest.

    Raises:
        UsageError: If there is no such model.
    """
    assert options.transcribe is not None
    wanted = [
        entry
        for entry in entries
        if needs_row(entry) and not (options.only_missing and (entry["transcript"] or "").strip())
    ]
    if not wanted:
        return entries
    transcriber = Transcriber(options.transcribe, options.language, options.allow_download)
    stamps = {
        entry["path"]: {"stamp": list(size_and_time(entry["path"])), "by": transcriber.source | _asked(options)}
        for entry in wanted
    }
    file = store / TRANSCRIPTS
    rows = list(read_lines(file)) if file.exists() else []
    said = {
        row["path"]: row["text"] for row in rows if row["path"] in stamps and stamps[row["path"]].items() <= row.items()
    }
    left = [path for path in stamps if path not in said]
    write_bytes(file, b"".join(map(line_of, rows)))  # without the last line of a killed run
    shown = bar(len(left), "transcripts", "clip")
    with file.open("ab") as lines, shown:
        for path, text in transcribe_clips(transcriber, left, options):
            shown.update()
            if text is not None:
                said[path] = text
                lines.write(line_of({"path": path, "text": text, **stamps[path]}))
                lines.flush()
    chosen = {id(entry) for entry in wanted}
    return [
        _with_words(entry, said[entry["path"]], transcriber.source)
        if id(entry) in chosen and entry["path"] in said
        else entry
        for entry in entries
    ]


def _asked(options: Options) -> dict[str, str]:
    return {} if options.language is None else {"language": options.language}


def _with_words(entry: Row, text: str, source: dict[str, str]) -> Row:
    faults = [fault for fault in entry["faults"] if fault[0] not in _SILENT_FAULTS]
    if not text:
        faults.append(["empty-transcript", f"{source['model']} hears nobody speak"])
    return entry | {"transcript": text, "transcribed": source, "faults": faults}
