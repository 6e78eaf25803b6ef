"""Writer of the feature store: each worker appends to a folder of its own and commits a clip by one line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from apt_lightning.common.files import TEMPORARY, locked, write_bytes
from apt_lightning.data.store.rows import (
    AUDIO,
    FRAMES,
    N_FUNCTIONALS,
    ROWS,
    Row,
    audio_end,
    frames_end,
    line_of,
    read_lines,
    shard_rows,
)


class ShardWriter:
    """The one writer of a shard; opening it cuts away what a killed writer had begun and not committed.

    Data are written first and the line of ``rows.jsonl`` last, so that a row, once readable, is whole.

    Args:
        folder: Folder of the shard, made if need be.
        key: Digest of the extraction settings, stored with every row.

    Raises:
        StoreError: If another process writes this shard.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.key = key
        self._lock = locked(folder / "lock", blocking=True)
        self._lock.__enter__()
        for left in folder.glob(f"{ROWS}*{TEMPORARY}"):
            left.unlink()
        rows = list(shard_rows(folder)) if (folder / ROWS).exists() else []
        lines = b"".join(map(line_of, rows))
        if rows and len(rows) < sum(1 for _ in read_lines(folder / ROWS)):
            write_bytes(folder / ROWS, lines)  # some rows have lost their data, by a power cut
        self._ends = {
            ROWS: len(lines),
            AUDIO: max(map(audio_end, rows), default=0),
            FRAMES: max(map(frames_end, rows), default=0),
        }
        self._files = {
            name: os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666) for name in self._ends
        }
        self._cut()

    def _cut(self) -> None:
        for name, end in self._ends.items():
            os.ftruncate(self._files[name], end)
            os.lseek(self._files[name], end, os.SEEK_SET)

    def append(
        self,
        row: Row,
        functionals: npt.NDArray[np.float32] | None,
        frames: Sequence[bytes],
        times: Sequence[float],
    ) -> None:
        """Commit one clip.

        Args:
            row: What to store beside the data: name, status, faults, sha256, size, mtime, duration, revision.
            functionals: (88,) or ``None``.
            frames: JPEGs.
            times: Display time of each frame in s.

        Raises:
            OSError: If the disk is full, among others; the shard is then as before.
        """
        audio = b"" if functionals is None else np.ascontiguousarray(functionals, "<f4").tobytes()
        content = hashlib.sha256(audio)
        spans, offset = [], self._ends[FRAMES]
        for frame, time in zip(frames, times, strict=True):
            content.update(frame)
            spans.append([offset, len(frame), round(time, 6)])
            offset += len(frame)
        line = line_of(
            row
            | {
                "key": self.key,
                "content": content.hexdigest(),
                "audio": self._ends[AUDIO] // (N_FUNCTIONALS * 4) if audio else None,
                "frames": spans,
            }
        )
        data = {FRAMES: b"".join(frames), AUDIO: audio, ROWS: line}
        try:
            for name in (FRAMES, AUDIO, ROWS):
                view = memoryview(data[name])
                while view:
                    view = view[os.write(self._files[name], view) :]
        except BaseException:
            self._cut()
            raise
        for name, written in data.items():
            self._ends[name] += len(written)

    def close(self) -> None:
        """Close the files and release the shard."""
        for file in self._files.values():
            os.close(file)
        self._lock.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
