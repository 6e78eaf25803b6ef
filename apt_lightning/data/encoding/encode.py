"""From the clips of a store to one named feature set: what is missing or changed is encoded, everything else stays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from apt_lightning.common.console import bar
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import digest, locked
from apt_lightning.data.encoding.encoder import Choice
from apt_lightning.data.encoding.pooling import Pooling
from apt_lightning.data.encoding.recipe import NOTHING, TAKE, Made, Recipe, recipe
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.material import Material, Take, Taken
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import Result, run_pool
from apt_lightning.data.preparation.share import SECONDS, dealt, limit_reached, size_and_time, worker_count
from apt_lightning.data.store.index import StoredClip
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import Row, status_of
from apt_lightning.data.store.sequence_shards import SequenceWriter, done_rows, read_row
from apt_lightning.data.store.sequences import FeatureSet, clips_of, read_set, set_folder, write_set


@dataclass(frozen=True)
class Encoding:
    """What to encode, and how."""

    choice: Choice
    name: str
    """Of the feature set."""
    take: Take
    pooling: Pooling | None = field(default_factory=Pooling)
    """Of dense encoders; None keeps every step."""
    dtype: Literal["float16", "float32"] = "float16"
    """Of the values stored."""
    batch: int = 8
    """Clips in one call of the encoder."""
    workers: int | None = None
    """Decoding processes; one a core if not given."""
    seconds: float = SECONDS
    """Time limit a clip."""
    retry: bool = False
    """Open clips again on which a limit was reached or the decoder died."""
    extract: str = TAKE
    """``module:function`` that the decoding processes call."""
    devices: int = 1
    """Processes of a machine that share the clips, in Lightning's word."""
    num_nodes: int = 1
    """Machines that share the clips."""


@dataclass(frozen=True)
class Plan:
    """All that the processes of an encoding agree on."""

    store: Store
    folder: Path
    """Of the feature set."""
    recipe: Recipe
    specification: dict[str, Any]
    """Of the recipe; its digest is the key of the set."""
    encoding: Encoding


def prepared(store: Store, modality: str, encoding: Encoding) -> Plan:
    """Load the encoder and say what it is to read.

    Raises:
        UsageError: If it cannot be loaded or does not fit the modality.
    """
    made = recipe(encoding.choice, encoding.take, encoding.pooling, encoding.dtype)
    return Plan(store, set_folder(store.path, modality, encoding.name), made, made.specification, encoding)


def encode_store(store: Store, modality: str, encoding: Encoding) -> FeatureSet | None:
    """Bring a feature set up to date with the clips of a store; interrupted at any moment, the next call goes on.

    Args:
        store: A finished store, whose media are opened again.
        modality: What the set is of.
        encoding: How.

    Returns:
        The set; None if clips of other processes are still to do.

    Raises:
        UsageError: If the encoder cannot be loaded or does not fit the modality.
        StoreError: If the store cannot be written, or no clip has anything to encode.
    """
    plan = prepared(store, modality, encoding)
    if encoding.devices * encoding.num_nodes == 1:
        for _ in encode_share(plan, 0, 1):
            pass
    else:
        from apt_lightning.data.preparation.distribute import predict_share

        predict_share(partial(encode_share, plan), encoding.devices, encoding.num_nodes)
    with locked(plan.folder / "join.lock", blocking=True):
        return _join(plan)


def encode_share(plan: Plan, rank: int, world_size: int) -> Generator[Result, None, None]:
    """Encode the clips of a share that are missing, and yield what became of each once it is in its shard.

    Args:
        plan: Of :func:`prepared`.
        rank: Number of this share, from 0.
        world_size: Number of shares.

    Raises:
        StoreError: If another process does this share.
    """
    store, folder, take, encoding = plan.store, plan.folder, plan.recipe.take, plan.encoding
    key = digest(plan.specification)
    done = _done(folder, key)
    own = dealt(store.clips, rank, world_size)
    tasks = {task.name: task for clip in own if (task := _task(clip, take, done, encoding.retry)) is not None}
    words = {clip.name: clip.transcript or "" for clip in own}
    if take.sense == "words":
        alike = sorted(tasks.values(), key=lambda task: -task.size)  # a batch is padded to its longest
        results: Iterator[Result] = (Result(task, "ok", [], "", False) for task in alike)
    else:
        workers = worker_count(encoding.workers, encoding.devices)
        job = PoolJob(asdict(take), extract=encoding.extract, deliver=True)
        results = run_pool(list(tasks.values()), job, workers, encoding.seconds)
    writer = SequenceWriter(folder / "shards" / str(rank), key)
    shown = bar(len(tasks), encoding.name, "clip", hidden=rank > 0, smoothing=0.1)

    def make(batch: list[Result]) -> dict[Task, Made]:
        found = ((result.task, _material(result, words, take)) for result in batch)
        there = {task: material for task, material in found if material is not None}
        return dict(zip(there, plan.recipe.make(list(there.values())), strict=True))

    batches = iter(lambda: list(islice(results, encoding.batch)), [])
    with closing(writer), shown:
        for batch, made in _beside(batches, make):
            for result in batch:
                one = made.get(result.task, NOTHING)
                faults = [[fault.code, fault.detail] for fault in result.faults] + one.faults
                size, mtime = _stamp(result.task, take)
                row = {"name": result.task.name, "faults": faults, "size": size, "mtime": mtime}
                writer.append(row, one.values, one.times)
                shown.update()
                yield result


