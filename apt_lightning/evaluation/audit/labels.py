"""Label sanity: placeholders, shuffled and swapped columns, other scales, agreement within a source.

Each check looks at one split, since label files are published, lost and replaced split by split.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.data.collection.official import CORRELATION, MEAN, SD, SOURCES, STEPS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_CLIPS = 30
"""A split with fewer labelled clips gets no verdict from its distribution."""
_PAIRS = np.triu_indices(5, 1)


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found."""

    severity: Severity
    """An error makes scores wrong; a warning changes what they mean."""
    code: str
    where: str
    """Split, or splits, and trait."""
    text: str


@dataclass(frozen=True)
class Profile:
    """Means, deviations and correlations of labels, and how many sources they rest on."""

    mean: FloatArray
    sd: FloatArray
    correlation: FloatArray
    """(5, 5); NaN with a constant column."""
    sources: int


OFFICIAL = Profile(MEAN, SD, CORRELATION, SOURCES)
"""The official training labels."""


def profile(labels: FloatArray, sources: Sequence[str]) -> Profile:
    """Describe labels.

    Args:
        labels: (N, 5), no NaN, N > 0.
        sources: N source ids.
    """
    sd = labels.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.cov(labels.T, bias=True) / np.outer(sd, sd)
    return Profile(labels.mean(axis=0), sd, correlation, len(set(sources)))


