"""Paired comparison of two systems on the same clips, by a bootstrap over source videos.

The standard error is that of the bootstrap over sources, as clips of one source are not independent; interval
and p-value take a t distribution with one degree of freedom less than there are sources, so that they hold
for some tens of sources. Where several seeds were trained, the variance over training runs is added (crossed with
sources, nested in folds) and the degrees of freedom are Satterthwaite's: the claim is then about the method, not one
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.evaluation.bootstrap import LEVEL, RESAMPLES, bootstrap_sums, cluster_sums
from apt_lightning.evaluation.components import Variance, freedom, run_metrics, run_variance, source_variance
from apt_lightning.evaluation.equivalence import MARGIN, p_equal, sources_needed, verdict
from apt_lightning.evaluation.metrics import METRICS, TRAIT_COLUMNS
from apt_lightning.evaluation.moments import labelled, metrics_of, moments
from apt_lightning.evaluation.predictions import Predictions

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COMPARED = ("1-MAE", "low", "high", "CCC")
"""Metrics that the tables show."""


@dataclass(frozen=True)
class Difference:
    """B minus A in one metric; every array is (6,): five traits and their mean. NaN where undefined."""

    a: FloatArray
    """Metric of A, mean over seeds."""
    b: FloatArray
    difference: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    """Two-sided, not corrected."""
    p_holm: FloatArray
    """Corrected over the five traits by Holm's method; for the mean, which is one test, as ``p``."""
    p_equal: FloatArray
    """That the difference is within the margin, corrected in the same way."""
    sources_needed: FloatArray
    """Sources at which one test would decide; NaN where more of them alone would not."""
    clips: IntArray
    """Labelled clips that the metrics rest on; for the mean, the least over the traits."""

    def verdict(self, column: int, level: float = LEVEL) -> str:
        """Whether B is better, worse, equal within the margin, or undecided, by the corrected tests.

        Args:
            column: 0 to 5.
            level: One minus the level of the tests.
        """
        return verdict(
            float(self.difference[column]), float(self.p_holm[column]), float(self.p_equal[column]), 1 - level
        )


