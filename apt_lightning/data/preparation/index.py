"""The index of a store: what a collection lists, with the faults known before any file is opened."""

from __future__ import annotations

import math
import os

from apt_lightning.common.console import say
from apt_lightning.common.errors import DataError
from apt_lightning.common.names import shown
from apt_lightning.data.collection.collection import Clip, Collection, read_collection
from apt_lightning.data.collection.name_lists import read_names
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.store.rows import Row


def _quarantined(collection: Collection, file: str) -> set[str]:
    listed, unknown = read_names(file, {clip.name for clip in collection.clips})
    if unknown:
        say(f"{len(unknown)} names of {file} are no clips of this set: {', '.join(map(shown, sorted(unknown)[:5]))}")
    return listed


def index_entries(collection: Collection, quarantine: str | None) -> list[Row]:
    """One entry a clip in the collection's order, as ``index.jsonl`` holds it (docs/store.md)."""
    quarantined = _quarantined(collection, quarantine) if quarantine else set()
    faults: dict[str, list[list[str]]] = {}
    for fault in collection.faults:
        faults.setdefault(fault.clip, []).append([fault.code, fault.detail])
    for name in quarantined:
        faults.setdefault(name, []).append(["quarantined", "named in the quarantine list"])

    def entry(clip: Clip) -> Row:
        return {
            "name": clip.name,
            "source": clip.source,
            "split": clip.split,
            "path": clip.path,
            "traits": [None if math.isnan(value) else value for value in clip.traits],
            "transcript": clip.transcript,
            "demographics": collection.demographics.get(clip.name, {}),
            "faults": faults.get(clip.name, []),
        }

    return [entry(clip) for clip in collection.clips]


def load_collection(data: str | os.PathLike[str], quarantine: str | None) -> tuple[Collection, list[Row]]:
    """Read a data set and make its index entries.

    Raises:
        DataError: If it holds no clip, or a fault that stops the run.
    """
    collection = read_collection(data)
    stops = [fault for fault in collection.faults if FAULTS[fault.code].outcome == Outcome.STOPS]
    if stops:
        raise DataError(f"{stops[0].clip}: {FAULTS[stops[0].code].sentence} ({stops[0].detail})")
    return collection, index_entries(collection, quarantine)
