"""Paired comparison of two systems on the same clips, by a bootstrap over source videos.

The standard error is that of the bootstrap over sources, as clips of one source are not independent; interval
and p-value take a t distribution with one degree of freedom less than there are sources, so that they hold
for some tens of sources. Where several seeds were trained, the variance over seeds is added (crossed random
effects) and the degrees of freedom are Satterthwaite's: the claim is then about the method, not one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.evaluation.bootstrap import LEVEL, RESAMPLES, bootstrap_sums, cluster_sums
from apt_lightning.evaluation.metrics import COLUMNS, METRICS
from apt_lightning.evaluation.moments import figures, labelled, moments
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import interval, number, p_value, render

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COMPARED = ("1-MAE", "low", "high", "CCC")
"""Metrics that the tables show."""


@dataclass(frozen=True)
class Difference:
    """B minus A in one metric; every array is (6,): five traits and their mean. NaN where undefined."""

    a: FloatArray
    """Figure of A, mean over seeds."""
    b: FloatArray
    difference: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    """Two-sided, not corrected."""
    p_holm: FloatArray
    """Corrected over the five traits by Holm's method; for the mean, which is one test, as ``p``."""
    clips: IntArray
    """Labelled clips that the figures rest on; for the mean, the least over the traits."""


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

    def to_dict(self) -> dict[str, object]:
        """Plain data for a JSON file; an undefined figure is null."""
        return {
            "clips": self.n_clips,
            "sources": self.n_sources,
            "seeds": [self.seeds_a, self.seeds_b],
            "paired_seeds": self.paired_seeds,
            "level": self.level,
            "columns": list(COLUMNS),
            "metrics": {
                name: {
                    key: [None if np.isnan(x) else x for x in values.tolist()]
                    for key, values in vars(difference).items()
                }
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
) -> Comparison:
    """Compare two systems on the same clips.

    Args:
        a: Predictions of the first system, one table a training seed.
        b: Of the second.
        paired_seeds: The i-th tables of both sides share a seed and the stages before.
        resamples: Bootstrap samples.
        level: Nominal coverage of the intervals.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: If a side is empty, or pairs are asked for of unequal numbers of seeds.
        DataError: If the tables are not about the same clips with the same labels.
    """
    if not a or not b or (paired_seeds and len(a) != len(b)):
        raise UsageError(f"cannot compare {len(a)} with {len(b)} prediction tables")
    tables = align([*a, *b])
    sums = np.stack([cluster_sums(moments(table), table.sources) for table in tables], axis=1)
    points = figures(sums.sum(axis=0))
    replicates = figures(bootstrap_sums(sums, resamples, seed))
    split = len(a)
    metrics = {}
    for name in METRICS:
        point_a, point_b = points[name][:split], points[name][split:]
        drawn = replicates[name][:, split:].mean(axis=1) - replicates[name][:, :split].mean(axis=1)
        contributing = labelled(sums[:, 0], name)
        sources = np.count_nonzero(contributing, axis=0)
        over_sources = _bootstrap_variance(drawn, np.append(sources, sources.min()))
        over_seeds = _seed_variance(point_a, point_b, paired_seeds)
        clips = contributing.sum(axis=0).astype(np.int64)
        metrics[name] = _difference(point_a, point_b, [over_sources, *over_seeds], clips, level)
    return Comparison(metrics, len(tables[0]), len(sums), len(a), len(b), paired_seeds, level)


def _bootstrap_variance(drawn: FloatArray, sources: IntArray) -> tuple[FloatArray, FloatArray]:
    """Variance over resamples, made unbiased for few sources, and its degrees of freedom."""
    undefined = (np.isnan(drawn).mean(axis=0) > 0.05) | (sources < 2)
    variance = np.full(6, np.nan)
    variance[~undefined] = np.nanvar(drawn[:, ~undefined], axis=0)
    freedom = np.maximum(sources - 1, 1).astype(np.float64)
    return variance * sources / freedom, freedom


def _seed_variance(a: FloatArray, b: FloatArray, paired: bool) -> list[tuple[FloatArray, FloatArray]]:
    """Variances of the mean over seeds and their degrees of freedom; none for a side of one seed."""
    sides = [b - a] if paired else [a, b]
    return [(side.var(axis=0, ddof=1) / len(side), np.full(6, len(side) - 1.0)) for side in sides if len(side) > 1]


def _difference(
    a: FloatArray,
    b: FloatArray,
    variances: Sequence[tuple[FloatArray, FloatArray]],
    clips: IntArray,
    level: float,
) -> Difference:
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    difference = mean_b - mean_a
    variance = np.sum([v for v, _ in variances], axis=0)
    same = (variance < 1e-24) & (np.abs(difference) < 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / np.sum([v**2 / df for v, df in variances], axis=0)
        freedom = np.where(variance < 1e-24, 1, freedom)
        error = np.sqrt(variance)
        p = np.where(same, 1.0, 2 * stats.t.sf(np.abs(difference) / error, freedom))
    half = stats.t.ppf((1 + level) / 2, freedom) * error
    return Difference(
        mean_a,
        mean_b,
        difference,
        difference - half,
        difference + half,
        p,
        np.append(holm(p[:5]), p[5]),
        np.append(clips, clips.min()),
    )


def comparison_text(comparison: Comparison, a: str, b: str) -> str:
    """Lay out a comparison, a table a metric, with what it rests on.

    Args:
        comparison: From :func:`compare`.
        a: Name of the first system.
        b: Name of the second.
    """
    c = comparison
    blocks = []
    for name in COMPARED:
        d = c.metrics[name]
        rows = [
            [
                column,
                number(float(d.a[i])),
                number(float(d.b[i])),
                interval(float(d.difference[i]), float(d.lower[i]), float(d.upper[i])),
                p_value(float(d.p[i])),
                p_value(float(d.p_holm[i])),
                str(d.clips[i]),
            ]
            for i, column in enumerate(COLUMNS)
        ]
        title = f"{name}: {c.n_clips} clips of {c.n_sources} sources, {c.level:.0%} intervals"
        blocks.append(render(["", "A", "B", "B - A", "p", "p (Holm)", "clips"], rows, title))
    seeds = (
        "One seed a side: the intervals say nothing about training anew."
        if c.seeds_a == c.seeds_b == 1
        else f"{c.seeds_a} and {c.seeds_b} seeds{', paired' if c.paired_seeds else ''}; "
        "figures are means over seeds, and the intervals include the spread over seeds."
    )
    about = (
        f"A: {a}\nB: {b}\nPositive: B is higher. Sources are resampled, not clips. "
        f"Holm corrects over the five traits of a table.\n{seeds}"
    )
    return "\n\n".join([about, *blocks])
