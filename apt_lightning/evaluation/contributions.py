"""What predictions rest on: Shapley values of the modalities, permutation importance of acoustic families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError

FloatArray = npt.NDArray[np.float64]

Mask = tuple[bool, ...]
"""Which of the M modalities the model may use."""


class Shapley(NamedTuple):
    """Contributions of the modalities to each prediction."""

    values: FloatArray
    """(N, 5, M) in label units; with ``base`` they add up to the prediction from all modalities."""
    base: FloatArray
    """(N, 5) prediction without any modality."""


def shapley(value: Callable[[Mask], FloatArray], n_modalities: int) -> Shapley:
    """Compute the exact Shapley value of each modality from the model's answers to all 2^M subsets.

    A modality's value is the mean, over the orders in which modalities can be added, of what adding it
    changes (Shapley 1953).

    Args:
        value: Takes which modalities the model may use, gives its (N, 5) predictions. A modality that a clip
            lacks anyway changes nothing and gets 0.
        n_modalities: Their number M.

    Raises:
        DataError: If a prediction is not finite.

    Example:
        >>> s = shapley(lambda mask: np.full((1, 5), 0.5 + 0.1 * mask[0] + 0.2 * mask[2]), 3)
        >>> s.values[0, 0].round(3).tolist()
        [0.1, 0.0, 0.2]
    """
    n = n_modalities
    answers: dict[frozenset[int], FloatArray] = {}
    for size in range(n + 1):
        for subset in combinations(range(n), size):
            mask = tuple(i in subset for i in range(n))
            answers[frozenset(subset)] = answer = np.asarray(value(mask), dtype=np.float64)
            if not np.isfinite(answer).all():
                raise DataError(f"the model's prediction from the modalities {list(subset)} of {n} is not finite")
    values = np.zeros((*answers[frozenset()].shape, n))
    for chosen, before in answers.items():
        for i in set(range(n)) - chosen:
            weight = factorial(len(chosen)) * factorial(n - len(chosen) - 1) / factorial(n)
            values[..., i] += weight * (answers[chosen | {i}] - before)
    return Shapley(values, answers[frozenset()])


def average_contributions(found: Shapley) -> FloatArray:
    """Mean size of each modality's contribution over clips.

    Args:
        found: From :func:`shapley`.

    Returns:
        (5, M) mean absolute Shapley values, in label units.

    Raises:
        DataError: If there is no clip.
    """
    if len(found.values) == 0:
        raise DataError("contributions cannot be averaged over no clip")
    mean: FloatArray = np.abs(found.values).mean(axis=0)
    return mean


def permutation_importance(
    predict: Callable[[FloatArray], FloatArray],
    features: FloatArray,
    true: FloatArray,
    families: Mapping[str, Sequence[int]],
    repeats: int = 10,
    seed: int = 0,
) -> dict[str, FloatArray]:
    """Rise of the mean absolute error when a family's columns are dealt to other clips (Breiman 2001).

    Args:
        predict: Takes (N, D) features, gives (N, 5) predictions.
        features: (N, D).
        true: (N, 5) labels, NaN where missing.
        families: Family to columns.
        repeats: Permutations a family.
        seed: Seed of the permutations; the same for all families.

    Returns:
        Family to (repeats, 5) rises, in label units; their mean is the importance, about 0 without use.

    Raises:
        DataError: If there are fewer than two clips or a trait has no label.
    """
    if len(features) < 2 or np.isnan(true).all(axis=0).any():
        raise DataError("permutation importance needs two clips or more, and a label of each trait")

    def error(x: FloatArray) -> FloatArray:
        mean: FloatArray = np.nanmean(np.abs(predict(x) - true), axis=0)
        return mean

    base = error(features)
    rises = {}
    for family, columns in families.items():
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(repeats):
            permuted = features.copy()
            permuted[:, list(columns)] = features[rng.permutation(len(features))][:, list(columns)]
            found.append(error(permuted) - base)
        rises[family] = np.stack(found)
    return rises
