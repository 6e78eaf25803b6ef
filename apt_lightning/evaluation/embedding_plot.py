"""Draws the embedding space, as the paper's Figure 4."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apt_lightning.common.traits import TRAIT_CODES, TRAITS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

CLASS_COLOURS = ("#2166ac", "#92c5de", "#f4a582", "#b2182b")
"""C1 to C4, from low (blue) to high (red); told apart by the colour-blind too."""
MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
"""One per modality, in their order and over again, as matplotlib calls it and as text."""
CLASS_NAMES = ("C1 (low)", "C2", "C3", "C4 (high)")


def principal_components(embeddings: FloatArray, present: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Project the embeddings, scaled to unit length as the loss reads them, on their first two components.

    Args:
        embeddings: (N, M, E) embeddings of N clips in M modalities.
        present: (N, M) bool: which of them exist, two at least.

    Returns:
        (N, M, 2) points, NaN where there is none, and the (2,) shares of the variance.
    """
    from sklearn.decomposition import PCA  # half a second, which only stage 3 needs

    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
    pca = PCA(n_components=2, svd_solver="full").fit(units[present])
    points = np.full((*present.shape, 2), np.nan)
    points[present] = pca.transform(units[present])
    return points, pca.explained_variance_ratio_


def draw_classes(
    axes: Any, points: FloatArray, classes: IntArray, size: float, colours: Sequence[str] = CLASS_COLOURS
) -> None:
    """Draw up to 25 points of each class and modality, as the paper does, coloured by class and marked by modality.

    Args:
        axes: Of matplotlib.
        points: (N, M, 2), from :func:`principal_components`.
        classes: (N,) classes of one trait by the *training* thresholds, 0 to 3 for C1 to C4; -1 without a label.
        size: Area of a mark, points squared.
        colours: One a class.
    """
    rng = np.random.default_rng(0)
    for c, colour in enumerate(colours):
        for m, marker in zip(range(points.shape[1]), cycle(MARKERS), strict=False):
            rows = rng.permutation(np.flatnonzero((classes == c) & np.isfinite(points[:, m, 0])))[:25]
            if len(rows):
                x, y = points[rows, m].T
                axes.scatter(x, y, s=size, c=colour, marker=marker, linewidths=0)


def plot_embeddings(
    path: str | os.PathLike[str],
    embeddings: FloatArray,
    present: BoolArray,
    classes: IntArray,
    modalities: Sequence[str],
    trait: int = 1,
) -> None:
    """Write the picture of the first two principal components of all embeddings, by classes of one trait.

    Args:
        path: File to write, ``.png`` or ``.svg``.
        embeddings: (N, M, E) embeddings of N clips in M modalities.
        present: (N, M) bool: which of them exist.
        classes: (N, 5) classes by the *training* thresholds, 0 to 3 for C1 to C4; -1 without a label.
        modalities: Names of the M modalities.
        trait: Number of the trait whose classes colour the points; the paper's is NEU.

    Raises:
        ValueError: If fewer than two embeddings exist.
    """
    if present.sum() < 2:
        raise ValueError(f"Expected at least two embeddings to draw, but got {present.sum()}.")
    points, shares = principal_components(embeddings, present)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_classes(axes, points, classes[:, trait], size=22)
    keys = [Line2D([], [], ls="", marker="o", color=colour) for colour in CLASS_COLOURS]
    markers = [marker for _, marker in zip(modalities, cycle(MARKERS), strict=False)]
    keys += [Line2D([], [], ls="", marker=marker, color="0.4") for marker in markers]
    axes.legend(keys, [*CLASS_NAMES, *modalities], fontsize=8)
    axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({shares[1]:.0%})")
    calm = ", high = calm" if TRAITS[trait] == "neuroticism" else ""  # the data set's name for emotional stability
    axes.set_title(f"Embeddings by class of {TRAIT_CODES[trait]} ({TRAITS[trait]}{calm})")
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    figure.savefig(unfinished, dpi=150)
    os.replace(unfinished, path)