def icc(values: FloatArray, sources: Sequence[str]) -> float:
    """Agreement within a source, ICC(1): one-way random effects (Shrout and Fleiss 1979), unequal sizes.

    Args:
        values: (N,) labels, no NaN.
        sources: N source ids.

    Returns:
        At most 1, below 0 where clips of a source differ more than those of different sources; NaN where no
        source has two clips, there is one source only, or all values are equal.

    Example:
        >>> icc(np.array([0.1, 0.1, 0.5, 0.5]), ["a", "a", "b", "b"])
        1.0
    """
    _, codes, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    n, k = len(values), len(sizes)
    if k < 2 or n == k or np.ptp(values) == 0:
        return float("nan")
    means = np.bincount(codes, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    within = float(((values - means[codes]) ** 2).sum()) / (n - k)
    size = (n - (sizes**2).sum() / n) / (k - 1)
    return float((between - within) / (between + (size - 1) * within))


def check_labels(splits: Mapping[str, tuple[FloatArray, Sequence[str]]]) -> list[Finding]:
    """Look for labels that cannot be right.

    Args:
        splits: Split name to its (N, 5) labels, NaN where missing, and N source ids; ``train`` first.

    Returns:
        Findings, split by split.
    """
    findings: list[Finding] = []
    reference = OFFICIAL
    for split, (labels, sources) in splits.items():
        missing: BoolArray = np.isnan(labels)
        if missing.any():
            counts = ", ".join(f"{s} {n}" for s, n in zip(TRAIT_CODES, missing.sum(axis=0).tolist(), strict=True) if n)
            findings.append(Finding("note", "missing-labels", split, f"clips without a label: {counts}"))
        outside: BoolArray = (labels < 0) | (labels > 1)
        if outside.any():
            low, high = np.nanmin(labels), np.nanmax(labels)
            text = f"{outside.any(axis=1).sum()} clips have labels outside [0, 1]: from {low:g} to {high:g}"
            findings.append(Finding("error", "range", split, text))
        rows = ~np.any(missing | outside, axis=1)
        kept = labels[rows]
        if len(kept) < MIN_CLIPS:
            text = f"{len(kept)} clips with five labels: too few to judge their distribution, {MIN_CLIPS} needed"
            findings.append(Finding("note", "few-labels", split, text))
            continue
        names = list(itertools.compress(sources, rows))
        found = _distribution(split, kept, names, reference)
        findings += found
        if split == "train" and all(finding.severity != "error" for finding in found):
            reference = profile(kept, names)
    return findings


def _distribution(split: str, labels: FloatArray, sources: Sequence[str], reference: Profile) -> list[Finding]:
    constant = np.ptp(labels, axis=0) == 0
    if constant.any():
        return [Finding("error", "constant", split, f"all labels are equal in {_columns(constant)}")]
    own, uniform = profile(labels, sources), _uniform(labels)
    if uniform.any():
        text = (
            f"{_columns(uniform)} spread evenly over [0, 1] (sd {own.sd[uniform].mean():.3f}; an "
            "even spread has .289, the real labels .127 to .156): random placeholders, not labels; "
            "get the official label files"
        )
        return [Finding("error", "placeholder", split, text)]
    lost = _lost(own.correlation, len(labels))
    if lost.any():
        strongest = np.abs(own.correlation - np.eye(5)).max(axis=1)[lost].max()
        text = (
            f"{_columns(lost)} correlates with no other trait (at most {strongest:.2f}; the real ones "
            "correlate .58 to .80): its labels are shuffled or belong to other clips"
        )
        return [Finding("error", "shuffled", split, text)]
    findings = _swapped(split, labels, own, reference)
    if not findings:
        findings = [*_spread(split, own, reference), *_edited(split, labels)]
    return findings + _agreement(split, labels, sources)


def _columns(mask: BoolArray) -> str:
    return ", ".join(TRAIT_CODES[i] for i in np.flatnonzero(mask))


def _uniform(labels: FloatArray) -> BoolArray:
    """Columns that a Kolmogorov-Smirnov test at 1 % takes for an even spread; sd .24 guards small splits."""
    n = len(labels)
    steps = np.arange(1, n + 1)[:, None] / n
    ordered = np.sort(labels, axis=0)
    distance = np.maximum(steps - ordered, ordered - (steps - 1 / n)).max(axis=0)
    mask: BoolArray = (labels.std(axis=0) > 0.24) & (distance < 1.63 / np.sqrt(n))
    return mask


def _lost(correlation: FloatArray, clips: int) -> BoolArray:
    """Columns whose strongest correlation is within chance; the smallest real one is .72."""
    strongest = np.abs(correlation - np.eye(5)).max(axis=1)
    mask: BoolArray = strongest < max(0.2, 2.5 / np.sqrt(clips))
    return mask


def _lattice(labels: FloatArray) -> FloatArray:
    """(5, 5) share of column j's labels that lie on the steps of trait k."""
    scaled = labels[:, :, None] * STEPS
    share: FloatArray = (np.abs(scaled - scaled.round()) < 0.01).mean(axis=0)
    return share


def _swapped(split: str, labels: FloatArray, own: Profile, reference: Profile) -> list[Finding]:
    """Find columns under each other's names: by their steps, which differ by trait, else by statistics."""
    share = _lattice(labels)
    order = tuple(int(k) for k in share.argmax(axis=1))
    evidence = "their steps are those of the other trait"
    if not (share.max(axis=1) > 0.99).all() or len(set(order)) < 5:
        distance = {p: _distance(own, reference, p) for p in itertools.permutations(range(5))}
        best = min(distance, key=lambda p: distance[p])
        # Log-likelihood ratios, roughly: the other order must fit, and much better than the given one.
        if distance[best] > 60 or distance[(0, 1, 2, 3, 4)] - distance[best] < 25:
            return []
        order = best
        evidence = "their means and correlations are those of the other trait"
    moved = [f"{TRAIT_CODES[j]} holds {TRAIT_CODES[k]}" for j, k in enumerate(order) if j != k]
    return [Finding("error", "swapped", split, f"columns are swapped: {', '.join(moved)}; {evidence}")] if moved else []


def _distance(own: Profile, reference: Profile, order: tuple[int, ...]) -> float:
    """Squared differences, in standard errors, if column j were trait order[j]."""
    place = np.array(order)
    weight = 1 / own.sources + 1 / reference.sources
    z_own = np.arctanh(np.clip(own.correlation[_PAIRS], -0.999, 0.999))
    z_reference = np.arctanh(np.clip(reference.correlation[np.ix_(place, place)][_PAIRS], -0.999, 0.999))
    mean = (own.mean - reference.mean[place]) / reference.sd[place]
    spread = np.log(own.sd / reference.sd[place])
    total = ((z_own - z_reference) ** 2).sum() + (mean**2).sum() + 2 * (spread**2).sum()
    return float(total / weight)


def _edited(split: str, labels: FloatArray) -> list[Finding]:
    share = _lattice(labels).diagonal()
    if share.max() <= 0.99 or share.min() > 0.99:
        return []
    text = f"{_columns(share <= 0.99)} not on First Impressions' steps, while other traits are: edited labels"
    return [Finding("warning", "lattice", split, text)]


def _spread(split: str, own: Profile, reference: Profile) -> list[Finding]:
    ratio = own.sd / reference.sd
    odd = (ratio < 0.75) | (ratio > 1.33)
    if not odd.any() or own.sources < MIN_CLIPS:
        return []
    against = "the official training labels" if reference is OFFICIAL else "the training labels"
    ratios = ", ".join(f"{TRAIT_CODES[i]} {ratio[i]:.2f}" for i in np.flatnonzero(odd))
    return [Finding("warning", "spread", split, f"spread relative to {against}: {ratios}")]


def _agreement(split: str, labels: FloatArray, sources: Sequence[str]) -> list[Finding]:
    """Whole rows under other clips' names keep their correlations but lose the agreement within a source."""
    repeated = len(sources) - len(set(sources))
    if repeated < MIN_CLIPS:
        return []
    values = np.array([icc(column, sources) for column in labels.T])
    # Without agreement, an ICC(1) of pairs has a standard error of about 1 / sqrt(number of pairs).
    if values.mean() > 2.5 / np.sqrt(repeated):
        return []
    text = (
        f"clips of one source agree no more than any others (mean ICC(1) {values.mean():.2f}; the real "
        "labels have .52 to .71): rows may belong to other clips, or `source` is wrong"
    )
    return [Finding("warning", "no-agreement", split, text)]
