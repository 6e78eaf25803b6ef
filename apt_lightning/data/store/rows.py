"""Rows of a store: what each writer has committed, a JSON line a clip, and how several writers merge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from apt_lightning.common.errors import StoreError
from apt_lightning.data.faults import FAULTS, Fault, Outcome

N_FUNCTIONALS = 88
"""eGeMAPSv02 functionals; the row length of ``audio.f4``."""
ROWS, AUDIO, FRAMES = "rows.jsonl", "audio.f4", "frames.bin"
"""Files of a shard."""

Row = dict[str, Any]


def status_of(faults: Iterable[Fault]) -> str:
    """``left out``, ``degraded`` or ``ok``, by the gravest of a clip's faults."""
    outcomes = {FAULTS[fault.code].outcome for fault in faults}
    if outcomes & {Outcome.LEFT_OUT, Outcome.STOPS}:
        return "left out"
    return "degraded" if Outcome.DEGRADED in outcomes else "ok"


def read_lines(path: Path) -> Iterator[Row]:
    """Yield the JSON objects of a file of lines; a last line without its end was not committed.

    Raises:
        StoreError: If another line is not a JSON object.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise StoreError(f"{path} line {number} is damaged; delete {path.parent} and run `apt prepare`")
            yield row


def audio_end(row: Row) -> int:
    """Bytes of ``audio.f4`` that a row rests on."""
    return 0 if row["audio"] is None else int(row["audio"] + 1) * N_FUNCTIONALS * 4


def frames_end(row: Row) -> int:
    """Bytes of ``frames.bin`` that a row rests on."""
    return max((offset + length for offset, length, _ in row["frames"]), default=0)


def shard_rows(shard: Path) -> Iterator[Row]:
    """Yield the committed rows of one shard; a row whose data were lost, by a power cut say, is left away."""
    audio, frames = (path.stat().st_size if path.exists() else 0 for path in (shard / AUDIO, shard / FRAMES))
    for row in read_lines(shard / ROWS):
        try:
            whole = audio_end(row) <= audio and frames_end(row) <= frames
            _ = row["name"] + row["key"], row["revision"] + 1
            if any(offset < 0 or length < 0 for offset, length, _ in row["frames"]):
                raise ValueError("a picture before the begin of its file")
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{shard / ROWS} is damaged ({error!r}); delete {shard} and run `apt prepare`") from None
        if whole:
            yield row


def line_of(row: Row) -> bytes:
    """The line that holds a row; reading it and writing it again gives the same bytes."""
    return json.dumps(row).encode() + b"\n"


def newest_rows(store: Path, key: str) -> dict[str, tuple[str, Row]]:
    """Merge what all writers have committed: per clip the newest row made with the given settings.

    Args:
        store: Folder of the store.
        key: ``key`` of the manifest, the digest of the extraction settings.

    Returns:
        Clip name -> (shard folder name, row).

    Raises:
        StoreError: If a line of a shard is damaged.
    """
    rows: dict[str, tuple[str, Row]] = {}
    for file in sorted(store.glob(f"shards/*/{ROWS}")):
        for row in shard_rows(file.parent):
            old = rows.get(row["name"])
            if row["key"] == key and (old is None or row["revision"] >= old[1]["revision"]):
                rows[row["name"]] = (file.parent.name, row)
    return rows
