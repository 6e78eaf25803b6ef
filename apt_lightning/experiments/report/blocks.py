"""What a page is made of: sections of tables, charts and notes, as plain data for the template."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.metrics import Scores
from apt_lightning.evaluation.tables import UNDEFINED, number

T = TypeVar("T")
HEADS = ("mean", *TRAIT_CODES)
"""Columns of the traits, the mean first."""
FloatArray = npt.NDArray[np.float64]


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    small: str = ""
    """Set below in small print: an interval or a spread."""


class TableRow(NamedTuple):
    """One row of a table; its first cell is its head."""

    cells: Sequence[Cell | str]
    style: str = ""
    """``floor`` for systems that no model was trained for, ``final`` for the one to look at."""


@dataclass(frozen=True)
class Table:
    """A table with its caption, which says on how many clips it rests."""

    caption: str
    head: Sequence[str]
    rows: Sequence[TableRow]
    notes: Sequence[str] = ()
    folded: str = ""
    """Line under which the table is folded away; shown if empty."""
    prose: bool = False
    """Cells hold words, set from the left."""
    kind: str = "table"

    @property
    def csv(self) -> str:
        """The table as a file to download, in a link that holds it."""
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(self.head)
        writer.writerows(
            [cell if isinstance(cell, str) else " ".join(filter(None, cell)) for cell in row.cells] for row in self.rows
        )
        return "data:text/csv;charset=utf-8;base64," + base64.b64encode(stream.getvalue().encode()).decode()


class Chart(NamedTuple):
    """One chart."""

    title: str
    svg: str
    """Inline SVG."""


class Mark(NamedTuple):
    """One row of a forest plot: a figure with its interval."""

    label: str
    value: float
    lower: float
    upper: float
    style: str = ""
    """``final`` and ``baseline`` have a colour and a shape of their own."""


@dataclass(frozen=True)
class Forest:
    """Figures with intervals, a row each, as wide as the page; drawn by the page itself, so that they flow with it."""

    caption: str
    title: str
    alt: str
    """What it shows, for those who do not see it."""
    marks: Sequence[Mark]
    """From top to bottom; one without a figure is labelled "undefined"."""
    axis: str
    reference: float | None = None
    """Where to draw a vertical line."""
    digits: int = 3
    kind: str = "forest"

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places on the axis in percent of its width, and what is written there."""
        step = self._ticks[1] - self._ticks[0]
        digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
        low, high = self._ends
        return [(self.at(t), number(t, digits)) for t in self._ticks.tolist() if low <= t <= high]

    @property
    def rows(self) -> list[tuple[Mark, str, float, float, float]]:
        """Each mark with its figure in words and, if it has one, the places of its figure and of its ends."""
        found = []
        for mark in self.marks:
            low, high = _finite(mark)
            found.append((mark, number(mark.value, self.digits), self.at(mark.value), self.at(low), self.at(high)))
        return found

    def at(self, value: float) -> float:
        """Place of a value in percent of the axis; 0 if there is none."""
        low, high = self._ends
        return round(100 * (value - low) / (high - low), 2) if np.isfinite(value) else 0.0

    @cached_property
    def _ends(self) -> tuple[float, float]:
        values = [value for mark in self.marks for value in (mark.value, *_finite(mark)) if np.isfinite(value)]
        values += [] if self.reference is None else [self.reference]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        space = 0.03 * (high - low) or 0.01
        return low - space, high + space

    @cached_property
    def _ticks(self) -> FloatArray:
        from matplotlib.ticker import MaxNLocator

        ticks: FloatArray = np.asarray(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(*self._ends))
        return ticks


def _finite(mark: Mark) -> tuple[float, float]:
    """Ends of the interval; the figure itself where there is none."""
    ends = mark.lower, mark.upper
    return ends if np.isfinite(ends).all() else (mark.value, mark.value)


class Key(NamedTuple):
    """One entry of a legend."""

    glyph: str
    colour: str
    label: str


@dataclass(frozen=True)
class Panels:
    """Small charts that share a caption and a legend and flow with the width of the screen."""

    caption: str
    pictures: Sequence[Chart]
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


Block = Table | Panels | Forest | Note | Source


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
        Figures with intervals for one seed, means with deviations for several; the mean first, as in :data:`HEADS`.
    """
    values = np.stack([run.values[metric] for run in runs])
    if len(runs) == 1:
        ends = zip(values[0], runs[0].lower[metric], runs[0].upper[metric], strict=True)
        return mean_first([value_cell(float(v), float(low), float(high), digits) for v, low, high in ends])
    cells = []
    for mean, sd in zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True):
        spread = "" if number(float(mean)) == UNDEFINED else f"± {number(float(sd), digits)}"
        cells.append(Cell(number(float(mean), digits), spread))
    return mean_first(cells)


def mean_first(cells: Sequence[T]) -> list[T]:
    """Put the mean, which ends all arrays, before the traits: on a phone it is the column that is seen."""
    return [cells[-1], *cells[:-1]]
