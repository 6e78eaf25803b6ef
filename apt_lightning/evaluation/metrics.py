"""Metrics per trait and on average, with intervals over sources.

Every metric is a function of a few sums over clips, so a bootstrap over sources costs one matrix product.

A metric that does not exist is NaN, with the reason in :attr:`Scores.undefined`, and shown as "undefined":

====================  ==========================================================================
metric                undefined
====================  ==========================================================================
1-MAE, RMSE           without a labelled clip
low, high             without a labelled clip in C1 or C4
R2, sd ratio          for fewer than two labelled clips, or if their labels are all equal
PCC                   the same, or if the predictions are all equal
CCC                   for fewer than two labelled clips, or if labels and predictions are all one value
mean of the traits    if one of the five is undefined
an interval           for clips of fewer than ten sources, or if many bootstrap samples leave it undefined
====================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES, TraitStatistics
from apt_lightning.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    bootstrap_sums,
    cluster_sums,
    percentile_interval,
)
from apt_lightning.evaluation.moments import equal_labels, labelled, metrics_of, moments
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import interval, number, render

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

METRICS = ("1-MAE", "RMSE", "R2", "PCC", "CCC", "sd ratio", "low", "high")
"""1-MAE (paper Eq. 9), root mean squared error, coefficient of determination, Pearson correlation,
concordance correlation (Lin 1989, population moments), predicted over true standard deviation, and 1-MAE on
the clips in C1 (low) and C4 (high) (paper Table 2). Higher is better, except for RMSE, and for the ratio,
which is best at 1."""
TRAIT_COLUMNS = (*TRAIT_CODES, "mean")
"""Columns of every table: the five traits and their mean."""

MIN_SOURCES = 10
"""Percentile intervals over fewer sources are far too narrow, so none is given."""


@dataclass(frozen=True)
class Scores:
    """Metrics of one set of clips; every array is (6,): five traits and their mean."""

    values: dict[str, FloatArray]
    """Metric name to values, NaN where undefined."""
    lower: dict[str, FloatArray]
    """Lower ends of the intervals."""
    upper: dict[str, FloatArray]
    """Upper ends."""
    clips: dict[str, IntArray]
    """Labelled clips that each metric rests on; for the mean, the least over the traits."""
    undefined: dict[tuple[str, str], str]
    """(metric, column) to the reason why there is no metric."""
    n_clips: int
    n_sources: int

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file; an undefined metric is null."""
        return {
            "clips": self.n_clips,
            "sources": self.n_sources,
            "columns": list(TRAIT_COLUMNS),
            "metrics": {
                name: {
                    "value": _plain(self.values[name]),
                    "lower": _plain(self.lower[name]),
                    "upper": _plain(self.upper[name]),
                    "clips": self.clips[name].tolist(),
                }
                for name in self.values
            },
            "undefined": [[metric, column, why] for (metric, column), why in self.undefined.items()],
        }


