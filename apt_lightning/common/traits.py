"""The five apparent traits, their order and their classes (paper section 3; order of its tables)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TRAITS = ("extraversion", "neuroticism", "agreeableness", "conscientiousness", "openness")
"""Trait order everywhere. ``neuroticism`` holds *emotional stability* (high = calm), as in the data set."""

STABILITY = "The key neuroticism (NEU) holds emotional stability, as in First Impressions: high is calm."

TRAIT_CODES = ("EXT", "NEU", "AGR", "CON", "OPE")
"""Column heads of the paper's tables, in the order of :data:`TRAITS`."""

FloatArray = npt.NDArray[np.float64]


class TraitStatistics(NamedTuple):
    """Mean and population standard deviation of each trait over a training split; both of shape (5,)."""

    mean: FloatArray
    """In label units, [0, 1]."""
    sd: FloatArray
    """Population standard deviation (the paper does not say which; ours)."""


def by_trait(values: FloatArray) -> dict[str, float]:
    """Five values by the names of the traits, rounded to four digits, as they are told."""
    return {name: round(float(value), 4) for name, value in zip(TRAITS, values, strict=True)}


def trait_statistics(labels: FloatArray) -> TraitStatistics:
    """Compute the statistics that cut the trait classes.

    Args:
        labels: (N, 5) labels in [0, 1]; NaN where a clip has none.

    Returns:
        Mean and population standard deviation per trait, NaN ignored.

    Example:
        >>> trait_statistics(np.array([[0.0] * 5, [1.0] * 5])).sd
        array([0.5, 0.5, 0.5, 0.5, 0.5])
    """
    return TraitStatistics(np.nanmean(labels, axis=0), np.nanstd(labels, axis=0))


def trait_classes(labels: FloatArray, statistics: TraitStatistics) -> npt.NDArray[np.int64]:
    """Cut labels into the classes C1 to C4 of the paper (section 3), per trait.

    C1 is [0, mean - sd), C2 [mean - sd, mean), C3 [mean, mean + sd), C4 [mean + sd, 1].

    Args:
        labels: (N, 5) labels.
        statistics: Mean and standard deviation of the *training* split.

    Returns:
        (N, 5) class numbers 0 to 3 for C1 to C4; -1 where the label is NaN.

    Example:
        >>> s = TraitStatistics(np.full(5, 0.5), np.full(5, 0.1))
        >>> trait_classes(np.array([[0.1, 0.4, 0.5, 0.6, np.nan]]), s)
        array([[ 0,  1,  2,  3, -1]])
    """
    mean, sd = statistics
    bounds = np.stack([mean - sd, mean, mean + sd])
    classes = (labels[None] >= bounds[:, None]).sum(axis=0)
    return np.where(np.isnan(labels), -1, classes).astype(np.int64)
