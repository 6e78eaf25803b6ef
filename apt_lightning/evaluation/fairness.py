"""Errors by group of people: signed error, absolute error, CCC and their gaps, with intervals over sources.

A group of few sources gets its metrics, a warning and no verdict: some tens of sources can neither clear nor
accuse a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from apt_lightning.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    bootstrap_sums,
    cluster_sums,
    percentile_interval,
)
from apt_lightning.evaluation.moments import metrics_of, moments, signed_error
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import holm
from apt_lightning.evaluation.tables import interval, p_value, render

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

GROUP_METRICS = ("signed error", "MAE", "CCC")
"""Signed error is prediction minus label: above 0 the model flatters the group."""
INTERSECTION = " x "
"""Joins two attributes in the name of their intersections."""
MIN_GROUP_SOURCES = 50
"""A group of fewer sources is small."""


@dataclass(frozen=True)
class Interval:
    """Metrics for the five traits and their mean; every array is (6,), NaN where undefined."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class Group:
    """One group, or intersection of groups, within one attribute."""

    attribute: str
    """``gender``, or ``gender x age`` for an intersection."""
    name: str
    clips: int
    sources: int
    small: bool
    """Too few sources for a verdict."""
    metrics: dict[str, Interval]
    """Of the clips of the group."""
    gaps: dict[str, Interval]
    """Metrics of the group minus those of all other clips whose group is known."""
    p: dict[str, float]
    """Two-sided, of the gap in the mean over traits; Holm-corrected over the attribute's groups that are not
    small; NaN for a small group."""


def group_masks(
    clips: Sequence[str], demographics: dict[str, dict[str, str]], intersections: bool = True
) -> dict[str, dict[str, BoolArray]]:
    """Find the members of every group and of every intersection of two attributes.

    Args:
        clips: N clip names.
        demographics: Clip name to attribute to group, as ``{"gender": "female"}``; any may be missing.
        intersections: Of two attributes too.

    Returns:
        Attribute, or two joined by " x ", to group name to (N,) mask; groups without a clip are left out.
    """
    attributes = sorted({key for clip in clips for key in demographics.get(clip, {})})
    masks: dict[str, dict[str, BoolArray]] = {}
    for chosen in [*((a,) for a in attributes), *(combinations(attributes, 2) if intersections else ())]:
        labels = [
            ", ".join(found[a] for a in chosen) if all(found.get(a) for a in chosen) else ""
            for found in (demographics.get(clip, {}) for clip in clips)
        ]
        groups = {name: np.array([label == name for label in labels]) for name in sorted(set(labels) - {""})}
        if groups:
            masks[INTERSECTION.join(chosen)] = groups
    return masks


def fairness(
    predictions: Predictions,
    demographics: dict[str, dict[str, str]],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    min_sources: int = MIN_GROUP_SOURCES,
    intersections: bool = True,
) -> list[Group]:
    """Compare the errors of groups of people.

    Args:
        predictions: Labels and predictions.
        demographics: Clip name to attribute to group.
        resamples: Bootstrap samples over sources.
        level: Nominal coverage of the intervals.
        seed: Seed of the bootstrap.
        min_sources: Groups of fewer sources get no verdict.
        intersections: Of two attributes too.

    Returns:
        Groups attribute by attribute, single attributes first; empty without demographics.
    """
    parts = moments(predictions)
    found = []
    for attribute, groups in group_masks(predictions.clips, demographics, intersections).items():
        members = np.stack(list(groups.values()))
        sides = np.concatenate([members, members.any(axis=0) & ~members])
        sums = np.stack([cluster_sums(parts * mask[:, None, None], predictions.sources) for mask in sides], axis=1)
        point, drawn = _metrics(sums.sum(axis=0)), _metrics(bootstrap_sums(sums, resamples, seed))
        k = len(groups)
        sources = [len(set(np.asarray(predictions.sources)[mask].tolist())) for mask in sides]
        small = np.array([min(sources[i], sources[i + k]) < min_sources for i in range(k)])
        p = {name: _p_values(point[name], drawn[name], sources, small) for name in GROUP_METRICS}
        for i, name in enumerate(groups):
            found.append(
                Group(
                    attribute,
                    name,
                    int(members[i].sum()),
                    sources[i],
                    bool(small[i]),
                    {f: _interval(point[f][i], drawn[f][:, i], level) for f in GROUP_METRICS},
                    {
                        f: _interval(point[f][i] - point[f][i + k], drawn[f][:, i] - drawn[f][:, i + k], level)
                        for f in GROUP_METRICS
                    },
                    {f: float(p[f][i]) for f in GROUP_METRICS},
                )
            )
    return found


def _metrics(sums: FloatArray) -> dict[str, FloatArray]:
    values = metrics_of(sums)
    return {"signed error": signed_error(sums), "MAE": 1 - values["1-MAE"], "CCC": values["CCC"]}


def _interval(value: FloatArray, drawn: FloatArray, level: float) -> Interval:
    return Interval(value, *percentile_interval(drawn, level))


def _p_values(point: FloatArray, drawn: FloatArray, sources: list[int], small: BoolArray) -> FloatArray:
    """P-values of the gaps in the mean over traits: bootstrap standard error, t distribution."""
    k = len(small)
    gap = point[:k, -1] - point[k:, -1]
    error = (drawn[:, :k, -1] - drawn[:, k:, -1]).std(axis=0, ddof=1)
    freedom = np.maximum([min(sources[i], sources[i + k]) - 1 for i in range(k)], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(gap) / error, freedom)
    p = np.where(small, np.nan, p)
    return holm(p) if k > 2 else p  # the gaps of two groups are one gap


def fairness_text(groups: Sequence[Group], title: str) -> str:
    """Lay out the mean over traits of every group, and warn of small ones.

    Args:
        groups: From :func:`fairness`.
        title: What the clips are.
    """
    if not groups:
        return f"{title}: no clip has a gender, ethnicity or age; errors by group cannot be shown"
    blocks = []
    for attribute in dict.fromkeys(group.attribute for group in groups):
        chosen = [group for group in groups if group.attribute == attribute]
        rows = []
        for group in chosen:
            cells = [f"{group.clips} of {group.sources}"]
            for metric in GROUP_METRICS:
                cells.append(_cell(group.metrics[metric]))
                cells.append(_cell(group.gaps[metric]))
            rows.append([group.name, *cells, verdict(group)])
        head = ["", "clips of sources", *(x for f in GROUP_METRICS for x in (f, "gap")), "verdict"]
        clips = sum(group.clips for group in chosen)
        notes = [
            "gap: to all other clips whose group is known. signed error: prediction minus label.",
            "verdict: on the gaps in signed error and MAE, Holm-corrected over the groups.",
        ]
        blocks.append(render(head, rows, f"{title}, {attribute}, mean over traits: {clips} clips", notes))
    return "\n\n".join(blocks)


def verdict(group: Group) -> str:
    """Say whether the group's errors differ from those of others; nothing is said of a small group.

    Args:
        group: From :func:`fairness`.
    """
    if group.small:
        return "small group: no verdict"
    shown = [f"{f} differs (p {p_value(group.p[f])})" for f in GROUP_METRICS[:2] if group.p[f] < 0.05]
    return "; ".join(shown) or "no difference shown"


def _cell(found: Interval) -> str:
    return interval(float(found.value[-1]), float(found.lower[-1]), float(found.upper[-1]), 3)
