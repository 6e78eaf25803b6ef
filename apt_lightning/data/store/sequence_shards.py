"""What each process of `apt encode` has done so far: values appended to a file, a clip committed by one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.files import locked
from apt_lightning.data.store.rows import Row, line_of, read_lines

ROWS, VALUES = "rows.jsonl", "values.bin"


class SequenceWriter:
    """The one writer of a shard; opening it cuts away what a killed writer had begun and not committed.

    Args:
        folder: Folder of the shard, made if need be.
        key: Digest of the specification, stored with every row.

    Raises:
        StoreError: If another process writes this shard.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.key = key
        self._lock = locked(folder / "lock")
        self._lock.__enter__()
        rows = shard_rows(folder)
        self._end = max((row["offset"] + row["bytes"] for row in rows), default=0)
        self._files = {name: os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o666) for name in (VALUES, ROWS)}
        self._ends = {VALUES: self._end, ROWS: sum(len(line_of(row)) for row in rows)}
        self._cut()

    def _cut(self) -> None:
        for name, end in self._ends.items():
            os.ftruncate(self._files[name], end)
            os.lseek(self._files[name], end, os.SEEK_SET)

    def append(self, row: Row, values: npt.NDArray[Any], times: npt.NDArray[np.float64]) -> None:
        """Commit one clip.

        Args:
            row: ``name``, ``faults``, ``size``, ``mtime``.
            values: (T, L, D); T may be 0.
            times: (T,) in s.

        Raises:
            OSError: If the disk is full, among others; the shard is then as before.
        """
        data = np.ascontiguousarray(values).tobytes() + np.asarray(times, "<f8").tobytes()
        about = {"key": self.key, "offset": self._ends[VALUES], "bytes": len(data)}
        line = line_of(row | about | {"shape": list(values.shape), "dtype": values.dtype.str})
        try:
            for name, written in ((VALUES, data), (ROWS, line)):
                view = memoryview(written)
                while view:
                    view = view[os.write(self._files[name], view) :]
        except BaseException:
            self._cut()
            raise
        self._ends[VALUES] += len(data)
        self._ends[ROWS] += len(line)

    def close(self) -> None:
        """Close the files and release the shard."""
        for file in self._files.values():
            os.close(file)
        self._lock.__exit__(None, None, None)


def shard_rows(folder: Path) -> list[Row]:
    """The committed rows of a shard whose data are there."""
    if not (folder / ROWS).exists():
        return []
    size, rows = (folder / VALUES).stat().st_size, []
    for row in read_lines(folder / ROWS):
        if row["offset"] + row["bytes"] > size:
            break  # lost by a power cut, and all that follows with it
        rows.append(row)
    return rows


def done_rows(folder: Path, key: str) -> dict[str, tuple[Path, Row]]:
    """Clip name to the shard and the newest row of it, of all processes."""
    return {
        row["name"]: (file.parent, row)
        for file in sorted(folder.glob(f"shards/*/{ROWS}"))
        for row in shard_rows(file.parent)
        if row["key"] == key
    }


def read_row(shard: Path, row: Row) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Values (T, L, D) and times (T,) of a row."""
    with open(shard / VALUES, "rb") as file:
        file.seek(row["offset"])
        data = file.read(row["bytes"])
    end = len(data) - 8 * row["shape"][0]
    return np.frombuffer(data[:end], row["dtype"]).reshape(row["shape"]), np.frombuffer(data[end:], "<f8")
