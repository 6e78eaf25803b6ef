"""Strict reading of CSV files from strangers: one line of error that names file, row and column."""

from __future__ import annotations

import codecs
import csv
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.signatures import LENGTH, kind_of

MAX_BYTES = 2**28
"""Largest table that is read, in bytes."""
MAX_ROWS = 1_000_000
"""Most rows of a table; each takes about 1 KB of memory."""
MAX_LINE = 2**22
"""Longest line of a table, in characters."""

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class CsvRow(NamedTuple):
    """One row of a table."""

    line: int
    """Line of the file on which the row ends, from 1; the header is line 1."""
    cells: dict[str, str]
    """Column name, spelled as it was asked for, to text without surrounding blanks."""


def cell_error(path: str | os.PathLike[str], line: int, column: str, message: str) -> DataError:
    """Make the error for one cell.

    Example:
        >>> print(cell_error("labels.csv", 3, "openness", "expected a number, but got 'x'"))
        labels.csv: row 3, column openness: expected a number, but got 'x'
    """
    return DataError(f"{path}: row {line}, column {column}: {message}")


def read_text_file(path: str | os.PathLike[str]) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte-order mark.

    Args:
        path: File of at most 256 MiB.

    Returns:
        Its text without the mark; line ends as they are.

    Raises:
        DataError: If the file is larger or in another encoding; the message names the line.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB; split it")
    kind = kind_of(data[:LENGTH])
    if kind is not None:
        raise DataError(f"{path}: is {kind}, no text; give a text file or a CSV in UTF-8")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: row {line}: byte {error.start} is not {encoding.upper()}; save the file as UTF-8"
            " (in Excel: CSV UTF-8)"
        ) from error


def read_table(
    path: str | os.PathLike[str],
    required: Iterable[str],
    optional: Iterable[str] = (),
) -> list[CsvRow]:
    r"""Read a table with a header.

    Columns are found by name, in any order and in upper or lower case; further columns are ignored. The
    separator is a comma, semicolon or tab, whichever the header is written with, or what Excel's line ``sep=`` above
    it says. Blank lines are skipped.

    Args:
        path: The file.
        required: Columns it must have.
        optional: Columns that are also wanted.

    Returns:
        The rows in the file's order.

    Raises:
        DataError: If the file is not text, a column is missing or stands twice, a row has more or fewer cells
            than the header, or it is longer than :data:`MAX_ROWS` or :data:`MAX_LINE`.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("Clip;Openness\na.mp4;0.5\n")
        ...     file.flush()
        ...     read_table(file.name, required=["clip"], optional=["openness"])
        [CsvRow(line=2, cells={'clip': 'a.mp4', 'openness': '0.5'})]
    """
    required = list(required)
    text = read_text_file(path)
    head = re.match(r'(?i)[\r\n]*(?:"?sep=(.)"?(?:\r\n|\r|\n|$))?([^\n]{0,65536})', text)
    assert head is not None  # every part of it may be empty
    separator = head[1] or max(",;\t", key=head[2].count)
    reader = csv.reader(_lines(path, text), delimiter=separator, strict=True)
    rows: list[CsvRow] = []
    columns: dict[int, str] | None = None
    width = 0
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if not any(cells) or (columns is None and head[1] and cells[0].casefold().startswith("sep=")):
                continue
            if columns is None:
                columns, width = _find_columns(path, cells, required, list(optional)), len(cells)
                continue
            if len(cells) != width:
                raise DataError(
                    f"{path}: row {reader.line_num}: expected {width} columns as in the header, "
                    f"but got {len(cells)}; quote cells that hold the separator"
                )
            row = CsvRow(reader.line_num, {name: cells[index] for index, name in columns.items()})
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise DataError(f"{path}: more than {MAX_ROWS} rows; split it")
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: {error}") from error
    if columns is None:
        raise DataError(f"{path}: empty; expected a header with the columns {', '.join(required)}")
    return rows


def _lines(path: str | os.PathLike[str], text: str) -> Iterator[str]:
    """Lines with their ends, as csv wants them; unlike a StringIO they take no second copy of the text."""
    for number, found in enumerate(re.finditer(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text), start=1):
        if found.end() - found.start() > MAX_LINE:
            raise DataError(f"{path}: row {number}: longer than {MAX_LINE} characters")
        yield found[0]


def _find_columns(
    path: str | os.PathLike[str], header: list[str], required: list[str], optional: list[str]
) -> dict[int, str]:
    names = [name.casefold() for name in header]
    for name in required:
        if name.casefold() not in names:
            found = ", ".join(header)[:200]
            raise DataError(f"{path}: row 1: column {name} is missing; found {found}")
    columns = {}
    for name in (*required, *optional):
        if names.count(name.casefold()) > 1:
            raise DataError(f"{path}: row 1: column {name} stands twice; remove one")
        if name.casefold() in names:
            columns[names.index(name.casefold())] = name
    return columns


def parse_number(text: str, path: str | os.PathLike[str], line: int, column: str) -> float:
    """Turn a cell into a number; an empty cell is a missing value.

    Args:
        text: The cell.
        path: File, for the message.
        line: CsvRow, for the message.
        column: Column, for the message.

    Returns:
        A finite number, or NaN for an empty cell.

    Raises:
        DataError: If the cell holds anything else; NaN and infinity written out included.

    Example:
        >>> parse_number("0.25", "labels.csv", 2, "openness")
        0.25
    """
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise cell_error(path, line, column, f"expected a number or nothing, but got {text[:40]!r}")
    return value
