"""The space put to use at prediction time: a model's errors on the nearest training clips correct its scores.

In the manner of TabR (arXiv 2307.14338) and of k-nearest-neighbour language models, on a finished model. At 10,000
clips the search is one matrix product; from some millions on an index such as FAISS would be worth its dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.neighbours import COUNTS, WIDTHS, gaussian_weights, nearest, running_means

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

GATES = tuple(np.arange(11) / 10)
"""Weights of the correction that are tried; 0 leaves the model as it is."""


@dataclass(frozen=True)
class RetrievalHead:
    """Score + gate · mean residual of the K nearest training clips, with weights exp(-d² / 2 width²)."""

    keys: FloatArray
    """(N, D) training clips in the chosen space."""
    residuals: FloatArray
    """(N, 5) label - score of each, the score being of a model that did not see the clip."""
    sources: npt.NDArray[np.str_]
    """(N,) source ids."""
    count: int
    """Neighbours K."""
    width: float
    """Temperature of the weights, in units of the space; infinite for equal weights."""
    gate: float
    other_sources: bool
    """Whether neighbours of a clip's own source are left out."""

    def correct(self, space: FloatArray, scores: FloatArray, sources: Sequence[str]) -> FloatArray:
        """Correct the scores of M clips.

        Args:
            space: (M, D) the clips in the same space.
            scores: (M, 5) the model's scores.
            sources: M source ids; one that training does not hold has no neighbour to leave out.

        Returns:
            (M, 5) in [0, 1].
        """
        distances, rows = self._search(space, sources)
        everywhere = np.ones(len(space), dtype=bool)
        means = running_means(distances, rows, self.residuals, self.width, np.zeros(5), everywhere)[:, -1]
        return np.clip(scores + self.gate * means, 0, 1)

    def evidence(self, space: FloatArray, sources: Sequence[str]) -> tuple[IntArray, FloatArray]:
        """Say which training clips a correction comes from: rows of ``keys`` (M, K) and their weights (M, K)."""
        distances, rows = self._search(space, sources)
        weights = gaussian_weights(distances, self.width)
        return rows, weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def _search(self, space: FloatArray, sources: Sequence[str]) -> tuple[FloatArray, IntArray]:
        n, names = len(self.keys), np.concatenate([self.sources, np.asarray(sources, dtype=np.str_)])
        asking = n + np.arange(len(space))
        found = nearest(np.vstack([self.keys, space]), names, np.arange(n), asking, self.other_sources)
        return found[0][:, : self.count], found[1][:, : self.count]


def fit_retrieval_head(
    keys: FloatArray,
    residuals: FloatArray,
    sources: Sequence[str],
    space: FloatArray,
    scores: FloatArray,
    labels: FloatArray,
    validation_sources: Sequence[str],
    other_sources: bool = True,
) -> RetrievalHead:
    """Choose number, temperature and gate by the 1-MAE of the corrected scores on validation.

    Args:
        keys: (N, D) training clips in the space.
        residuals: (N, 5) their residuals, out of fold; clips with a NaN among them are left out.
        sources: N source ids.
        space: (V, D) validation clips in the space.
        scores: (V, 5) their scores by the model to correct.
        labels: (V, 5) their labels; clips with a NaN among them do not count.
        validation_sources: V source ids.
        other_sources: Leave out neighbours of a clip's own source. False is an arm of its own: where sources are in
            several splits it reads the person and the room.

    Raises:
        DataError: If no training clip has residuals, or no validation clip labels.
    """
    known, judged = ~np.isnan(residuals).any(axis=1), ~np.isnan(labels).any(axis=1)
    if not known.any() or not judged.any():
        raise DataError("a retrieval head needs training clips with residuals and validation clips with labels")
    names = np.asarray(sources, dtype=np.str_)[known]
    head = RetrievalHead(keys[known], residuals[known], names, COUNTS[-1], np.inf, 0.0, other_sources)
    space, scores, labels = space[judged], scores[judged], labels[judged]
    distances, rows = head._search(space, np.asarray(validation_sources, dtype=np.str_)[judged].tolist())
    first = distances[:, 0][np.isfinite(distances[:, 0])]
    scale = float(np.median(first)) if len(first) and np.median(first) > 0 else 1.0
    best = (np.inf, head.count, head.width, head.gate)
    for width in WIDTHS:
        means = running_means(distances, rows, head.residuals, width * scale, np.zeros(5), np.ones(len(space), bool))
        for count in [n for n in COUNTS if n <= means.shape[1]]:
            for gate in GATES:
                corrected = np.clip(scores + gate * means[:, count - 1], 0, 1)
                best = min(best, (float(np.abs(corrected - labels).mean()), count, width * scale, gate))
    return RetrievalHead(head.keys, head.residuals, names, *best[1:], other_sources)
