"""Charts as inline SVG: drawn by Matplotlib, coloured by the page, so that they follow light and dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.blocks import Picture

# Okabe and Ito's colours, told apart by the colour-blind, all of middling lightness.
TRUE, BASELINE, FINAL, PLAIN = "#8a8f98", "#e69f00", "#0072b2", "#767b84"
_MODALITIES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_INK, _GRID = "#010203", "#040506"
"""Stand for the page's text and line colours, which CSS puts in."""
_STYLE: Any = {
    "axes.unicode_minus": False,
    "text.parse_math": False,  # names of groups are not ours and may hold a dollar sign
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_CSS = {_INK: "currentColor", _GRID: "var(--grid)", FINAL: "var(--blue)"}
WIDTH = 3.4
"""Inches; at this width 8 pt are legible on a phone of 360 px."""


def modality_colours(n: int) -> list[str]:
    """A colour for each of n modalities; from the seventh on they come again."""
    return [_MODALITIES[i % len(_MODALITIES)] for i in range(n)]


def picture(title: str, alt: str, draw: Callable[[Any], None], height: float = 2.3, stacked: int = 1) -> Picture:
    """Draw one chart.

    Args:
        title: Heading above it, in the page.
        alt: What the chart shows, for those who do not see it; unique in the page.
        draw: Draws on Matplotlib axes, or on an array of them.
        height: Inches.
        stacked: Number of axes, one below the other.
    """
    with rc_context({**_STYLE, "svg.hashsalt": alt}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots(stacked, sharex=True))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True)
    return Picture(title, _inline(stream.getvalue(), alt))


def css(colour: str) -> str:
    """What stands for a colour of a chart in the page: some change between light and dark."""
    return _CSS.get(colour, colour)


def _inline(svg: str, alt: str) -> str:
    """Take an SVG file's element for use in a page: no own size, fonts or ids that others may have too."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" ', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*" ', r"\1", svg, count=1)
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1sans-serif", svg)
    for colour in (_INK, _GRID, FINAL):
        svg = svg.replace(colour, css(colour))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


class Dot(NamedTuple):
    """One row of a dot plot."""

    label: str
    value: float
    lower: float
    upper: float
    colour: str


def dots(
    title: str, alt: str, rows: Sequence[Dot], axis: str, reference: float | None = None, digits: int = 3
) -> Picture:
    """Draw figures with their intervals, a row each, labels above the marks so that they fit a phone.

    Args:
        title: Heading.
        alt: Alternative text.
        rows: From top to bottom; rows without a figure are labelled "undefined".
        axis: Label of the horizontal axis.
        reference: Where to draw a vertical line.
        digits: Digits after the point.
    """

    def draw(axes: Any) -> None:
        across = axes.get_yaxis_transform()
        for i, row in enumerate(rows):
            axes.text(0, i - 0.22, row.label, transform=across, va="bottom")
            axes.text(1, i - 0.22, number(row.value, digits), transform=across, va="bottom", ha="right")
            if reference is not None:
                axes.plot([reference, reference], [i - 0.18, i + 0.22], color=_INK, lw=1, ls=(0, (2, 1)))
            if np.isfinite(row.value):
                axes.plot([row.lower, row.upper], [i, i], color=row.colour, lw=2.2, alpha=0.55)
                axes.plot(row.value, i, "o", color=row.colour, ms=4.5)
        axes.set_ylim(len(rows) - 0.5, -0.95)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.04)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(axis)

    return picture(title, alt, draw, height=0.55 + 0.33 * len(rows))
