"""A picture of the embedding space, as the paper's Figure 4."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from apt_lightning.common.traits import TRAIT_CODES, TRAITS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

CLASS_COLOURS = ("#2166ac", "#92c5de", "#f4a582", "#b2182b")
"""C1 to C4, from low (blue) to high (red); told apart by the colour-blind too."""
MARKERS = ("o", "^", "s")
"""One per modality, in their order."""


def plot_embeddings(
    path: str | os.PathLike[str],
    embeddings: FloatArray,
    present: BoolArray,
    classes: IntArray,
    modalities: Sequence[str],
    trait: int = 1,
    per_class: int = 25,
    seed: int = 0,
) -> None:
    """Draw the first two principal components, coloured by class and marked by modality.

    Like the paper: 25 clips per class and modality, 300 points with three modalities, classes of NEU. The
    components are those of all embeddings, not only of the drawn ones.

    Args:
        path: File to write, ``.png`` or ``.svg``.
        embeddings: (N, M, E) embeddings of N clips in M modalities.
        present: (N, M) bool: which of them exist.
        classes: (N, 5) classes by the *training* thresholds, 0 to 3 for C1 to C4; -1 without a label.
        modalities: Names of the M modalities, three at most.
        trait: Number of the trait whose classes colour the points.
        per_class: Most points of one class and modality.
        seed: Of the choice of points.

    Raises:
        ValueError: If fewer than two embeddings exist.
    """
    if present.sum() < 2:
        raise ValueError(f"Expected at least two embeddings to draw, but got {present.sum()}.")
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
    pca = PCA(n_components=2, svd_solver="full").fit(units[present])
    shares = pca.explained_variance_ratio_
    rng = np.random.default_rng(seed)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    markers = MARKERS[: len(modalities)]
    for c, colour in enumerate(CLASS_COLOURS):
        for m, marker in enumerate(markers):
            rows = np.flatnonzero((classes[:, trait] == c) & present[:, m])
            rows = rng.permutation(rows)[:per_class]
            if len(rows):
                x, y = pca.transform(units[rows, m]).T
                axes.scatter(x, y, s=22, c=colour, marker=marker, alpha=0.8, linewidths=0)
    points = [Line2D([], [], ls="", marker="o", color=colour) for colour in CLASS_COLOURS]
    points += [Line2D([], [], ls="", marker=marker, color="0.4") for marker in markers]
    axes.legend(points, ["C1 (low)", "C2", "C3", "C4 (high)", *modalities], fontsize=8)
    axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({shares[1]:.0%})")
    calm = ", high = calm" if TRAITS[trait] == "neuroticism" else ""  # the data set's name for emotional stability
    axes.set_title(f"Embeddings by class of {TRAIT_CODES[trait]} ({TRAITS[trait]}{calm})")
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    figure.savefig(unfinished, dpi=150)
    os.replace(unfinished, path)
