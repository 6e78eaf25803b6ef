"""Features made elsewhere, put into a store in place of ours or as a modality of their own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.files import digest, file_digest, locked, write_bytes
from apt_lightning.data.collection.arrays import check_arrays
from apt_lightning.data.collection.tables import read_text_file
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.reader import Store

FloatArray = npt.NDArray[np.float32]


NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""A modality: part of file names, flags and names of weights."""


class Placed(NamedTuple):
    """How given features match the clips of a store."""

    used: int
    """Clips that have features now."""
    unknown: list[str]
    """Names that are no clips of the store; not stored."""
    missing: list[str]
    """Clips without features; they lack the modality from now on."""


def put_features(store: Store, modality: str, array: str, names: str | None = None) -> Placed:
    """Put features made elsewhere into a store; a reader sees the old ones or the new, never a mixture.

    Args:
        store: A finished store.
        modality: ``audio``, ``visual`` or ``text``, in place of ours; any other name adds a modality.
        array: ``.npy`` of shape (N, D); ``.npz`` with ``features`` and ``names``; or CSV with a column
            ``clip`` and D columns of numbers.
        names: Text file with a clip name a line, for an ``.npy``.

    Returns:
        How the names match.

    Raises:
        DataError: If the file is damaged, has another shape, holds NaN or infinity, names a clip twice, or
            names no clip of the store.
        UsageError: If ``modality`` is no name, the kind of file is unknown, or names are missing.
    """
    if not NAME.fullmatch(modality):
        raise UsageError(
            f"expected MODALITY to be {', '.join(PREPARED)} or a name of your own of at most 32 small letters, digits"
            f" and underscores, a letter first, but got {modality!r:.60}"
        )
    values, given = read_array(Path(array), names)
    rows = _checked(array, values, given)
    clips = [clip.name for clip in store.clips]
    kept = [name for name in clips if name in rows]
    if not kept:
        raise DataError(f"{array}: none of its {len(given)} names is a clip of {store.path} (first {given[:1]})")
    folder = store.path / "features"
    with locked(store.path / "store.lock", blocking=True):
        folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, values[[rows[name] for name in kept]].astype("<f4"), allow_pickle=False)
        text = "".join(f"{name}\n" for name in kept).encode()
        stem = f"{modality}-{hashlib.sha256(buffer.getvalue() + text).hexdigest()[:16]}"
        write_bytes(folder / f"{stem}.npy", buffer.getvalue())
        write_bytes(folder / f"{stem}.names.txt", text)
        sums = [file_digest(folder / f"{stem}.npy"), file_digest(folder / f"{stem}.names.txt")]
        meta = {
            "array": f"{stem}.npy",
            "names": f"{stem}.names.txt",
            "sha256": digest(sums),
            "from": os.path.abspath(array),
        }
        write_bytes(folder / f"{modality}.json", json.dumps(meta, indent=2).encode() + b"\n")
        _sweep(folder, modality, keep=stem)
    known = set(clips)
    return Placed(len(kept), [n for n in given if n not in known], [n for n in clips if n not in rows])


def remove_features(store: Store, modality: str) -> bool:
    """Restore our own features of a modality; false if they were in place already."""
    with locked(store.path / "store.lock", blocking=True):
        file = store.path / "features" / f"{modality}.json"
        if not file.exists():
            return False
        file.unlink()
        _sweep(file.parent, modality, keep=None)
    return True


def _sweep(folder: Path, modality: str, keep: str | None) -> None:
    for file in folder.glob(f"{modality}-*"):
        if keep is None or not file.name.startswith(keep):
            file.unlink()


def read_array(path: Path, names: str | None) -> tuple[npt.NDArray[Any], list[str]]:
    """Rows of an ``.npy``, ``.npz`` or CSV, and the clip that each is of; see :func:`put_features`."""
    kind = path.suffix.lower()
    if kind == ".csv":
        return _read_csv(path)
    if kind not in (".npy", ".npz"):
        raise UsageError(f"expected ARRAY to be a .npy, .npz or .csv file, but got {path.name!r}")
    check_arrays(path)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == ".npz":
            with found:
                if not {"features", "names"} <= set(found.files):
                    raise DataError(f"{path}: expected the arrays `features` and `names`, but got {found.files}")
                return found["features"], [str(name) for name in found["names"].ravel()]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no readable NumPy file ({error}); pickled arrays are refused") from error
    if names is None:
        raise UsageError("an .npy file needs `--names FILE`, a clip name a line in the order of its rows")
    lines = read_text_file(names).splitlines()
    return found, [line.strip() for line in lines if line.strip()]


def _read_csv(path: Path) -> tuple[npt.NDArray[Any], list[str]]:
    reader = csv.reader(io.StringIO(read_text_file(path), newline=""), strict=True)
    try:
        head = next(reader, [])
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: {error}") from error
    if "clip" not in head or len(head) < 2:
        raise DataError(
            f"{path}: row 1: expected a column clip and columns of numbers, but got {','.join(head)[:80]!r}"
        )
    at = head.index("clip")
    values = np.empty((len(rows), len(head) - 1), np.float32)
    for i, (line, row) in enumerate(rows):
        try:
            values[i] = [float(cell) for j, cell in enumerate(row) if j != at]
        except ValueError as error:
            raise DataError(f"{path}: row {line}: expected {len(head) - 1} numbers beside the clip ({error})") from None
    return values, [row[at].strip() for _, row in rows]


def _checked(array: str, values: npt.NDArray[Any], names: list[str]) -> dict[str, int]:
    """Name -> row, after all checks."""
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] == 0:
        raise DataError(f"{array}: expected numbers of shape (clips, size), but got {values.dtype} {values.shape}")
    if len(values) != len(names):
        raise DataError(f"{array}: {len(values)} rows but {len(names)} names")
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in rows:
            raise DataError(f"{array}: row {row}: the clip {name} stands in row {rows[name]} already")
        rows[name] = row
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and reported as such
            finite = np.isfinite(values[row].astype(np.float32))
        if not finite.all():
            column = int(np.argmin(finite))
            raise DataError(
                f"{array}: row {row} ({name}), column {column}: {values[row, column]} is not a finite float32"
            )
    return rows
