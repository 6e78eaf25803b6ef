"""One decoding process: reads a task a line, extracts the clip, commits it to its own shard, answers a line.

Clips come from strangers and decoders are C code, so each worker runs under a memory limit, never imports
torch, dies with the process that started it and is expendable: whatever happens to it costs at most the clip
in its hands. One that met an exhausted memory or an unforeseen exception ends.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apt_lightning.common.errors import ClipError
from apt_lightning.common.files import digest
from apt_lightning.common.processes import die_with, limit_memory
from apt_lightning.data.faults import Fault
from apt_lightning.data.media.extraction import Extraction, ExtractionSettings
from apt_lightning.data.preparation.delivery import sent
from apt_lightning.data.store.rows import Row, status_of
from apt_lightning.data.store.writer import ShardWriter

Extract = Callable[..., Extraction]

SUSPECT = {"out-of-memory", "decoder-crash"}
"""Faults after which a process may not be what it was: it serves no further clip."""


def examine(
    task: Row, extract: Extract, settings: ExtractionSettings, functionals: bool
) -> tuple[Row, Extraction | None]:
    """Extract one clip, turning whatever goes wrong into a fault.

    Args:
        task: ``name``, ``path`` and ``revision``.
        extract: :func:`apt_lightning.data.media.extract.extract_clip`.
        settings: What to extract.
        functionals: Whether to run openSMILE.

    Returns:
        The row to store, and what was extracted if any of it can be used.
    """
    path, name = Path(task["path"]), task["name"]
    extraction, size, mtime = None, 0, 0
    try:
        with suppress(OSError, ValueError):  # the reader says what is wrong
            stat = path.stat()
            size, mtime = stat.st_size, stat.st_mtime_ns
        extraction = extract(path, name, settings, functionals=functionals)
        if extraction.functionals is not None and not np.isfinite(extraction.functionals).all():
            raise ClipError("decoder-crash", "the functionals are not finite")
        faults = extraction.faults
    except FileNotFoundError:
        faults = [Fault("missing-file", name, f"{path} is gone")]
    except ClipError as error:
        faults = [Fault(error.code, name, str(error).removeprefix(f"{name}: "))]
    except MemoryError:
        faults = [Fault("out-of-memory", name, "")]
    except Exception as error:
        faults = [Fault("decoder-crash", name, f"{type(error).__name__}: {error}")]
    status = status_of(faults)
    usable = None if status == "left out" else extraction
    row = {
        "name": name,
        "status": status,
        "faults": [[fault.code, fault.detail] for fault in faults],
        "sha256": "" if extraction is None else extraction.sha256,
        "size": size,
        "mtime": mtime,
        "duration": 0.0 if extraction is None else round(extraction.duration, 6),
        "revision": task["revision"],
    }
    return row, usable


def work(job: dict[str, Any], answer: Callable[..., None]) -> None:
    """Serve tasks from standard input until it ends.

    Args:
        job: First line of standard input, see :class:`apt_lightning.data.preparation.child.PoolJob`.
        answer: Sends one line back, and bytes that follow it.
    """
    module, function = job["extract"].split(":")
    extract: Extract = partial(getattr(importlib.import_module(module), function), **job["arguments"])
    settings = getattr(sys.modules[module], "SETTINGS", ExtractionSettings)(**job["settings"])
    shard = Path(job["shard"]) if job["shard"] else None
    writer = None if shard is None else ShardWriter(shard, digest(job["settings"]))
    limit_memory(job["memory"])
    answer({"ready": True})
    functionals = writer is not None or job["deliver"]
    for number, line in enumerate(sys.stdin):
        row, usable = examine(json.loads(line), extract, settings, functionals)
        last = any(code in SUSPECT for code, _ in row["faults"])
        if last and number > 0:
            answer({"again": True})  # it may be the fault of a clip before: a fresh process shall tell
            return
        if writer is not None:
            try:
                if usable is None:
                    writer.append(row, None, [], [])
                else:
                    writer.append(row, usable.functionals, usable.frames, usable.times)
            except OSError as error:
                answer({"fatal": f"cannot write {shard}: {error.strerror}"})
                return
        told = {key: row[key] for key in ("status", "faults", "sha256")} | {"last": last}
        data = b""
        if job["deliver"] and usable is not None:
            told["extraction"], data = sent(usable)
        answer(told, data)
        if last:
            return


def main() -> None:
    """Run one worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    die_with(job["parent"])
    # Decoders and openSMILE may print; the pipe to the parent carries our answers only.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def answer(row: Row, data: bytes = b"") -> None:
        pipe.write(json.dumps(row | {"bytes": len(data)}).encode() + b"\n")
        pipe.write(data)
        pipe.flush()

    work(job, answer)


if __name__ == "__main__":
    main()