@dataclass(frozen=True)
class Comparison:
    """Differences of B from A in every metric."""

    metrics: dict[str, Difference]
    n_clips: int
    n_sources: int
    seeds_a: int
    seeds_b: int
    paired_seeds: bool
    level: float
    margin: float

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file; an undefined metric is null."""
        return {
            "clips": self.n_clips,
            "sources": self.n_sources,
            "seeds": [self.seeds_a, self.seeds_b],
            "paired_seeds": self.paired_seeds,
            "level": self.level,
            "margin": self.margin,
            "columns": list(TRAIT_COLUMNS),
            "metrics": {
                name: {
                    key: [None if np.isnan(x) else x for x in values.tolist()]
                    for key, values in vars(difference).items()
                }
                | {"verdict": [difference.verdict(i, self.level) for i in range(len(TRAIT_COLUMNS))]}
                for name, difference in self.metrics.items()
            },
        }


def align(tables: Sequence[Predictions]) -> list[Predictions]:
    """Bring tables into the order of the first.

    Args:
        tables: Predictions for the same clips, in any order.

    Raises:
        DataError: If they hold other clips, sources, labels or classes.
    """
    first = tables[0]
    aligned = [first]
    for table in tables[1:]:
        row = {clip: i for i, clip in enumerate(table.clips)}
        other = sorted(set(first.clips) ^ set(table.clips))
        if other:
            raise DataError(
                f"the two sides hold other clips: {len(other)} are on one side only, as {other[0]!r}; "
                "compare runs of the same split and fold"
            )
        table = table.select(np.array([row[clip] for clip in first.clips], dtype=np.int64))
        if list(table.sources) != list(first.sources):
            raise DataError("the two sides give the same clips other sources; predict both from the same data")
        if not np.allclose(table.true, first.true, rtol=0, atol=1e-6, equal_nan=True):
            clip = int(np.argmax((~np.isclose(table.true, first.true, 0, 1e-6, True)).any(axis=1)))
            raise DataError(
                f"the sides have other labels for clip {first.clips[clip]!r}; predict both from one data set"
            )
        if first.classes is not None and table.classes is not None and (first.classes != table.classes).any():
            raise DataError("the two sides cut low and high at other thresholds; compare runs of one training split")
        aligned.append(table)
    return aligned


def holm(p: FloatArray) -> FloatArray:
    """Correct p-values for the number of tests (Holm 1979); NaN counts as no test.

    Args:
        p: (K,) p-values.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def compare(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    paired_seeds: bool = False,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    margin: float = MARGIN,
) -> Comparison:
    """Compare two systems on the same clips.

    Args:
        a: Predictions of the first system, one table a training seed.
        b: Of the second.
        paired_seeds: The i-th tables of both sides share a seed and the stages before; not so over other folds.
        resamples: Bootstrap samples.
        level: Nominal coverage of the intervals.
        seed: Seed of the bootstrap.
        margin: Differences below it count as equal.

    Raises:
        UsageError: If a side is empty, or pairs are asked for of unequal numbers of seeds.
        DataError: If the tables are not about the same clips with the same labels.
    """
    if not a or not b or (paired_seeds and len(a) != len(b)):
        raise UsageError(f"cannot compare {len(a)} with {len(b)} prediction tables")
    tables = align([*a, *b])
    paired_seeds = paired_seeds and np.array_equal(_fold_of(tables[0]), _fold_of(tables[len(a)]))
    parts = [_fold_sums(tables[: len(a)]), _fold_sums(tables[len(a) :])]
    sums = np.concatenate([np.sum(side, axis=0) for side in parts], axis=1)
    points = metrics_of(sums.sum(axis=0))
    replicates = metrics_of(bootstrap_sums(sums, resamples, seed))
    totals = [[fold.sum(axis=0) for fold in side] for side in parts]
    folds = [run_metrics(side) for side in totals]
    metrics = {}
    for name in METRICS:
        sides = [(points[name][rows], replicates[name][:, rows]) for rows in (slice(len(a)), slice(len(a), None))]
        (point_a, drawn_a), (point_b, drawn_b) = sides
        contributing = labelled(sums[:, 0], name)
        n_sources = np.count_nonzero(contributing, axis=0)
        n_sources = np.append(n_sources, n_sources.min())
        over_sources = source_variance(drawn_b.mean(axis=1) - drawn_a.mean(axis=1), n_sources)
        runs = [[fold[name] for fold in side] for side in folds]
        if paired_seeds:
            pairs = [fold_b - fold_a for fold_a, fold_b in zip(*runs, strict=True)]
            over_runs = [run_variance(pairs, drawn_b - drawn_a)] if len(a) > 1 else []
        else:
            drawn = (drawn_a, drawn_b)
            over_runs = [run_variance(*side) for side in zip(runs, drawn, strict=True) if len(side[0][0]) > 1]
        clips = contributing.sum(axis=0).astype(np.int64)
        metrics[name] = _difference(point_a, point_b, [over_sources, *over_runs], n_sources, clips, level, margin)
    return Comparison(metrics, len(tables[0]), len(sums), len(a), len(b), paired_seeds, level, margin)


def _fold_of(table: Predictions) -> IntArray:
    return np.zeros(len(table), dtype=np.int64) if table.fold is None else table.fold


def _fold_sums(tables: Sequence[Predictions]) -> list[FloatArray]:
    """(C, K, 5, 12) sums of each source and run, zero for the sources of other folds; a fold each."""
    numbers = _fold_of(tables[0])
    parts = [moments(table) for table in tables]
    return [
        np.stack([cluster_sums(part * (numbers == i)[:, None, None], tables[0].sources) for part in parts], axis=1)
        for i in np.unique(numbers)
    ]


def _difference(
    a: FloatArray,
    b: FloatArray,
    variances: Sequence[Variance],
    sources: IntArray,
    clips: IntArray,
    level: float,
    margin: float,
) -> Difference:
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    difference = mean_b - mean_a
    over_sources, over_runs = variances[0].value, np.sum([v.value for v in variances[1:]], axis=0) + np.zeros(6)
    variance = over_sources + over_runs
    degrees = freedom(variances)
    same = (variance < 1e-24) & (np.abs(difference) < 1e-12)
    error = np.where(variance < 1e-24, 0.0, np.sqrt(variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(same, 1.0, 2 * stats.t.sf(np.abs(difference) / error, degrees))
    half = stats.t.ppf((1 + level) / 2, degrees) * error
    equal = p_equal(difference, error, degrees, margin)
    needed = [
        sources_needed(*estimate, margin, 1 - level)
        for estimate in zip(
            difference.tolist(), over_sources.tolist(), over_runs.tolist(), sources.tolist(), strict=True
        )
    ]
    return Difference(
        mean_a,
        mean_b,
        difference,
        difference - half,
        difference + half,
        p,
        np.append(holm(p[:5]), p[5]),
        np.append(holm(equal[:5]), equal[5]),
        np.array([np.nan if n is None else n for n in needed]),
        np.append(clips, clips.min()),
    )
