"""What a store says of itself and of its clips: its manifest and the entries of its index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from apt_lightning.common.errors import StoreError
from apt_lightning.data.faults import Fault
from apt_lightning.data.store.rows import Row

FORMAT = "apt-lightning feature store"
VERSION = 1
PREPARED = {"audio": "functionals", "visual": "frames", "text": "tokens"}
"""The modalities that ``apt prepare`` makes, the first of every store, and what they hold."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """One clip of a store, usable or not."""

    name: str
    source: str
    """Source video; clips of one source belong on one side of any split."""
    split: str
    """``train``, ``validation``, ``test`` or ``unlabelled``."""
    path: str | None
    traits: tuple[float, ...]
    """Five labels in the order of :data:`apt_lightning.common.traits.TRAITS`; NaN where missing."""
    transcript: str | None
    """``None`` = none was given."""
    status: str
    """``ok``, ``degraded`` (used without a modality) or ``left out``."""
    faults: tuple[Fault, ...]
    demographics: dict[str, str]
    transcribed: dict[str, str] | None = None
    """Name and digest of the model that wrote the transcript down; ``None`` for one that was given."""


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises:
        StoreError: If the folder is no store, or one of another version.
    """
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"no feature store at {path}; make one with `apt prepare DATA {path}`") from None
    except (ValueError, RecursionError) as error:  # RecursionError: JSON of many levels
        raise StoreError(f"{file} is damaged ({error}); `apt prepare DATA {path}` writes it anew") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{file} is not the manifest of an {FORMAT}")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{path} is a store of version {manifest.get('version')}, this program reads version {VERSION}; "
            "make a new one with `apt prepare DATA STORE`"
        )
    return cast(dict[str, Any], manifest)


def needs_row(entry: Row) -> bool:
    """Whether the file of an index entry is to be opened: it has one, and is not quarantined."""
    return entry["path"] is not None and all(code != "quarantined" for code, _ in entry["faults"])


def duplicates(sums: Mapping[str, str]) -> Iterator[Fault]:
    """Name every clip whose file has the same bytes as an earlier one.

    Args:
        sums: Clip name -> SHA-256 of its file, in index order.

    Example:
        >>> [fault.clip for fault in duplicates({"a.mp4": "1", "b.mp4": "2", "c.mp4": "1"})]
        ['c.mp4']
    """
    first: dict[str, str] = {}
    for name, value in sums.items():
        if value in first:
            yield Fault("duplicate-content", name, f"the same bytes as {first[value]}")
        else:
            first[value] = name