def _beside(
    batches: Iterable[list[Result]], make: Callable[[list[Result]], dict[Task, Made]]
) -> Generator[tuple[list[Result], dict[Task, Made]], None, None]:
    """Each batch with what is made of it, while the next one is fetched: neither waits for the other."""
    running: list[tuple[list[Result], Future[dict[Task, Made]]]] = []
    with ThreadPoolExecutor(1) as thread:
        for batch in chain(batches, [None]):
            done = [(one, future.result()) for one, future in running]
            running = [] if batch is None else [(batch, thread.submit(make, batch))]
            yield from done


def _material(result: Result, words: dict[str, str], take: Take) -> Material | None:
    if take.sense == "words":
        return Material(words=words[result.task.name])
    return result.extraction.material if isinstance(result.extraction, Taken) else None


def _task(clip: StoredClip, take: Take, done: dict[str, Row], retry: bool) -> Task | None:
    """What is to be done for a clip: nothing if it cannot be, or a row fits its file."""
    if any(fault.code == "quarantined" for fault in clip.faults):
        return None
    if take.sense == "words":
        if not (clip.transcript or "").strip():
            return None
        task = Task(clip.name, clip.transcript or "", len(clip.transcript or ""))
    elif clip.path is None:
        return None
    else:
        task = Task(clip.name, clip.path, size_and_time(clip.path)[0])
    row = done.get(clip.name)
    fits = row is not None and [row["size"], row["mtime"]] == list(_stamp(task, take))
    return None if row is not None and fits and not (retry and limit_reached(row)) else task


def _stamp(task: Task, take: Take) -> tuple[int, int | str]:
    """What tells a clip's file from a later one; of words, their digest."""
    return (len(task.path), digest(task.path)) if take.sense == "words" else size_and_time(task.path)


def _whole(folder: Path, key: str) -> FeatureSet | None:
    """The set as joined before, if it is of this specification."""
    if not (folder / "set.json").exists():
        return None
    found = read_set(folder)
    return found if found.key == key else None


def _done(folder: Path, key: str) -> dict[str, Row]:
    whole = _whole(folder, key)
    joined = {row["name"]: row for row in whole.clips if "mtime" in row} if whole else {}
    return joined | {name: row for name, (_, row) in done_rows(folder, key).items()}


def _join(plan: Plan) -> FeatureSet | None:
    """Put the shards of all processes, and what was joined before, into one set in the order of the store."""
    store, folder, take = plan.store, plan.folder, plan.recipe.take
    key = digest(plan.specification)
    done = _done(folder, key)
    if any(_task(clip, take, done, retry=False) is not None for clip in store.clips):
        return None
    shards, whole = done_rows(folder, key), _whole(folder, key)
    if whole is not None and not shards and [row["name"] for row in whole.clips] == [c.name for c in store.clips]:
        return whole
    before = {} if whole is None else {row["name"]: (row, values, times) for row, values, times in clips_of(whole)}

    def clips() -> Iterable[tuple[Row, npt.NDArray[Any], npt.NDArray[Any]]]:
        for clip in store.clips:
            if clip.name in shards:
                shard, row = shards[clip.name]
                kept = {name: row[name] for name in ("name", "faults", "size", "mtime")}
                yield kept, *read_row(shard, row)
            elif clip.name in before:
                yield before[clip.name]
            else:
                yield {"name": clip.name, "faults": []}, NOTHING.values, NOTHING.times

    choice = plan.encoding.choice
    origin = {"encoder": choice.encoder, "weights": choice.weights, "detector": take.detector}
    made = write_set(folder, plan.specification, clips(), origin)
    for shard in folder.glob("shards/*"):
        with locked(shard / "lock", blocking=True):  # another process may be about to close it
            for file in shard.iterdir():
                if file.name != "lock":
                    file.unlink()
    return made


def set_faults(found: FeatureSet) -> list[Fault]:
    """Every fault of a set's clips."""
    return [Fault(code, row["name"], detail) for row in found.clips for code, detail in row["faults"]]


def lost(found: FeatureSet) -> list[str]:
    """Clips that an encoder should have and has nothing of, for more than a degraded modality."""
    return [row["name"] for row in found.clips if status_of(Fault(c, "", d) for c, d in row["faults"]) == "left out"]


def sense_of(modality: str, reads: str | None) -> Any:
    """What an encoder of a modality reads.

    Raises:
        UsageError: If the modality is of a name of its own and nothing says what it is made of.
    """
    known = {"audio": "sound", "visual": "pictures", "face": "pictures", "text": "words"}
    sense = reads or known.get(modality)
    if sense is None:
        raise UsageError(f"say what {modality} is made of: `--reads sound`, `pictures` or `words`")
    return sense
