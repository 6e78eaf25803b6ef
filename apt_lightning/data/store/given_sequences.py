"""Features made elsewhere as a named feature set: an array or table, a folder, HDF5 or Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.files import digest, locked
from apt_lightning.data.collection.arrays import check_arrays
from apt_lightning.data.store.precomputed import Placed, read_array
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import Row
from apt_lightning.data.store.sequences import set_folder, write_set

Array = npt.NDArray[Any]


def put_set(store: Store, modality: str, name: str, source: str, names: str | None) -> Placed:
    """Write features made elsewhere as a feature set of a store.

    Args:
        store: A finished store.
        modality: What they stand for.
        name: Of the set.
        source: ``.npy``, ``.npz`` or CSV with one vector a clip, as of
            :func:`~apt_lightning.data.store.precomputed.put_features`; a folder with one ``.npy`` or ``.npz`` a clip;
            ``.h5`` with a data set a clip; or ``.parquet`` with a column ``clip`` and a row a step. Of a clip: (D,),
            (T, D) or (T, L, D). Names may lack the ending of the clip's.
        names: A clip name a line, for an ``.npy``.

    Returns:
        How the names match.

    Raises:
        DataError: If the source is damaged, holds NaN or infinity, names a clip twice or none of the store, or its
            clips differ in shape or precision.
        UsageError: If it is of no such form.
    """
    folder = set_folder(store.path, modality, name)
    clips = [clip.name for clip in store.clips]
    by_stem: dict[str, list[str]] = {}
    for clip in clips:
        by_stem.setdefault(os.path.splitext(clip)[0], []).append(clip)
    found: dict[str, Any] = {}
    unknown, first = [], None
    for given, read in _source(Path(source), names):
        same = [given] if given in clips else by_stem.get(given, [])
        if len(same) != 1:
            unknown.append(given)
            continue
        if same[0] in found:
            raise DataError(f"{source}: the clip {same[0]} is given twice")
        found[same[0]] = read
    if not found:
        raise DataError(f"{source}: none of its {len(unknown)} names is a clip of {store.path} (first {unknown[:1]})")

    def rows() -> Iterator[tuple[Row, Array, Array]]:
        nonlocal first
        for clip in clips:
            values = _checked(source, clip, found[clip]()) if clip in found else np.zeros((0, 0, 0), "<f4")
            if len(values):
                first = first or (clip, values.shape[1:], values.dtype)
                if (values.shape[1:], values.dtype) != first[1:]:
                    raise DataError(
                        f"{source}: {clip} has steps of {values.shape[1:]} {values.dtype}, but {first[0]} of {first[1]}"
                        f" {first[2]}; give one size and precision"
                    )
            yield {"name": clip, "faults": []}, values, np.full(len(values), np.nan)

    with locked(store.path / "store.lock", blocking=True):
        made = write_set(folder, {"from": os.path.abspath(source), "clips": digest(sorted(found))}, rows())
    without = [row["name"] for row in made.clips if not row["steps"]]
    return Placed(made.covered, unknown, without)


def _checked(source: str, clip: str, given: Array) -> Array:
    """(T, L, D) in float16 or float32."""
    values = np.asarray(given)
    if values.dtype.kind not in "fiu" or not 1 <= values.ndim <= 3:
        raise DataError(
            f"{source}: {clip}: expected numbers (D,), (T, D) or (T, L, D), not {values.dtype} {values.shape}"
        )
    values = {1: lambda: values[None, None], 2: lambda: values[:, None], 3: lambda: values}[values.ndim]()
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and reported as such
        values = values.astype("<f2" if values.dtype == np.float16 else "<f4")
    finite = np.isfinite(values).all(axis=(1, 2))
    if not finite.all():
        raise DataError(f"{source}: {clip}, step {int(np.argmin(finite))}: holds a number that is no finite float32")
    return values if values.size else np.zeros((0, 0, 0), "<f4")


def _source(path: Path, names: str | None) -> Iterator[tuple[str, Any]]:
    """Name of each clip, and what reads its array."""
    kind = path.suffix.lower()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.suffix in (".npy", ".npz"):
                yield file.stem, lambda file=file: _file(file)
    elif kind in (".h5", ".hdf5"):
        yield from _hdf5(path)
    elif kind == ".parquet":
        yield from _parquet(path)
    elif kind in (".npy", ".npz", ".csv"):
        values, given = read_array(path, names)
        if len(values) != len(given):
            raise DataError(f"{path}: {len(values)} rows but {len(given)} names")
        for name, row in zip(given, values, strict=True):
            yield name, lambda row=row: row
    else:
        raise UsageError(f"expected a folder, .npy, .npz, .csv, .h5 or .parquet, but got {path.name!r}")


def _file(file: Path) -> Array:
    check_arrays(file)
    found = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        key = "features" if "features" in found.files else found.files[0]
        if len(found.files) > 1 and key != "features":
            raise DataError(f"{file}: expected one array, or one called `features`, but got {found.files}")
        return np.asarray(found[key])


def _hdf5(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise UsageError("HDF5 needs h5py: `pip install 'apt-lightning[encoders]'`") from None
    try:
        with h5py.File(path, "r") as file:
            sets: list[str] = []
            file.visititems(lambda name, item: sets.append(name) if isinstance(item, h5py.Dataset) else None)
            read = {name: file[name][()] for name in sets}  # no links to other files: visititems follows none
    except OSError as error:
        raise DataError(f"{path}: no readable HDF5 file ({error})") from None
    for name, values in read.items():
        yield name.rpartition("/")[2], lambda values=values: values


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: no readable Parquet file ({error})") from None
    if "clip" not in table.column_names or len(table.column_names) < 2:
        raise DataError(f"{path}: expected a column clip and columns of numbers, but got {table.column_names[:5]}")
    clips = [str(name) for name in table["clip"].to_pylist()]
    columns = [table[name] for name in table.column_names if name != "clip"]
    if len(columns) == 1 and not pa.types.is_primitive(columns[0].type):
        values = [np.asarray(row, np.float32) for row in columns[0].to_pylist()]
    else:
        values = list(np.stack([np.asarray(column.to_numpy(), np.float32) for column in columns], axis=1))
    rows: dict[str, list[Array]] = {}
    for clip, row in zip(clips, values, strict=True):
        rows.setdefault(clip, []).append(row)
    for clip, steps in rows.items():
        if len({step.shape for step in steps}) > 1:
            raise DataError(f"{path}: the steps of {clip} differ in size")
        yield clip, lambda steps=steps: np.stack(steps)
