"""Files of strangers as plain columns: CSV, TSV, JSON, JSON lines, NPZ, NPY, Parquet, or a folder of a file a trait.

The form is told from the content, not the name. Nothing in a file is ever run: pickles are refused.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.arrays import check_arrays
from apt_lightning.data.collection.tables import read_text_file

FloatArray = npt.NDArray[np.float64]

MAX_ROWS = 1_000_000
MAX_BYTES = 2**28
"""Largest binary file, and largest content of one, in bytes."""


@dataclass(frozen=True)
class Raw:
    """What a file holds, before anybody knows what it means."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Name to cells: texts, numbers or None."""
    arrays: dict[str, FloatArray] = field(default_factory=dict)
    """Name to (N, 5) numbers without names of their columns."""


def read_raw(path: str | os.PathLike[str]) -> Raw:
    """Read a file, or a folder of five, one a trait.

    Args:
        path: File of at most a million rows, or folder.

    Raises:
        DataError: If it is damaged, too large, or in no form that is known; one line.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a file of predictions") from None
    if head.startswith(b"\x80"):
        raise DataError(f"{path}: a pickle can run code and is not read; save it as CSV, NPZ, Parquet or JSON")
    readers = {b"PK": _read_npz, b"\x93NUMPY": _read_npy, b"PAR1": _read_parquet}
    reader = next((read for magic, read in readers.items() if head.startswith(magic)), None)
    if reader is None:
        return _read_text(path)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB; predictions of a million clips are not")
    try:
        return _limited(path, reader(path))
    except DataError:
        raise
    # Damage to these formats surfaces as almost any built-in or library error.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path}: damaged, or not what its first bytes say ({reason}); save it anew") from None


def _limited(path: Path, raw: Raw) -> Raw:
    rows = max([*map(len, raw.columns.values()), *map(len, raw.arrays.values())], default=0)
    if rows > MAX_ROWS:
        raise DataError(f"{path}: {rows} rows; at most {MAX_ROWS} are read")
    return raw


def _read_text(path: Path) -> Raw:
    text = read_text_file(path)
    if text.lstrip()[:1] in ("{", "["):
        return _limited(path, _read_json(path, text))
    first = text.lstrip("\r\n").partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    head: list[str] | None = None
    columns: list[list[Any]] = []
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if not any(cells):
                continue
            if head is None:
                head = cells
                columns = [[] for _ in head]
            elif len(cells) != len(head):
                raise DataError(
                    f"{path}: row {reader.line_num}: expected {len(head)} columns as in the header, got {len(cells)}"
                )
            else:
                for column, cell in zip(columns, cells, strict=True):
                    column.append(cell)
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: {error}") from None
    if head is None:
        raise DataError(f"{path}: empty; expected a header and a row a clip")
    return _limited(path, Raw(_named(path, head, columns)))


def _named(path: Path, head: Sequence[str], columns: Sequence[list[Any]]) -> dict[str, list[Any]]:
    twice = next((name for name in head if name and list(head).count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column {twice[:40]!r} stands twice; remove one")
    return dict(zip(head, columns, strict=True))


def _read_json(path: Path, text: str) -> Raw:
    try:
        try:
            content = json.loads(text)
        except json.JSONDecodeError:  # JSON lines
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON: {' '.join(str(error).split())[:120]}") from None
    while isinstance(content, dict) and len(content) == 1:
        inner = next(iter(content.values()))
        if not isinstance(inner, dict | list):
            break
        content = inner
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        return _records(content)
    if isinstance(content, dict) and content:
        values = list(content.values())
        if all(isinstance(value, dict) for value in values):
            return _nested(content)
        lists = {key: value for key, value in content.items() if isinstance(value, list)}
        rows = {len(value) for value in lists.values()}
        if len(lists) == len(content) and rows == {5} and all(_plain(value) for value in values):
            return _with_arrays({"clip": list(content), "prediction": values})  # {clip: [five numbers]}
        if lists:
            return _with_arrays(lists)
    raise DataError(f"{path}: JSON in no known form; give a list of records, or {{clip: {{trait: value}}}}")


def _plain(value: list[Any]) -> bool:
    return all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)


def _records(records: Sequence[Mapping[str, Any]]) -> Raw:
    keys = dict.fromkeys(key for record in records for key in record)
    return _with_arrays({key: [record.get(key) for record in records] for key in keys})


def _nested(content: Mapping[str, Mapping[str, Any]]) -> Raw:
    """``{clip: {trait: value}}`` or, as the official label files, ``{trait: {clip: value}}``."""
    inner = dict.fromkeys(key for value in content.values() for key in value)
    if len(content) < len(inner):
        return _with_arrays(
            {"clip": list(inner)} | {key: [value.get(clip) for clip in inner] for key, value in content.items()}
        )
    rows = [{"clip": clip, **value} for clip, value in content.items()]
    return _records(rows)


def _with_arrays(columns: Mapping[str, list[Any]]) -> Raw:
    """Columns whose cells are lists of five numbers become arrays."""
    raw = Raw()
    for name, cells in columns.items():
        if cells and all(isinstance(cell, list) and len(cell) == 5 and _plain(cell) for cell in cells):
            raw.arrays[str(name)] = np.array(cells, dtype=np.float64)
        elif not any(isinstance(cell, list | dict) for cell in cells):
            raw.columns[str(name)] = cells
    return raw


def _read_npz(path: Path) -> Raw:
    check_arrays(path)
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise DataError(f"{path}: holds more than {MAX_BYTES >> 20} MiB; predictions of a million clips do not")
    with np.load(path, allow_pickle=False) as content:
        return _from_arrays({name: content[name] for name in content.files})


def _read_npy(path: Path) -> Raw:
    check_arrays(path)
    return _from_arrays({"prediction": np.load(path, allow_pickle=False)})


def _from_arrays(content: Mapping[str, npt.NDArray[Any]]) -> Raw:
    raw = Raw()
    for name, values in content.items():
        if values.dtype.names is not None and values.ndim == 1:
            fields = _from_arrays({key: values[key] for key in values.dtype.names})
            raw.columns.update(fields.columns)
        elif values.dtype.kind in "fiu" and values.ndim == 2 and values.shape[1] == 5:
            raw.arrays[name] = values.astype(np.float64)
        elif values.dtype.kind in "fiuU" and values.ndim == 1:
            raw.columns[name] = values.tolist()
        elif values.dtype.kind == "S" and values.ndim == 1:
            raw.columns[name] = [value.decode("utf-8", "replace") for value in values.tolist()]
    return raw


def _read_parquet(path: Path) -> Raw:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        if file.metadata.num_rows > MAX_ROWS:
            raise DataError(f"{path}: {file.metadata.num_rows} rows; at most {MAX_ROWS} are read")
        table = file.read()
    return _with_arrays(_named(path, table.column_names, [column.to_pylist() for column in table.columns]))


def _read_folder(path: Path) -> Raw:
    """Five files ``…_0`` to ``…_4``, one a trait, each with a column of predictions and perhaps one of labels."""
    numbered = {
        int(match[1]): file
        for file in sorted(path.iterdir())
        if (match := re.search(r"(?<!\d)([0-4])\.(?:csv|tsv|txt)$", file.name))
    }
    if len(numbered) != 5:
        raise DataError(f"{path}: expected a file of predictions, or a folder of five as predictions_0.csv to _4.csv")
    parts = [read_raw(numbered[i]).columns for i in range(5)]
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    raw = Raw()
    for name in shared:
        columns = [part[name] for part in parts]
        if len({len(column) for column in columns}) > 1:
            raise DataError(f"{path}: its five files have {', '.join(str(len(c)) for c in columns)} rows")
        try:
            raw.arrays[name] = np.array(columns, dtype=np.float64).T
        except ValueError:
            if any(column != columns[0] for column in columns):
                raise DataError(f"{path}: column {name[:40]!r} is not the same in all five files; join them") from None
            raw.columns[name] = columns[0]
    return raw
