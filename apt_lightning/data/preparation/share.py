"""A share of the clips, extracted into shards of its own: all of them, or those of one process of several."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from apt_lightning.common.console import bar
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import digest, locked
from apt_lightning.common.names import name_form
from apt_lightning.common.processes import core_count
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import Pool, Result, run_pool
from apt_lightning.data.store.index import needs_row
from apt_lightning.data.store.rows import Row, newest_rows
from apt_lightning.data.store.writer import ShardWriter

T = TypeVar("T")

SECONDS = 120.0
"""Time limit a clip; ours: about a hundred times what a 15 s clip takes."""


@dataclass(frozen=True)
class Options:
    """How to prepare."""

    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    vectors: str | None = None
    """GloVe or word2vec file; without one, vectors are trained on the training transcripts."""
    max_tokens: int = 80
    """K of the paper."""
    workers: int | None = None
    """Decoding processes; one a core if not given."""
    seconds: float = SECONDS
    """Time limit a clip."""
    quarantine: str | None = None
    """File of clip names that are left out unopened."""
    retry: bool = False
    """Open clips again on which the time limit was reached, the memory exhausted, or the decoder died."""
    extract: str = "apt_lightning.data.media.extract:extract_clip"
    """``module:function`` that the workers call."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Further arguments of it."""
    transcribe: str | None = None
    """Whisper model that writes down what is said: folder, or name."""
    only_missing: bool = False
    """Transcribe only the clips that come without a transcript."""
    language: str | None = None
    """Code of what is spoken; found by the model if not given."""
    allow_download: bool = False
    """Fetch the Whisper model from the Hugging Face hub if it is not on this machine."""
    devices: int = 1
    """Processes of a machine that share the clips, in Lightning's word."""
    num_nodes: int = 1
    """Machines that share the clips."""


DEFAULTS = Options()


def in_time(every: float | None, explain: bool) -> Options:
    """Options of a few clips that are also taken apart in time, which may take ten times as long.

    Args:
        every: Seconds of a window.
        explain: Whether to describe the sound in parts.

    Raises:
        UsageError: If windows are shorter than a second.
    """
    if every is not None and not every >= 1:
        raise UsageError(f"`--every` must be at least 1 s, got {every}")
    longer = every is not None or explain
    return Options(
        arguments={"every": every, "explain": explain} if longer else {}, seconds=SECONDS * (10 if longer else 1)
    )


def worker_count(workers: int | None, devices: int = 1) -> int:
    """Decoding processes: as asked for, or this process's share of the machine's cores."""
    return workers or max(1, core_count() // devices)


def dealt(items: Sequence[T], rank: int, world_size: int) -> list[T]:
    """The items of a share: dealt out in turn, each round beginning with the next share.

    So no share gets all clips of a kind in a collection that alternates.

    Example:
        >>> dealt("abcdef", 0, 2), dealt("abcdef", 1, 2)
        (['a', 'd', 'e'], ['b', 'c', 'f'])
    """
    return [item for i, item in enumerate(items) if (i + i // world_size) % world_size == rank]


def limit_reached(row: Row) -> bool:
    """Whether a clip has a fault of which another try may be free."""
    return any(code in ("timeout", "decoder-crash", "out-of-memory") for code, _ in row["faults"])


def settings_of(settings: ExtractionSettings) -> dict[str, Any]:
    """The settings as JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found


def extract(
    path: Path, entries: list[Row], options: Options, rank: int = 0, world_size: int = 1
) -> Generator[Result, None, None]:
    """Extract a share of the clips, each into a shard of the process that decodes it.

    Args:
        path: Folder of the store, whose index is written.
        entries: All clips of the index.
        options: How.
        rank: Number of this share, from 0.
        world_size: Number of shares.

    Yields:
        What became of each clip that was missing or changed, once it is in the store.

    Raises:
        StoreError: If another process does this share, or the store cannot be written.
    """
    settings = settings_of(options.extraction)
    key = digest(settings)
    with locked(path / f"rank{rank}.lock"):
        rows = newest_rows(path, key)
        tasks = [task for entry in dealt(entries, rank, world_size) for task in _tasks(entry, rows, options)]
        job = PoolJob(settings, str(path / "shards" / f"{rank}-"), options.extract)
        share = "" if world_size == 1 else f" (rank 0 of {world_size})"
        shown = bar(len(tasks), f"clips{share}", "clip", hidden=rank > 0, smoothing=0.1)
        workers = worker_count(options.workers, options.devices)
        with shown, closing(run_pool(tasks, job, workers, options.seconds)) as results:
            for result in results:
                if result.lost:
                    _record(path / "shards" / f"{rank}-lost", key, result)
                shown.update()
                yield result


@contextmanager
def extracting(clips: Sequence[str | os.PathLike[str]], options: Options = DEFAULTS) -> Iterator[Iterator[Result]]:
    """Extract a few clips in processes with limits of time and memory, and store nothing.

    The processes start when the block is entered, so that what else is slow can be done beside them.

    Args:
        clips: Files; one given twice is extracted once.
        options: Settings, number of workers and time limit.

    Yields:
        What became of each clip, in order of completion: ``task.path``, ``faults`` and ``extraction``.

    Raises:
        StoreError: If the processes cannot start.
    """
    paths = dict.fromkeys(os.fspath(clip) for clip in clips)
    tasks = [Task(name_form(os.path.basename(path)), path, size_and_time(path)[0]) for path in paths]
    job = PoolJob(settings_of(options.extraction), deliver=True, extract=options.extract, arguments=options.arguments)
    with closing(Pool(tasks, job, worker_count(options.workers, options.devices), options.seconds)) as pool:
        yield pool.results()


def _tasks(entry: Row, rows: dict[str, tuple[str, Row]], options: Options) -> list[Task]:
    """What is to be done for a clip: nothing if a row fits the file's size and time of change."""
    if not needs_row(entry):
        return []
    size, mtime = size_and_time(entry["path"])
    if entry["name"] not in rows:
        return [Task(entry["name"], entry["path"], size)]
    row = rows[entry["name"]][1]
    if (row["size"], row["mtime"]) == (size, mtime) and not (options.retry and limit_reached(row)):
        return []
    return [Task(entry["name"], entry["path"], size, row["revision"] + 1)]


def size_and_time(path: str) -> tuple[int, int]:
    """Bytes of a file and its time of change, ns; 0 and 0 if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _record(folder: Path, key: str, result: Result) -> None:
    """Commit the row of a clip whose worker is gone."""
    task = result.task
    size, mtime = size_and_time(task.path)
    row = {
        "name": task.name,
        "status": result.status,
        "faults": [[fault.code, fault.detail] for fault in result.faults],
        "sha256": "",
        "size": size,
        "mtime": mtime,
        "duration": 0.0,
        "revision": task.revision,
    }
    with ShardWriter(folder, key) as writer:
        writer.append(row, None, [], [])
