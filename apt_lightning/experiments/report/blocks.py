"""What a page is made of: sections of tables, charts and notes, as plain data for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from apt_lightning.evaluation.metrics import Scores
from apt_lightning.evaluation.tables import UNDEFINED, number


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    small: str = ""
    """Set below in small print: an interval or a spread."""


class Row(NamedTuple):
    """One row of a table; its first cell is its head."""

    cells: Sequence[Cell | str]
    style: str = ""
    """``floor`` for systems that no model was trained for, ``final`` for the one to look at."""


@dataclass(frozen=True)
class Table:
    """A table with its caption, which says on how many clips it rests."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    folded: str = ""
    """Line under which the table is folded away; shown if empty."""
    prose: bool = False
    """Cells hold words, set from the left."""
    kind: str = "table"


class Picture(NamedTuple):
    """One chart."""

    title: str
    svg: str
    """Inline SVG."""


class Key(NamedTuple):
    """One entry of a legend."""

    glyph: str
    colour: str
    label: str


@dataclass(frozen=True)
class Panels:
    """Small charts that share a caption and a legend and flow with the width of the screen."""

    caption: str
    pictures: Sequence[Picture]
    keys: Sequence[Key] = ()
    kind: str = "panels"


@dataclass(frozen=True)
class Note:
    """A line of text."""

    text: str
    warning: bool = False
    kind: str = "note"


@dataclass(frozen=True)
class Source:
    """A file shown as it is, folded away."""

    title: str
    text: str
    kind: str = "source"


Block = Table | Panels | Note | Source


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    key: str
    """Anchor."""
    title: str
    intro: str
    common: Sequence[Block] = ()
    """Blocks about all runs together."""
    runs: dict[str, list[Block]] = field(default_factory=dict)
    """Run name to the blocks about it, shown side by side."""


def value_cell(value: float, lower: float, upper: float, digits: int = 4) -> Cell:
    """A figure with its interval in small print.

    Example:
        >>> value_cell(0.9127, 0.9101, 0.915)
        Cell(text='.9127', small='[.9101, .9150]')
    """
    if not (np.isfinite(value) and np.isfinite(lower) and np.isfinite(upper)):
        return Cell(number(value, digits))
    return Cell(number(value, digits), f"[{number(lower, digits)}, {number(upper, digits)}]")


def score_cells(runs: Sequence[Scores], metric: str, digits: int = 4) -> list[Cell]:
    """Cells of one metric, for the five traits and their mean.

    Args:
        runs: Scores of each seed.
        metric: One of :data:`apt_lightning.evaluation.metrics.METRICS`.
        digits: Digits after the point.

    Returns:
        Figures with intervals for one seed, means with deviations for several.
    """
    values = np.stack([run.values[metric] for run in runs])
    if len(runs) == 1:
        ends = zip(values[0], runs[0].lower[metric], runs[0].upper[metric], strict=True)
        return [value_cell(float(v), float(low), float(high), digits) for v, low, high in ends]
    cells = []
    for mean, sd in zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True):
        spread = "" if number(float(mean)) == UNDEFINED else f"± {number(float(sd), digits)}"
        cells.append(Cell(number(float(mean), digits), spread))
    return cells
