"""Many clips over many expendable worker processes: largest first, with a time limit a clip."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from apt_lightning.common.errors import StoreError
from apt_lightning.data.faults import Fault
from apt_lightning.data.store.rows import Row

MEMORY_LIMIT = 4 << 30
"""Bytes of address space a worker may use; a clip of 15 s at 1280x720 takes 1.6 GiB, mapped libraries included."""
ATTEMPTS = 2
"""Times a clip is given to a worker before a dying worker is held against the clip: the first may have been
killed by something else, such as the kernel short of memory."""


class Task(NamedTuple):
    """One clip to open."""

    name: str
    path: str
    size: int
    """Bytes of the file."""
    revision: int = 0
    """How often this clip has been done before."""


@dataclass(frozen=True)
class Job:
    """What the workers of a pool do with each clip."""

    settings: dict[str, Any]
    """Fields of :class:`apt_lightning.data.media.extract.ExtractionSettings`."""
    shard: str | None = None
    """Prefix of the shards' folders, completed by the worker's number; ``None`` only checks the clips."""
    extract: str = "apt_lightning.data.media.extract:extract_clip"
    memory: int = MEMORY_LIMIT


class Result(NamedTuple):
    """What became of one clip."""

    task: Task
    status: str
    faults: list[Fault]
    sha256: str
    lost: bool
    """Whether the worker was killed or died on the clip, so that nothing of it is in a shard."""


@dataclass(eq=False)
class _Worker:
    job: Job
    number: int
    task: Task | None = None
    since: float = field(default_factory=time.monotonic)
    buffer: bytes = b""

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
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: the end of the other pipe tells
            self.process.stdin.write(json.dumps(message).encode() + b"\n")

    def give(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        self.send({"name": task.name, "path": task.path, "revision": task.revision})

    def answer(self) -> Row | None:
        """The line it has sent; an empty row if it is not whole yet; ``None`` if the process has ended."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self.buffer += data
        if not data:
            return None
        if not self.buffer.endswith(b"\n"):
            return {}
        line, self.buffer = self.buffer, b""
        row: Row = json.loads(line)
        return row

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


def run_pool(tasks: Sequence[Task], job: Job, workers: int, seconds: float) -> Generator[Result, None, None]:
    """Open every clip once and yield what became of it, in order of completion.

    A clip on which a worker takes longer than ``seconds`` is lost to the fault ``timeout``; one on which
    two workers die, to ``decoder-crash``. The other clips go on meanwhile.

    Args:
        tasks: Clips.
        job: What to do with them.
        workers: Number of processes.
        seconds: Time limit a clip, and for a worker to start.

    Yields:
        One result a task.

    Raises:
        StoreError: If workers cannot start or cannot write.
    """
    waiting = deque(sorted(tasks, key=lambda task: -task.size))
    attempts: dict[str, int] = {}
    failed_starts = 0
    with selectors.DefaultSelector() as selector:
        live: set[_Worker] = set()

        def start(number: int) -> None:
            worker = _Worker(job, number)
            live.add(worker)
            assert worker.process.stdout is not None
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

        def stop(worker: _Worker, grace: float = 0.0) -> str:
            live.discard(worker)
            assert worker.process.stdout is not None
            selector.unregister(worker.process.stdout)
            return worker.end(grace)

        def next_task(worker: _Worker) -> None:
            if waiting:
                worker.give(waiting.popleft())
            else:
                stop(worker)

        def lose(worker: _Worker, code: str, detail: str) -> Result:
            assert worker.task is not None
            if waiting:
                start(worker.number)
            return Result(worker.task, "left out", [Fault(code, worker.task.name, detail)], "", True)

        try:
            for number in range(min(workers, len(waiting))):
                start(number)
            while live:
                left = min(worker.since for worker in live) + seconds - time.monotonic()
                for key, _ in selector.select(max(0.0, left)):
                    worker: _Worker = key.data
                    row = worker.answer()
                    if row == {}:
                        continue
                    if row is not None and "fatal" in row:
                        raise StoreError(f"{row['fatal']}; make room, then the same command goes on where it stopped")
                    if row is not None and worker.task is None:
                        failed_starts = 0
                        next_task(worker)
                    elif row is not None:
                        task = worker.task
                        assert task is not None
                        faults = [Fault(code, task.name, detail) for code, detail in row["faults"]]
                        yield Result(task, row["status"], faults, row["sha256"], False)
                        next_task(worker)
                    else:
                        why = stop(worker, grace=5.0)
                        if worker.task is None:
                            failed_starts += 1
                            if failed_starts > workers:
                                raise StoreError(f"decoding processes do not start: {why}")
                            start(worker.number)
                        elif attempts.setdefault(worker.task.name, 1) < ATTEMPTS:
                            attempts[worker.task.name] += 1
                            waiting.append(worker.task)
                            start(worker.number)
                        else:
                            yield lose(worker, "decoder-crash", f"the decoding process died: {why}")
                now = time.monotonic()
                for worker in [worker for worker in live if now - worker.since >= seconds]:
                    why = stop(worker)
                    if worker.task is None:
                        raise StoreError(f"a decoding process did not start within {seconds:g} s: {why}")
                    yield lose(worker, "timeout", f"took longer than {seconds:g} s")
        finally:
            for worker in list(live):
                stop(worker)
