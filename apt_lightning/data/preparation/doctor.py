"""Every clip opened and every fault named: what is wrong, and what the other commands will do about it."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from apt_lightning.common.console import bar
from apt_lightning.common.errors import StoreError
from apt_lightning.common.files import write_csv, write_json
from apt_lightning.common.tables import render
from apt_lightning.data.collection.archives import unpack_data
from apt_lightning.data.collection.collection import read_collection
from apt_lightning.data.collection.folder import others_text
from apt_lightning.data.faults import FAULTS, Fault, Outcome
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.index import index_entries
from apt_lightning.data.preparation.pool import run_pool
from apt_lightning.data.preparation.share import DEFAULTS, Options, settings_of, worker_count
from apt_lightning.data.store.index import duplicates, needs_row
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import status_of
from apt_lightning.data.text.tokens import tokenize

STATUSES = ("ok", "degraded", "left out")


@dataclass(frozen=True)
class Diagnosis:
    """State of every clip of a data set or store."""

    statuses: dict[str, str]
    """Clip name -> ``ok``, ``degraded`` or ``left out``."""
    faults: list[Fault]
    """Every fault, those of files that are no clip of the set included."""
    others: dict[str, int] = field(default_factory=dict)
    """Files of the folder that are no clips: kind -> how many."""

    def severity(self) -> Outcome:
        """The gravest outcome of any fault; ``handled`` if there is none."""
        order = list(Outcome)
        return max((FAULTS[fault.code].outcome for fault in self.faults), key=order.index, default=Outcome.HANDLED)

    def counts(self) -> str:
        """One line that accounts for every clip.

        Example:
            >>> print(Diagnosis({"a.mp4": "ok", "b.mp4": "left out"}, []).counts())
            2 clips given = 1 ok + 0 degraded + 1 left out
        """
        count = Counter(self.statuses.values())
        parts = " + ".join(f"{count[status]} {status}" for status in STATUSES)
        return f"{len(self.statuses)} clips given = {parts}"

    def account(self) -> str:
        """:meth:`counts`, and a line on the files that are no clips, if there are any."""
        return "\n".join(filter(None, [self.counts(), others_text(self.others)]))

    def summary(self) -> str:
        """:meth:`account`, then faults by code, the gravest and most frequent first, with some of their clips."""
        found: dict[str, list[str]] = {}
        for fault in self.faults:
            found.setdefault(fault.code, []).append(fault.clip)
        order = list(Outcome)
        codes = sorted(found, key=lambda code: (-order.index(FAULTS[code].outcome), -len(found[code])))
        rows = [
            [code, str(len(found[code])), str(FAULTS[code].outcome), FAULTS[code].sentence, ", ".join(found[code][:3])]
            for code in codes
        ]
        head = ["fault", "clips", "outcome", "what it is", "for example"]
        return "\n\n".join([self.account(), *([render(head, rows)] if rows else [])])

    def table(self) -> str:
        """:meth:`account`, then one line a fault."""
        rows = [
            [
                fault.clip,
                fault.code,
                str(FAULTS[fault.code].outcome),
                FAULTS[fault.code].sentence + (fault.detail and f" ({fault.detail})"),
            ]
            for fault in self.faults
        ]
        head = ["clip", "fault", "outcome", "what it is"]
        return "\n\n".join([self.account(), *([render(head, rows)] if rows else [])])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the faults to a machine-readable file, JSON if its name ends in ``.json``, CSV otherwise."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            write_json(path, self.to_dict())
        else:
            write_csv(path, ["clip", "code", "outcome", "sentence", "detail"], (row.values() for row in self._rows()))

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file."""
        count = Counter(self.statuses.values())
        counts = {status: count[status] for status in STATUSES}
        return {"clips": len(self.statuses), **counts, "other files": self.others, "faults": self._rows()}

    def _rows(self) -> list[dict[str, str]]:
        return [
            {
                "clip": fault.clip,
                "code": fault.code,
                "outcome": str(FAULTS[fault.code].outcome),
                "sentence": FAULTS[fault.code].sentence,
                "detail": fault.detail,
            }
            for fault in self.faults
        ]

    def quarantine(self, strict: bool) -> list[str]:
        """Names of the clips left out; if strict, of the degraded ones too."""
        return [name for name, status in self.statuses.items() if status == "left out" or (strict and status != "ok")]


def examine_data(data: str | os.PathLike[str], options: Options = DEFAULTS) -> Diagnosis:
    """Open every clip of a data set as ``apt prepare`` would, without its features.

    Args:
        data: Folder or CSV; archives in a folder are unpacked where they lie, as ``apt prepare`` does.
        options: Settings, number of workers, time limit and quarantine list of the preparation.

    Raises:
        DataError: If the data set itself cannot be read.
    """
    unpack_data(data)
    collection = read_collection(data)
    names = {clip.name for clip in collection.clips}
    faults = [fault for fault in collection.faults if fault.clip not in names]
    entries = index_entries(collection, options.quarantine)
    found = {
        entry["name"]: [Fault(code, entry["name"], detail) for code, detail in entry["faults"]] for entry in entries
    }
    for entry in entries:
        if (entry["transcript"] or "").strip() and not tokenize(entry["transcript"]):
            found[entry["name"]].append(Fault("no-known-word", entry["name"], "no word at all"))
    tasks = [
        Task(
            entry["name"],
            entry["path"],
            os.path.getsize(entry["path"]) if os.path.exists(entry["path"]) else 0,
        )
        for entry in entries
        if needs_row(entry)
    ]
    job = PoolJob(settings_of(options.extraction), extract=options.extract)
    sums: dict[str, str] = {}
    shown = bar(len(tasks), "clips", "clip", smoothing=0.1)
    workers = worker_count(options.workers, options.devices)
    with shown, closing(run_pool(tasks, job, workers, options.seconds)) as results:
        for result in results:
            found[result.task.name] += result.faults
            sums[result.task.name] = result.sha256
            shown.update()
    for fault in duplicates({name: sums[name] for name in found if sums.get(name)}):
        found[fault.clip].append(fault)
    statuses = {name: status_of(listed) for name, listed in found.items()}
    return Diagnosis(statuses, faults + [fault for listed in found.values() for fault in listed], collection.others)


def examine_store(store: Store) -> Diagnosis:
    """State of the clips of a store, after its data have been compared with the digests written beside them.

    Memory does not grow with the size of the features: they are read clip by clip.

    Raises:
        StoreError: If data have changed since they were written.
    """
    damaged = store.damaged()
    if damaged:
        raise StoreError(
            f"{len(damaged)} of {len(store)} clips of {store.path} do not hold what was written (first "
            f"{damaged[0]}); "
            f"delete {store.path / 'shards'} and run `apt prepare {store.manifest['data']} {store.path}`"
        )
    return diagnosis_of(store)


def diagnosis_of(store: Store) -> Diagnosis:
    """State of the clips of a store as its rows tell."""
    general = (Fault(*fault) for fault in store.manifest["faults"])
    return Diagnosis(
        {clip.name: clip.status for clip in store.clips},
        [*general, *(f for clip in store.clips for f in clip.faults)],
        store.manifest.get("others", {}),
    )
