"""What the shared embedding space finds: extreme clips of one modality ask, clips of another answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.tables import number, render

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

EXTREME = (0, 3)
"""Class numbers of C1 and C4."""
_QUERIES_AT_A_TIME = 512


class Retrieval(NamedTuple):
    """Means over the queries of one trait, one modality asking and one answering."""

    trait: str
    """One of :data:`apt_lightning.common.traits.TRAIT_CODES`."""
    query: str
    """Modality of the queries."""
    answer: str
    """Modality of the answers."""
    queries: int
    """Clips of C1 or C4 that have the modality and at least one right answer."""
    precision: float
    """Share of right answers among the first k, in [0, 1]; NaN without queries."""
    precision_chance: float
    """Its expectation for answers in random order: the share of right answers among all."""
    map_at_r: float
    """Mean average precision at R, R the number of right answers (arXiv 2003.08505)."""
    map_at_r_chance: float
    """Its expectation for answers in random order."""


def retrieve(
    embeddings: FloatArray,
    present: BoolArray,
    classes: IntArray,
    modalities: Sequence[str],
    sources: Sequence[str] | None = None,
    k: int = 10,
    seed: int = 0,
) -> list[Retrieval]:
    """Rank clips by cosine similarity to each extreme clip, for every trait and ordered pair of modalities.

    An answer is right if it is of the query's class in that trait. The query's own clip is no answer, in no
    modality; with ``sources``, nor is any clip of its source video, since the same person is easily found.

    Args:
        embeddings: (N, M, E) embeddings of N clips in M modalities.
        present: (N, M) bool: which of them exist.
        classes: (N, 5) classes by the *training* thresholds, 0 to 3 for C1 to C4; -1 without a label.
        modalities: Names of the M modalities.
        sources: Source video of each clip; None leaves out only the clip itself.
        k: Answers that count for the precision; all of them where there are fewer.
        seed: Of the order of clips with equal similarity.

    Returns:
        Metrics by trait, query modality and answer modality.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"Expected `k` to be at least 1, but got {k}.")
    n_clips = len(embeddings)
    # Equal similarities must not be ranked by the clips' order, which may go with their labels.
    shuffled = np.random.default_rng(seed).permutation(n_clips)
    embeddings, present, classes = embeddings[shuffled], present[shuffled], classes[shuffled]
    names = np.arange(n_clips) if sources is None else np.unique(np.asarray(sources)[shuffled], return_inverse=True)[1]
    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
    metrics = []
    for trait, own in zip(TRAIT_CODES, classes.T, strict=True):
        for q, query in enumerate(modalities):
            asking = np.flatnonzero(np.isin(own, EXTREME) & present[:, q])
            for a, answer in enumerate(modalities):
                answering = np.flatnonzero((own >= 0) & present[:, a])
                parts = [
                    _rank(
                        units[chunk, q] @ units[answering, a].T,
                        own[chunk, None] == own[answering],
                        names[chunk, None] != names[answering],
                        k,
                    )
                    for chunk in np.split(asking, range(_QUERIES_AT_A_TIME, len(asking), _QUERIES_AT_A_TIME))
                ]
                values = np.concatenate(parts)
                means = values.mean(axis=0) if len(values) else np.full(4, np.nan)
                metrics.append(Retrieval(trait, query, answer, len(values), *means.tolist()))
    return metrics


def _rank(similarity: FloatArray, same_class: BoolArray, allowed: BoolArray, k: int) -> FloatArray:
    """Compute the four metrics of Q queries over A answers, (Q', 4) for those that have a right answer."""
    right = same_class & allowed
    askable = right.any(axis=1)
    similarity, right, allowed = similarity[askable], right[askable], allowed[askable]
    order = np.argsort(np.where(allowed, -similarity, np.inf), axis=1, kind="stable")
    right = np.take_along_axis(right, order, axis=1)
    ranks = np.arange(1, right.shape[1] + 1)
    n_answers, n_right = allowed.sum(axis=1), right.sum(axis=1)
    found = right.cumsum(axis=1)
    first = np.minimum(k, n_answers)
    precision = found[np.arange(len(found)), first - 1] / first
    average = (right * found / ranks * (ranks <= n_right[:, None])).sum(axis=1) / n_right
    # In random order a rank is right with probability R / A, and an earlier one then with (R - 1) / (A - 1).
    other = (n_right - 1) / np.maximum(n_answers - 1, 1)
    expected = (1 + (ranks - 1) * other[:, None]) / ranks * (ranks <= n_right[:, None])
    chance = n_right / n_answers
    return np.stack([precision, chance, average, chance * expected.sum(axis=1) / n_right], axis=1)


def retrieval_table(metrics: Sequence[Retrieval], k: int = 10) -> str:
    """Lay out the metrics as a table, a row per trait and pair of modalities.

    Args:
        metrics: From :func:`retrieve`.
        k: As given there.
    """
    rows = [
        [f.trait, f.query, f.answer, str(f.queries)]
        + [number(x) for x in (f.precision, f.precision_chance, f.map_at_r, f.map_at_r_chance)]
        for f in metrics
    ]
    head = ["trait", "query", "answer", "queries", f"P@{k}", "chance", "MAP@R", "chance"]
    return render(head, rows, "Retrieval of clips of the query's class; queries are of the classes C1 and C4")
