"""The picture of a scored clip: traits beside the training clips, and what modalities, seconds, frames and words do."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from apt_lightning.common.names import shown
from apt_lightning.common.traits import TRAIT_CODES, TRAITS
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.evaluation.tables import number
from apt_lightning.evaluation.training_clips import GRID

NOTICE = "Apparent, not actual, personality: how strangers may rate this clip. Not for hiring or ranking people."
COLOURS = {"audio": "#d55e00", "visual": "#0072b2", "text": "#009e73"}
"""Okabe and Ito's, told apart by the colour-blind; as in the report of a run."""
LINES = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00")
"""Of the traits, in their order."""
CHANGE = LinearSegmentedColormap.from_list("change", ["#d55e00", "#ffffff", "#0072b2"])
"""What lowers a score, does nothing, raises it."""
COLUMN = 3.5
"""Inches of a column: 8 pt are legible on a phone of 360 px."""
_LEFT, _RIGHT = 0.42, 0.2
"""Inches of a column beside a panel."""
_STYLE: Any = {
    "text.parse_math": False,  # words and names are not ours and may hold a dollar sign
    "axes.unicode_minus": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "clip",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
_ABOVE, _BELOW = 0.3, 0.42
"""Inches of a panel for its title, and for its axis."""
_WORD, _LINE = 7, 0.36
"""Size of words, points, and height of a line of them, inches."""

Ratings = npt.NDArray[np.float64]
Panel = tuple[float, Callable[[Axes], None]]
"""Height in inches, and what draws it."""


def draw(told: dict[str, Any], clip: Extraction, ratings: Ratings | None, form: str = "svg", columns: int = 2) -> bytes:
    """Draw one scored clip.

    Args:
        told: What :meth:`apt_lightning.stages.scorer.Scorer.judge` says of it.
        clip: What was extracted of it.
        ratings: (101, 5) quantiles of the training clips' ratings, if known.
        form: ``svg`` or ``png``.
        columns: 2 side by side, or 1 for narrow screens.

    Returns:
        The file.
    """
    with rc_context(_STYLE):
        first, second = _panels(told, clip, ratings)
        sides = [first, second] if columns == 2 and second else [first + second]
        heights = [sum(height for height, _ in side) for side in sides]
        tallest = max(heights)
        figure = Figure(figsize=(COLUMN * len(sides), tallest))
        FigureCanvasAgg(figure)
        for column, side in enumerate(sides):
            top = tallest
            for height, paint in side:
                left, right = (_LEFT + COLUMN * column, COLUMN * (column + 1) - _RIGHT)
                width = COLUMN * len(sides)
                bottom, inner = (top - height + _BELOW) / tallest, (height - _BELOW - _ABOVE) / tallest
                paint(figure.add_axes((left / width, bottom, (right - left) / width, inner)))
                top -= height
        stream = io.BytesIO()
        undated = {"Date": None} if form == "svg" else None
        figure.savefig(stream, format=form, dpi=200, facecolor="white", metadata=undated)
    return stream.getvalue()


def _panels(told: dict[str, Any], clip: Extraction, ratings: Ratings | None) -> tuple[list[Panel], list[Panel]]:
    """What is to be drawn: scores and modalities; what there is in time."""
    first: list[Panel] = [
        (0.95, lambda axes: _head(axes, told["clip"])),
        (2.6, lambda axes: _traits(axes, told, ratings)),
    ]
    second: list[Panel] = []
    if told.get("shapley"):
        first.append((2.3, lambda axes: _modalities(axes, told["shapley"])))
    if told.get("windows"):
        first.append((2.2, lambda axes: _course(axes, told["windows"])))
    found = {
        next(key for key in ("at", "from", "word") if key in one["parts"][0]): one["parts"]
        for one in told.get("explanation", {}).values()
    }
    every = [abs(x) for parts in found.values() for part in parts for x in part["effects"].values()]
    scale = Normalize(-max(every, default=0.0) or -1.0, max(every, default=0.0) or 1.0)
    if "at" in found:
        second.append((1.75, lambda axes: _frames(axes, clip, found["at"], scale)))
    if "from" in found:
        second.append((2.0, lambda axes: _seconds(axes, clip, found["from"], scale)))
    if "word" in found:
        lines = _wrapped(found["word"])
        second.append((0.8 + _LINE * len(lines), lambda axes: _words(axes, lines, scale)))
    if second:
        second.append((0.85, lambda axes: _key(axes, scale)))
    return first, second


def _head(axes: Axes, name: str) -> None:
    name = shown(name).rpartition("/")[2]
    axes.text(0, 1.3, name if len(name) < 40 else f"{name[:38]}…", fontsize=10, weight="bold", va="top")
    axes.text(0, 0.1, "\n".join(textwrap.wrap(NOTICE, 62)), fontsize=6.5, va="top", color="0.3")
    axes.axis("off")


def _traits(axes: Axes, told: dict[str, Any], ratings: Ratings | None) -> None:
    axes.set_title("Apparent traits, with 90 % intervals" if "intervals" in told else "Apparent traits")
    for i, name in enumerate(TRAITS):
        label = "emotional stability" if name == "neuroticism" else name
        if "higher_than" in told:
            label += f": higher than {told['higher_than'][name]:.0%} of the training clips"
        axes.text(0, i - 0.18, label, va="bottom", fontsize=7)
        if ratings is not None:
            for low, high, grey in ((0.05, 0.95, "0.9"), (0.25, 0.75, "0.8")):
                a, b = np.interp([low, high], GRID, ratings[:, i])
                axes.barh(i + 0.1, b - a, 0.42, a, color=grey)
            axes.plot(2 * [np.interp(0.5, GRID, ratings[:, i])], [i - 0.11, i + 0.31], color="0.55", lw=1)
        if "intervals" in told:
            axes.plot(told["intervals"][name], [i + 0.1] * 2, color=COLOURS["visual"], lw=2, alpha=0.6)
        score = told["traits"][name]
        axes.plot(score, i + 0.1, "o", color=COLOURS["visual"], ms=5)
        axes.text(1.0, i - 0.18, number(score, 2), va="bottom", ha="right", fontsize=7, weight="bold")
    axes.set(xlim=(0, 1), ylim=(len(TRAITS) - 0.5, -0.8), yticks=[])
    axes.spines["left"].set_visible(False)
    if ratings is not None:
        axes.set_xlabel("grey: ratings of half and of 90 % of the training clips", fontsize=7)


def _modalities(axes: Axes, shapley: dict[str, dict[str, float]]) -> None:
    axes.set_title("What sound, picture and words do")
    height = 0.8 / len(shapley)
    for k, (name, values) in enumerate(shapley.items()):
        middles = np.arange(len(TRAITS)) - 0.4 + height * (k + 0.5)
        axes.barh(middles, [values[t] for t in TRAITS], height * 0.9, color=COLOURS.get(name, "0.5"), label=name)
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set(ylim=(len(TRAITS) - 0.5, -0.5), yticks=range(len(TRAITS)), yticklabels=TRAIT_CODES)
    axes.tick_params("y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+.2f}" if abs(x) > 1e-9 else "0"))
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="lower right", bbox_to_anchor=(1.02, -0.28), handlelength=1)


