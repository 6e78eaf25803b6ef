"""Many clips over many expendable worker processes: largest first, with a time limit a clip."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from apt_lightning.common.errors import StoreError
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.container import REMEDY
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.child import PoolJob, Task, Worker
from apt_lightning.data.preparation.delivery import received
from apt_lightning.data.store.rows import Row

ATTEMPTS = 2
"""Times a clip is given to a worker before a dying worker is held against the clip: the first may have been
killed by something else, such as the kernel short of memory."""
START = 60.0
"""Seconds that a process may take to start."""
GRACE = 5.0
"""Seconds that a worker on its way out has before it is killed."""


class Result(NamedTuple):
    """What became of one clip."""

    task: Task
    status: str
    faults: list[Fault]
    sha256: str
    lost: bool
    """Whether the worker was killed or died on the clip, so that nothing of it is in a shard."""
    extraction: Extraction | None = None
    """What was extracted, if the job is to deliver it and any of it can be used."""


class Pool:
    """Worker processes that open clips; they start with the object, before anybody waits for a result.

    A worker that met an exhausted memory or an unforeseen exception gets no other clip, and a clip is blamed only if it
    fails in a worker that had no clip before.

    Args:
        tasks: Clips.
        job: What to do with them.
        workers: Number of processes.
        seconds: Time limit a clip, and for a worker to start.

    Raises:
        StoreError: If workers cannot start.
    """

    def __init__(self, tasks: Sequence[Task], job: PoolJob, workers: int, seconds: float) -> None:
        self._job = job
        self._workers = workers
        self._seconds = seconds
        self._waiting = deque(sorted(tasks, key=lambda task: -task.size))
        self._again: deque[Task] = deque()
        self._deaths: dict[Task, int] = {}
        self._failed_starts = 0
        self._live: set[Worker] = set()
        self._selector = selectors.DefaultSelector()
        try:
            for number in range(min(workers, len(tasks))):
                self._start(number)
        except BaseException:
            self.close()
            raise

    def results(self) -> Generator[Result, None, None]:
        """Open every clip once and yield what became of it, in order of completion.

        A clip on which a worker takes longer than the limit is lost to the fault ``timeout``; one on which two workers
        die, to ``decoder-crash``. The other clips go on meanwhile.

        Whoever takes the results may be slow, as an encoder is: the time until the next is asked for counts for none.

        Raises:
            StoreError: If workers cannot start or cannot write.
        """
        for result in self._results():
            asked = time.monotonic()
            yield result
            for worker in self._live:
                worker.since += time.monotonic() - asked

    def _results(self) -> Generator[Result, None, None]:
        while self._live:
            left = min(map(self._deadline, self._live)) - time.monotonic()
            for key, _ in self._selector.select(max(0.0, left)):
                worker: Worker = key.data
                rows = worker.answers()
                if rows is None:
                    yield from self._died(worker)
                for row in rows or ():
                    yield from self._answered(worker, row)
            now = time.monotonic()
            for worker in [worker for worker in self._live if now >= self._deadline(worker)]:
                yield from self._late(worker)

    def _deadline(self, worker: Worker) -> float:
        """When its clip is late, or its start, which on a busy machine takes longer than a clip may."""
        return worker.since + (self._seconds if worker.ready else max(self._seconds, START))

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._live):
            self._stop(worker)
        self._selector.close()

    def _start(self, number: int) -> None:
        try:
            worker = Worker(self._job, number)
        except OSError as error:
            raise StoreError(
                f"decoding process {number + 1} of {self._workers} cannot start ({error.strerror}); give fewer by"
                " `--workers`, or allow more open files by `ulimit -n`"
            ) from None
        self._live.add(worker)
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        if self._again or self._waiting:
            # It reads the task as soon as it has started, however long nobody asks it whether it has.
            worker.give(self._again.popleft() if self._again else self._waiting.popleft())

    def _stop(self, worker: Worker, grace: float = 0.0) -> str:
        self._live.discard(worker)
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        return worker.end(grace)

    def _replace(self, worker: Worker, grace: float = 0.0) -> str:
        """End a worker; a new one takes its place if there is work, first that which needs a new one."""
        why = self._stop(worker, grace)
        if self._again or self._waiting:
            self._start(worker.number)
        return why

    def _answered(self, worker: Worker, row: Row) -> Iterable[Result]:
        if "fatal" in row:
            raise StoreError(f"{row['fatal']}; make room, then the same command goes on where it stopped")
        if "ready" in row:
            self._failed_starts, worker.ready, worker.since = 0, True, time.monotonic()
            return
        task = worker.task
        assert task is not None
        if row.get("again"):
            self._again.append(task)
            self._replace(worker, GRACE)
            return
        faults = [Fault(code, task.name, detail) for code, detail in row["faults"]]
        about = row.get("extraction")
        extraction = None if about is None else received(about, row["data"], faults, row["sha256"])
        yield Result(task, row["status"], faults, row["sha256"], False, extraction)
        if row["last"] or not self._waiting:
            self._replace(worker, GRACE if row["last"] else 0.0)
        else:
            worker.fresh = False
            worker.give(self._waiting.popleft())

    def _died(self, worker: Worker) -> Iterable[Result]:
        task = worker.task
        assert task is not None
        if not worker.ready:
            self._failed_starts += 1
            self._again.append(task)
            why = self._stop(worker, GRACE)
            if self._failed_starts > self._workers:
                raise StoreError(f"decoding processes do not start: {why}")
            self._start(worker.number)
            return
        self._deaths[task] = self._deaths.get(task, 0) + 1
        if self._deaths[task] < ATTEMPTS:
            self._again.append(task)
            self._replace(worker, GRACE)
        else:
            why = self._replace(worker, GRACE)
            yield _lost(task, "decoder-crash", f"the decoding process died: {why}")

    def _late(self, worker: Worker) -> Iterable[Result]:
        task = worker.task
        assert task is not None
        if not worker.ready:
            raise StoreError(
                f"a decoding process did not start within {max(self._seconds, START):g} s: {self._stop(worker)}"
            )
        if worker.fresh:
            self._replace(worker)
            yield _lost(task, "timeout", f"took longer than {self._seconds:g} s; {REMEDY}")
        else:
            self._again.append(task)
            self._replace(worker)


def _lost(task: Task, code: str, detail: str) -> Result:
    return Result(task, "left out", [Fault(code, task.name, detail)], "", True)


def run_pool(tasks: Sequence[Task], job: PoolJob, workers: int, seconds: float) -> Generator[Result, None, None]:
    """Yield the results of a :class:`Pool` that lasts as long as the generator."""
    with closing(Pool(tasks, job, workers, seconds)) as pool:
        yield from pool.results()
