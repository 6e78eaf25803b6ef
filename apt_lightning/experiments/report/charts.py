"""Charts as inline SVG: drawn by Matplotlib in placeholders for colours, which the page puts in, light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from apt_lightning.experiments.report.blocks import Chart

TRUE, BASELINE, FINAL = "#000001", "#000002", "#000003"
_MODALITIES = ("#000004", "#000003", "#000005", "#00000a", "#00000b", "#00000c")
CLASS_COLOURS = ("#000006", "#000007", "#000008", "#000009")
"""C1 to C4, from low to high."""
SCHEMES: dict[str, dict[str, str]] = {
    "light": {
        **dict(zip((TRUE, BASELINE, FINAL), ("#7b818a", "#b36b00", "#0072b2"), strict=True)),
        **dict(zip(_MODALITIES, ("#c05500", "#0072b2", "#007a5a", "#b04f86", "#8a6d00", "#5b5fc7"), strict=True)),
        **dict(zip(CLASS_COLOURS, ("#2166ac", "#4a8fb5", "#c8654a", "#b2182b"), strict=True)),
    },
    "dark": {
        **dict(zip((TRUE, BASELINE, FINAL), ("#8a8f98", "#e69f00", "#3f9fdc"), strict=True)),
        **dict(zip(_MODALITIES, ("#f07818", "#3f9fdc", "#00a878", "#d98ab8", "#d9b100", "#9a9df0"), strict=True)),
        **dict(zip(CLASS_COLOURS, ("#4a90d9", "#92c5de", "#f4a582", "#e8505f"), strict=True)),
    },
}
"""Placeholders of the drawings to the colours of the page: Okabe and Ito's, which the colour-blind tell apart, darkened
or lightened to a contrast of 3:1 or more."""
LINES: dict[str, dict[str, Any]] = {
    FINAL: {"color": FINAL, "ls": "-", "marker": "o"},
    BASELINE: {"color": BASELINE, "ls": (0, (4, 1.5)), "marker": "s"},
}
"""The stages are told apart by line and marker too."""

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
_CSS = {_INK: "currentColor", _GRID: "var(--grid)"} | {c: f"var(--c{c[-1]})" for c in SCHEMES["light"]}
WIDTH = 3.4
"""Inches; at this width 8 pt are legible on a phone of 360 px."""


def modality_colours(n: int) -> list[str]:
    """A colour for each of n modalities; from the seventh on they come again."""
    return [_MODALITIES[i % len(_MODALITIES)] for i in range(n)]


def picture(title: str, alt: str, draw: Callable[[Any], None], height: float = 2.3, stacked: int = 1) -> Chart:
    """Draw one chart.

    Args:
        title: Heading above it, in the page.
        alt: What the chart shows, for those who do not see it; unique in the page.
        draw: Draws on Matplotlib axes, or on an array of them.
        height: Inches.
        stacked: Number of axes, one below the other.
    """
    with rc_context({**_STYLE, "svg.hashsalt": alt}):
        figure = Figure(figsize=(WIDTH, height))  # fixed margins: a layout engine would draw everything twice
        figure.subplots_adjust(left=0.205, right=0.955, bottom=0.42 / height, top=1 - 0.08 / height, hspace=0.12)
        draw(figure.subplots(stacked, sharex=True))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True)
    return Chart(title, _inline(stream.getvalue(), alt))


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
    for colour, variable in _CSS.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