def _course(axes: Axes, windows: list[dict[str, Any]]) -> None:
    axes.set_title("Course over time, s")
    scored = [window for window in windows if "traits" in window]
    for name, short, colour, mark in zip(TRAITS, TRAIT_CODES, LINES, "os^Dv", strict=True):
        middles = [(window["from"] + window["to"]) / 2 for window in scored]
        axes.plot(
            middles, [window["traits"][name] for window in scored], f"{mark}-", ms=3, lw=1.2, color=colour, label=short
        )
    axes.set(xlim=(0, windows[-1]["to"]), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=7, ncols=5, loc="upper center", handlelength=1, columnspacing=0.8)


def _heat(axes: Axes, edges: Sequence[float], parts: list[dict[str, Any]], scale: Normalize, bottom: float) -> None:
    """Five rows of cells below what they are about, down to ``bottom``; the upper end is 0."""
    effects = np.array([[part["effects"][name] for part in parts] for name in TRAITS])
    rows = np.linspace(0, bottom, len(TRAITS) + 1)
    axes.pcolormesh(edges, rows, effects, cmap=CHANGE, norm=scale, edgecolors="0.85", linewidth=0.3)
    axes.set_yticks((rows[1:] + rows[:-1]) / 2, TRAIT_CODES, fontsize=6)
    axes.tick_params("y", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _frames(axes: Axes, clip: Extraction, parts: list[dict[str, Any]], scale: Normalize) -> None:
    axes.set_title("Frames")
    _heat(axes, range(len(parts) + 1), parts, scale, -1.0)
    for i, jpeg in enumerate(clip.frames):
        axes.imshow(np.asarray(Image.open(io.BytesIO(jpeg))), extent=(i + 0.02, i + 0.98, 0.06, 1.06), aspect="auto")
    axes.set(xlim=(0, len(parts)), ylim=(-1, 1.06))
    axes.set_xticks(np.arange(len(parts)) + 0.5, [f"{part['at']:.1f} s" for part in parts], fontsize=7)
    axes.tick_params("x", length=0)


def _seconds(axes: Axes, clip: Extraction, parts: list[dict[str, Any]], scale: Normalize) -> None:
    axes.set_title("Sound, s")
    edges = [0.0, *(part["to"] for part in parts)]
    _heat(axes, edges, parts, scale, -2.0)
    assert clip.parts is not None
    wave = clip.parts.wave / max(float(clip.parts.wave.max()), 1e-9)
    axes.fill_between(np.linspace(0, edges[-1], len(wave)), 0.75 - 0.65 * wave, 0.75 + 0.65 * wave, color="0.45", lw=0)
    axes.set(xlim=(0, edges[-1]), ylim=(-2, 1.5))


def _wrapped(
    parts: list[dict[str, Any]], width: float = COLUMN - _LEFT - _RIGHT
) -> list[list[tuple[float, float, dict[str, Any]]]]:
    """Words in lines, each with its left end and its width in inches."""
    figure = Figure(dpi=100)
    FigureCanvasAgg(figure)
    lines: list[list[tuple[float, float, dict[str, Any]]]] = [[]]
    at = 0.0
    for part in parts:
        text = figure.text(0, 0, shown(part["word"])[:24], fontsize=_WORD)
        wide = text.get_window_extent().width / 100
        text.remove()
        if lines[-1] and at + wide > width:
            lines.append([])
            at = 0.0
        lines[-1].append((at, wide, part))
        at += wide + 0.05
    return lines


def _words(axes: Axes, lines: list[list[tuple[float, float, dict[str, Any]]]], scale: Normalize) -> None:
    axes.set_title("Words")
    for row, line in enumerate(lines):
        top = -_LINE * row
        for at, wide, part in line:
            axes.text(at, top - 0.13, shown(part["word"])[:24], fontsize=_WORD, va="baseline")
            for k, name in enumerate(TRAITS):
                cell = {"color": CHANGE(scale(part["effects"][name])), "ec": "0.85", "lw": 0.3}
                axes.barh(top - 0.18 - 0.028 * k, wide, 0.028, at, **cell)
    axes.set(xlim=(0, COLUMN - _LEFT - _RIGHT), ylim=(-_LINE * len(lines), 0))
    axes.axis("off")


def _key(axes: Axes, scale: Normalize) -> None:
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=CHANGE, aspect="auto", extent=(0, 1, 0, 1))
    end = float(scale.vmax or 0)
    for at, text, side in (
        (0, f"lowers by {end:.3f}", "left"),
        (0.5, "0", "center"),
        (1, f"raises by {end:.3f}", "right"),
    ):
        axes.text(at, -0.35, text, ha=side, va="top", fontsize=7)
    axes.set_title(f"Cells below a part, from above: {', '.join(TRAIT_CODES)}", fontsize=7, weight="normal")
    axes.set(xticks=[])
    axes.set(yticks=[])