def _plain(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def score(
    predictions: Predictions,
    statistics: TraitStatistics | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Scores:
    """Compute every metric on a set of clips, with percentile intervals from a bootstrap over sources.

    Args:
        predictions: Labels and predictions.
        statistics: Means and deviations of the *training* split, which cut C1 and C4; by default the classes
            that the predictions carry. Without either ``low`` and ``high`` are undefined.
        resamples: Bootstrap samples; 0 for no intervals.
        level: Nominal coverage of the intervals.
        seed: Seed of the bootstrap.

    Example:
        >>> labels = np.array([[0.2] * 5, [0.6] * 5])
        >>> p = Predictions(["a.000.mp4", "b.000.mp4"], ["a", "b"], np.zeros(2), labels, np.full((2, 5), 0.4))
        >>> s = score(p, resamples=0)
        >>> float(s.values["1-MAE"][-1]), s.undefined["PCC", "EXT"]
        (0.8, 'the predictions are all equal')
    """
    if statistics is not None:
        predictions = predictions.with_statistics(statistics)
    sums = cluster_sums(moments(predictions), predictions.sources)
    total = sums.sum(axis=0)
    values = metrics_of(total)
    lower = {name: np.full(6, np.nan) for name in METRICS}
    upper = {name: np.full(6, np.nan) for name in METRICS}
    if resamples and len(sums) >= MIN_SOURCES:
        for name, samples in metrics_of(bootstrap_sums(sums, resamples, seed)).items():
            lower[name], upper[name] = percentile_interval(samples, level)
    counts = {name: labelled(total, name) for name in METRICS}
    return Scores(
        values,
        lower,
        upper,
        {name: np.append(n, n.min()).astype(np.int64) for name, n in counts.items()},
        _reasons(total, values, predictions.classes is not None),
        len(predictions),
        len(sums),
    )


def _reasons(total: FloatArray, values: dict[str, FloatArray], has_classes: bool) -> dict[tuple[str, str], str]:
    """Say why each metric that is NaN does not exist."""
    reasons = {}
    for name in METRICS:
        for column in np.flatnonzero(np.isnan(values[name])):
            if column == len(TRAIT_CODES):
                missing = [TRAIT_CODES[i] for i in np.flatnonzero(np.isnan(values[name][:-1]))]
                reasons[name, "mean"] = f"undefined for {', '.join(missing)}"
                continue
            n = labelled(total, name)[column]
            if name in ("low", "high"):
                rank = "C1" if name == "low" else "C4"
                why = f"no clip in {rank}" if has_classes else "the training split's thresholds are not known"
            elif n == 0:
                why = "no labelled clip"
            elif n == 1:
                why = "one labelled clip only"
            elif equal_labels(total)[column]:
                why = "the labels are all equal"
            else:
                why = "the predictions are all equal"
            reasons[name, TRAIT_CODES[column]] = why
    return reasons


def rank_correlation(predictions: Predictions) -> FloatArray:
    """Spearman's rank correlation, which needs no common scale of labels and predictions.

    Args:
        predictions: Labels and predictions.

    Returns:
        (6,): the five traits and their mean; NaN for fewer than two labelled clips, or where labels or
        predictions are all equal.
    """
    from scipy.stats import spearmanr

    values = np.full(6, np.nan)
    for j, (t, p) in enumerate(zip(predictions.true.T, predictions.predicted.T, strict=True)):
        known = ~np.isnan(t)
        if known.sum() > 1 and np.ptp(t[known]) > 0 and np.ptp(p[known]) > 0:
            values[j] = spearmanr(t[known], p[known]).statistic
    values[-1] = values[:-1].mean()
    return values


def score_by_seen(
    predictions: Predictions,
    statistics: TraitStatistics | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Scores]:
    """Compute the metrics on all clips, and apart on clips with and without a source that training holds.

    Args:
        predictions: Labels and predictions.
        statistics: Means and deviations of the *training* split, which cut C1 and C4; by default the classes
            that the predictions carry. Without either ``low`` and ``high`` are undefined.
        resamples: Bootstrap samples.
        level: Nominal coverage.
        seed: Seed of the bootstrap.

    Returns:
        ``all``, ``seen sources``, ``unseen sources``; a part without clips is left out.
    """
    seen = predictions.seen_source
    parts = {"all": np.ones_like(seen), "seen sources": seen, "unseen sources": ~seen}
    return {
        name: score(predictions.select(rows), statistics, resamples, level, seed)
        for name, rows in parts.items()
        if rows.any()
    }


def flat_metrics(scores: Mapping[str, Scores], prefix: str) -> dict[str, float]:
    """Name each metric for a logger: mean over traits and per trait, for all clips and for parts of them.

    Args:
        scores: From :func:`score_by_seen`.
        prefix: ``test``, say.

    Returns:
        ``test/1-MAE``, ``test/1-MAE_EXT``, ``test/unseen_sources/1-MAE``, ...; what is undefined is left out.
    """
    found: dict[str, float] = {}
    for part, own in scores.items():
        place = prefix if part == "all" else f"{prefix}/{part.replace(' ', '_')}"
        for metric in METRICS:
            name = f"{place}/{metric.replace(' ', '_')}"
            values = own.values[metric]
            found |= {f"{name}_{trait}": float(value) for trait, value in zip(TRAIT_CODES, values, strict=False)}
            found[name] = float(values[-1])
    return {name: value for name, value in found.items() if np.isfinite(value)}


def score_table(scores: Scores, title: str, metrics: Sequence[str] = METRICS) -> str:
    """Lay out the metrics of one set of clips, a row a metric.

    Args:
        scores: From :func:`score`.
        title: What the clips are; their number is added.
        metrics: Which rows.
    """
    rows = [[name, *_cells(scores, name)] for name in metrics]
    reasons: dict[tuple[str, str], list[str]] = {}
    for (metric, column), why in scores.undefined.items():
        if metric in metrics:
            reasons.setdefault((metric, why), []).append(column)
    notes = [f"{metric}, {', '.join(columns)}: undefined, {why}." for (metric, why), columns in reasons.items()]
    if scores.n_sources < MIN_SOURCES:
        notes.append(f"No intervals: fewer than {MIN_SOURCES} sources.")
    title = f"{title}: {scores.n_clips} clips of {scores.n_sources} sources"
    low, high = scores.clips["low"][:-1], scores.clips["high"][:-1]
    if high.any() or low.any():
        title += f" (low: {'/'.join(map(str, low))}, high: {'/'.join(map(str, high))} clips a trait)"
    return render(["", *TRAIT_COLUMNS], rows, title, notes)


def comparison_table(systems: dict[str, Scores], title: str, metric: str = "1-MAE") -> str:
    """Lay out one metric of several systems on the same clips, a row a system, as the paper's Table 1.

    Args:
        systems: Name to scores.
        title: What the clips are.
        metric: One of :data:`METRICS`.
    """
    rows = [[name, *_cells(scores, metric)] for name, scores in systems.items()]
    sizes = {(scores.n_clips, scores.n_sources) for scores in systems.values()}
    counts = "; ".join(f"{clips} clips of {sources} sources" for clips, sources in sorted(sizes))
    return render(["", *TRAIT_COLUMNS], rows, f"{title}, {metric}: {counts}")


def _cells(scores: Scores, metric: str) -> list[str]:
    value, lower, upper = scores.values[metric], scores.lower[metric], scores.upper[metric]
    if np.isnan(lower).all():
        return [number(float(v)) for v in value]
    return [interval(float(v), float(a), float(b)) for v, a, b in zip(value, lower, upper, strict=True)]
