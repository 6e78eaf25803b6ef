"""One decoding process as its parent sees it: what it is to do, the clips it is given, its answers and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from apt_lightning.data.store.rows import Row

MEMORY_LIMIT = 4 << 30
"""Bytes of address space a worker may use; a clip of 15 s at 1280x720 takes 1.6 GiB, mapped libraries included."""


class Task(NamedTuple):
    """One clip to open."""

    name: str
    path: str
    size: int
    """Bytes of the file."""
    revision: int = 0
    """How often this clip has been done before."""


@dataclass(frozen=True)
class PoolJob:
    """What the workers of a pool do with each clip."""

    settings: dict[str, Any]
    """Fields of :class:`apt_lightning.data.media.extraction.ExtractionSettings`."""
    shard: str | None = None
    """Prefix of the shards' folders, completed by the worker's number; ``None`` stores nothing."""
    extract: str = "apt_lightning.data.media.extract:extract_clip"
    memory: int = MEMORY_LIMIT
    arguments: dict[str, Any] = field(default_factory=dict)
    """Further arguments of ``extract``."""
    deliver: bool = False
    """Whether to answer with what was extracted; else, without a shard, the clips are only checked."""


@dataclass(eq=False)
class Worker:
    """The process, which starts with the object; :mod:`apt_lightning.data.preparation.worker` is what it runs.

    Raises:
        OSError: If it cannot start.
    """

    job: PoolJob
    number: int
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    ready: bool = False
    fresh: bool = True
    """Whether it has had no clip before the one in its hands."""
    buffer: bytearray = field(default_factory=bytearray)
    begun: Row | None = None
    """Its line, where the bytes that follow are not all there."""

    def __post_init__(self) -> None:
        package = str(Path(__file__).parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apt_lightning.data.preparation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            # One core a worker is the pool's own plan; Ctrl-C is for the parent, which then ends the workers.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"},
            process_group=0,
        )
        shard = None if self.job.shard is None else f"{self.job.shard}{self.number}"
        self.send(asdict(self.job) | {"shard": shard, "parent": os.getpid()})

    def send(self, message: Row) -> None:
        """Write one line to it."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: the end of the other pipe tells
            self.process.stdin.write(json.dumps(message).encode() + b"\n")

    def give(self, task: Task) -> None:
        """Put a clip into its hands."""
        self.task, self.since = task, time.monotonic()
        self.send({"name": task.name, "path": task.path, "revision": task.revision})

    def answers(self) -> list[Row] | None:
        """What it has sent since, if whole, each a line and ``data``, the bytes that it says follow the line.

        ``None`` if the process has ended.
        """
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            return None
        searched = len(self.buffer)  # a long line is looked through once
        self.buffer += data
        rows = []
        while True:
            if self.begun is None:
                end = self.buffer.find(b"\n", searched) + 1
                if not end:
                    break
                self.begun, searched = json.loads(self.buffer[:end]), 0
                del self.buffer[:end]
            size = self.begun["bytes"]
            if len(self.buffer) < size:
                break
            rows.append(self.begun | {"data": self.buffer[:size]})
            del self.buffer[:size]
            self.begun, searched = None, 0
        return rows

    def end(self, grace: float) -> str:
        """End the process and say how it ended: its signal or exit status and the last line it printed.

        Args:
            grace: Seconds that a process on its way out has before it is killed.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            code = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        self.errors.close()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{f'signal {-code}' if code < 0 else f'exit status {code}'}{last and f', {last}'}"
