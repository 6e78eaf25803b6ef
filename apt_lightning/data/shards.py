"""Writer of the feature store: each worker appends to a folder of its own and commits a clip by one line."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from apt_lightning.data.rows import (
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
from apt_lightning.errors import StoreError

TEMPORARY = ".part"
"""Suffix of files not yet renamed to their name; a following run removes those a killed one left."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it: readers see the old content or the new."""
    part = path.with_name(path.name + TEMPORARY)
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, blocking: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file, released by the kernel if the process dies.

    Args:
        path: The file, made if absent.
        blocking: Wait while others hold it.
        shared: Hold it beside others who hold it shared; alone if not.

    Raises:
        StoreError: If ``blocking`` is false and another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            raise StoreError(
                f"another process is writing {path.parent}; wait for it or end it. Several that share it, as under"
                " torchrun or srun, each need `--trainer.devices` and `--trainer.num_nodes`"
            ) from None
        yield
    finally:
        os.close(file)


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
        (folder / (ROWS + TEMPORARY)).unlink(missing_ok=True)
        rows = list(shard_rows(folder)) if (folder / ROWS).exists() else []
        lines = b"".join(map(line_of, rows))
        if rows and len(rows) < sum(1 for _ in read_lines(folder / ROWS)):
            write_atomic(folder / ROWS, lines)  # some rows have lost their data, by a power cut
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
