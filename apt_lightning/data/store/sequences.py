"""Named feature sets of a store: a sequence of steps a clip, in flat arrays that NumPy alone reads (docs/store.md)."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import StoreError, UsageError
from apt_lightning.common.files import digest, replacing, write_bytes, write_json
from apt_lightning.data.store.rows import Row, line_of, read_lines

FOLDER = "sequences"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""A modality or a set: part of file names and flags."""


@dataclass(frozen=True)
class FeatureSet:
    """One named feature set of a modality; arrays are memory-mapped."""

    modality: str
    name: str
    specification: dict[str, Any]
    """What the values rest on; the SHA-256 of the weights among it."""
    key: str
    """Digest of the specification."""
    clips: list[Row]
    """``name``, ``steps`` and ``faults`` of each clip, in the order of the store when it was written."""
    values: npt.NDArray[Any]
    """(sum of T, L, D), float16 to float64."""
    offsets: npt.NDArray[np.int64]
    """(N + 1,): the steps of clip n are ``values[offsets[n]:offsets[n + 1]]``; none if it lacks the set."""
    times: npt.NDArray[np.float64]
    """(sum of T,) middle of each step in s; NaN where there is no time."""
    sha256: str
    """Digest of the arrays' content."""
    origin: dict[str, Any] | None
    """``encoder`` as ``KIND:NAME``, and the paths of ``weights`` and ``detector`` as given; None if made elsewhere."""
    path: Path

    @property
    def covered(self) -> int:
        """Clips that have at least one step."""
        return int((np.diff(self.offsets) > 0).sum())

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.path.glob("*-*"))

    @property
    def source(self) -> str:
        """Encoder, or the file it is from."""
        return str(self.specification.get("encoder") or self.specification.get("from", ""))

    def to_dict(self) -> dict[str, Any]:
        """What there is of it, plain data."""
        return {
            "modality": self.modality,
            "set": self.name,
            "covered": self.covered,
            "clips": len(self.clips),
            "shape": list(self.values.shape),
            "dtype": str(self.values.dtype),
            "bytes": self.bytes,
            "key": self.key,
            "of": self.source,
        }

    def spans(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """(len(names), 2) first and end step of each clip; equal where it has none."""
        at = {row["name"]: i for i, row in enumerate(self.clips)}
        rows = np.array([at.get(name, -1) for name in names], np.int64)
        ends = np.stack([self.offsets[:-1], self.offsets[1:]], axis=1)
        return np.where(rows[:, None] >= 0, ends[rows], 0) if len(ends) else np.zeros((len(rows), 2), np.int64)


def set_folder(store: Path, modality: str, name: str) -> Path:
    """Where a feature set lies.

    Raises:
        UsageError: If the modality or the set has no proper name.
    """
    for what, given in (("MODALITY", modality), ("`--name`", name)):
        if not NAME.fullmatch(given):
            raise UsageError(
                f"expected {what} of up to 32 small letters, digits and underscores, a letter first, got {given!r:.60}"
            )
    return store / FOLDER / modality / name


def read_set(folder: Path) -> FeatureSet:
    """Open a feature set.

    Raises:
        StoreError: If it is absent or damaged.
    """
    try:
        meta = json.loads((folder / "set.json").read_text(encoding="utf-8"))
        stem = meta["stem"]
        values, offsets, times = (
            np.load(folder / f"{part}-{stem}.npy", mmap_mode="r", allow_pickle=False)
            for part in ("values", "offsets", "times")
        )
        clips = list(read_lines(folder / f"clips-{stem}.jsonl"))
        if len(offsets) != len(clips) + 1 or offsets[-1] != len(values) or times.shape != values.shape[:1]:
            raise ValueError("its arrays do not fit each other")
        about = (meta["specification"], meta["key"], clips, values, offsets, times, meta["sha256"], meta.get("origin"))
    except FileNotFoundError:
        there = ", ".join(sorted(file.parent.name for file in folder.parent.glob("*/set.json"))) or "none"
        raise StoreError(
            f"the store has no feature set {folder.name!r} of {folder.parent.name}, only {there}; see `apt encode`"
        ) from None
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{folder} is damaged ({error}); delete it and run `apt encode` again") from error
    return FeatureSet(folder.parent.name, folder.name, *about, folder)


def feature_sets(store: Path) -> list[FeatureSet]:
    """All feature sets of a store, by modality and name."""
    return [read_set(file.parent) for file in sorted((store / FOLDER).glob("*/*/set.json"))]


def write_set(
    folder: Path,
    specification: dict[str, Any],
    clips: Iterable[tuple[Row, npt.NDArray[Any], npt.NDArray[Any]]],
    origin: dict[str, Any] | None = None,
) -> FeatureSet:
    """Write a set in place of what is there; a reader sees the old one or the new.

    Args:
        folder: Of :func:`set_folder`.
        specification: Plain data.
        clips: In the order of the store: row, values (T, L, D), times (T,). One clip is in memory at a time.
        origin: See :class:`FeatureSet`; no part of the key.

    Raises:
        StoreError: If no clip has a step.
    """
    content = sha256()
    rows: list[Row] = []
    offsets, times = [0], []
    shape, dtype = None, None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as part:
        for row, values, seconds in clips:
            if len(values):
                shape, dtype = shape or values.shape[1:], dtype or values.dtype
                if (values.shape[1:], values.dtype) != (shape, dtype):
                    raise StoreError(f"{folder}: {row['name']} has {values.shape[1:]} {values.dtype}, others {shape}")
                data = np.ascontiguousarray(values).tobytes()
                part.write(data)
                content.update(data)
                times.append(np.asarray(seconds, "<f8"))
            rows.append(row | {"steps": len(values)})
            offsets.append(offsets[-1] + len(values))
        if shape is None or dtype is None:
            raise StoreError(f"no clip has anything of {folder.parent.name} for {folder.name}; `apt doctor` says why")
        lines = b"".join(map(line_of, rows))
        content.update(lines + np.array(offsets, "<i8").tobytes())
        stem = digest([content.hexdigest(), digest(specification)])
        with replacing(folder / f"values-{stem}.npy") as whole, whole.open("wb") as out:
            # Not memory-mapped: a full disk would end the process by SIGBUS.
            header = {"descr": dtype.str, "fortran_order": False, "shape": (offsets[-1], *shape)}
            np.lib.format.write_array_header_1_0(out, header)
            part.seek(0)
            shutil.copyfileobj(part, out, 1 << 24)
    for name, array in (("offsets", np.array(offsets, "<i8")), ("times", np.concatenate(times))):
        with replacing(folder / f"{name}-{stem}.npy") as whole, whole.open("wb") as out:
            np.save(out, array, allow_pickle=False)
    write_bytes(folder / f"clips-{stem}.jsonl", lines)
    about = {"stem": stem, "key": digest(specification), "sha256": content.hexdigest()}
    write_json(folder / "set.json", about | {"specification": specification, "origin": origin})
    for old in folder.glob("*-*"):
        if stem not in old.name:
            old.unlink()
    return read_set(folder)


def clips_of(found: FeatureSet) -> Iterator[tuple[Row, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Row, values and times of each clip of a set."""
    for row, start, end in zip(found.clips, found.offsets[:-1], found.offsets[1:], strict=True):
        yield row, found.values[start:end], found.times[start:end]


def describe(found: FeatureSet) -> dict[str, Any]:
    """What a network that reads a set must know of it, plain data."""
    _, layers, dim = found.values.shape
    return {
        "name": found.name,
        "layers": layers,
        "dim": dim,
        "key": found.key,
        "specification": found.specification,
        "origin": found.origin,
    }
