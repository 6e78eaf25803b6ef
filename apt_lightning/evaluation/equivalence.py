"""One of better, worse, equal within a margin, or undecided; and how many sources would decide.

*Equal* is shown by two one-sided tests (Schuirmann 1987): that the difference is above minus the margin, and that it
is below the margin, each at the level, so that a difference of the margin or more is called equal at most as often
as the level says. A difference that is not shown is not thereby shown to be none.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import ndtr

FloatArray = npt.NDArray[np.float64]

MARGIN = 0.001
"""Differences below this count as none (ours): a third of the gain that the paper reports."""
POWER = 0.8
"""Chance of a verdict at the number of sources that is said to decide."""
MOST = 10**7
"""More sources than this are no answer."""


def p_equal(difference: FloatArray, error: FloatArray, freedom: FloatArray, margin: float) -> FloatArray:
    """P-value of the claim that a difference lies within the margin: the greater of two one-sided tests.

    Args:
        difference: (K,) estimates.
        error: (K,) their standard errors; 0 for a difference without chance.
        freedom: (K,) degrees of freedom of the errors.
        margin: Above 0.

    Returns:
        (K,); NaN where difference or error is.

    Example:
        >>> p_equal(np.array([0.0, 0.002]), np.array([0.0003, 0.0]), np.array([50.0, 50.0]), 0.001).round(4).tolist()
        [0.0008, 1.0]
    """
    room = margin - np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        tested = stats.t.sf(room / error, freedom)
    p: FloatArray = np.where(error == 0, np.where(room > 0, 0.0, 1.0), tested)
    return p


def verdict(difference: float, p: float, p_of_equality: float, alpha: float = 0.05) -> str:
    """Name what is shown. A difference that is shown to be within the margin is equal, even where it is above 0.

    Args:
        difference: Estimate; its sign counts.
        p: Two-sided, of no difference.
        p_of_equality: From :func:`p_equal`.
        alpha: Level of both tests.

    Returns:
        ``better``, ``worse``, ``equal`` or ``undecided``.

    Example:
        >>> verdict(0.004, 0.001, 0.99), verdict(0.0004, 0.01, 0.02), verdict(-0.004, 0.3, 0.9)
        ('better', 'equal', 'undecided')
    """
    if p_of_equality < alpha:
        return "equal"
    if p < alpha:
        return "better" if difference > 0 else "worse"
    return "undecided"


def sources_needed(
    difference: float,
    over_sources: float,
    over_seeds: float,
    sources: int,
    margin: float = MARGIN,
    alpha: float = 0.05,
) -> int | None:
    """Least number of sources at which one test would decide, were the difference what it is estimated to be.

    The variance over sources falls with their number, that over training seeds does not. The answer is of the
    normal distribution, for one test without correction, and has the power :data:`POWER`.

    Args:
        difference: Estimate.
        over_sources: Variance of the estimate over sources, at ``sources`` of them.
        over_seeds: Variance over training seeds.
        sources: How many sources the estimate rests on.
        margin: Of equality.
        alpha: Level of the tests.

    Returns:
        The number; None where more sources alone would not do, or a metric is undefined.
    """
    if not np.isfinite([difference, over_sources, over_seeds]).all():
        return None

    two, one = stats.norm.isf([alpha / 2, alpha]).tolist()

    def power(n: float) -> float:
        error = math.sqrt(over_sources * sources / n + over_seeds)
        if error == 0:
            return 1.0 if abs(difference) != margin else 0.0
        upper, lower = (margin - difference) / error - one, (-margin - difference) / error + one
        return float(max(ndtr(abs(difference) / error - two), ndtr(upper) - ndtr(lower)))

    if power(MOST) < POWER:
        return None
    low, high = 1, MOST  # the power only rises with the number
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle + 1, high)
    return low
