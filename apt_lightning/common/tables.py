"""Tables as every command prints them: Markdown that reads well in a terminal, and that fits it.

Too wide ones are dealt into several below each other, and words in a cell into rows.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from apt_lightning.common.names import shown

_BORDER = re.compile(r"(?<!\\)\|")
_SECOND = re.compile(r"\s*- |\s*\S.*?\s{2,}(?=\S)")
_FIRST = 24
"""Width up to which the first column, which every part repeats, is left as it is."""


def render(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", notes: Sequence[str] = ()) -> str:
    """Lay out a table in Markdown, padded; the first column to the left, the others to the right.

    Cells may be foreign; they are written as :func:`~apt_lightning.common.names.shown` does.

    Args:
        head: Column heads.
        rows: Cells, as many a row as there are heads.
        title: Line above the table; say here on how many clips it rests.
        notes: Lines below it.

    Raises:
        ValueError: If a row has more or fewer cells than there are heads.

    Example:
        >>> print(render(["trait", "1-MAE"], [["EXT", ".9142"]], "Test, 2000 clips"))
        Test, 2000 clips
        <BLANKLINE>
        | trait | 1-MAE |
        | :---- | ----: |
        | EXT   | .9142 |
    """
    cells = [[shown(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [title, ""] if title else []
    lines += [line(cells[0]), line(rule), *(line(row) for row in cells[1:])]
    if notes:
        lines += ["", *notes]
    return "\n".join(lines)


def fit(text: str, width: int | None = None, prose: bool = False) -> str:
    r"""Lay out anew the Markdown tables of a text that are wider than the terminal; other lines stay as they are.

    Args:
        text: Lines; tables as of :func:`render`.
        width: Columns; those of the terminal if not given, which ``COLUMNS`` overrides and which is 80 for a pipe.
        prose: Break other lines between words too, below the begin of their second column if they have one.

    Example:
        >>> print(fit("| a | b | c |\n| :-- | --: | --: |\n| x | 1 | 2 |", 13))
        | a   |   b |
        | :-- | --: |
        | x   |   1 |
        <BLANKLINE>
        | a   |   c |
        | :-- | --: |
        | x   |   2 |
    """
    limit = width or shutil.get_terminal_size((80, 24)).columns
    parts: list[str] = []
    for table, lines in groupby(text.split("\n"), lambda line: line.startswith("| ") and line.endswith(" |")):
        own = list(lines)
        if table and max(map(len, own)) > limit:
            own = _fitted(own, limit)
        elif prose and not table:
            own = [part for line in own for part in (_broken(line, limit) if len(line) > limit else [line])]
        parts += own
    return "\n".join(parts)


def _broken(line: str, limit: int) -> list[str]:
    """Lines of one that is too long; what stands in a second column, or after a dash, stays below its begin."""
    begin = _SECOND.match(line)
    indent = " " * (begin.end() if begin and begin.end() <= limit // 2 else 0)
    return textwrap.wrap(line, limit, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def _fitted(lines: Sequence[str], limit: int) -> list[str]:
    """Lines of one table, none longer than the limit where its first two columns can be made to fit."""
    rows = [[cell.strip() for cell in _BORDER.split(line)[1:-1]] for line in lines]
    columns = list(zip(*rows, strict=True))
    right = [column[1].endswith(":") and not column[1].startswith(":") for column in columns]
    widths = [max(3, *map(len, (*column[:1], *column[2:]))) for column in columns]
    first = min(widths[0], max(_FIRST, limit // 3))
    space = limit - 4 - first
    words = [i for i, w in enumerate(widths) if i and w > _FIRST + 4]
    left = space - sum(w + 3 for i, w in enumerate(widths) if i and i not in words)
    share = left // len(words) - 3 if words else 0
    if share >= _FIRST - 4:  # cells of words are broken rather than dealt into tables of their own
        widths = [share if i in words and w > share else w for i, w in enumerate(widths)]
    right = [aligned and i not in words for i, aligned in enumerate(right)]
    widths = [first, *(min(w, space - 3) for w in widths[1:])]
    found: list[str] = []
    for i, group in enumerate(_groups(widths, space)):
        chosen = [0, *group]
        found += [""] if i else []
        found += _table(
            [[row[c] for c in chosen] for row in rows], [widths[c] for c in chosen], [right[c] for c in chosen]
        )
    return found


def _groups(widths: Sequence[int], space: int) -> list[list[int]]:
    """Deal the columns after the first into as few tables as can be, of about the same width."""

    def dealt(limit: int) -> list[list[int]]:
        groups: list[list[int]] = [[]]
        left = limit
        for column in range(1, len(widths)):
            if groups[-1] and widths[column] + 3 > left:
                groups.append([])
                left = limit
            groups[-1].append(column)
            left -= widths[column] + 3
        return groups

    least = len(dealt(space))
    return next(groups for limit in range(1, space + 1) if len(groups := dealt(limit)) == least)


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    for i, row in enumerate(rows):
        if i == 1:
            cells = [["-" * (w - 1) + ":" if r else ":" + "-" * (w - 1)] for w, r in zip(widths, right, strict=True)]
        else:
            cells = [
                textwrap.wrap(cell, w, break_on_hyphens=False) or [""] for cell, w in zip(row, widths, strict=True)
            ]
        for line in range(max(map(len, cells))):
            texts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(texts, widths, right, strict=True)]
            yield "| " + " | ".join(padded) + " |"
