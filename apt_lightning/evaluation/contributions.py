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

MODALITIES = ("audio", "visual", "text")
Mask = tuple[bool, bool, bool]
"""Which of :data:`MODALITIES` the model may use."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "pitch": ("F0",),
    "loudness": ("loudness", "equivalentSoundLevel"),
    "voice quality": ("jitter", "shimmer", "HNR", "logRelF0"),
    "formants": ("F1", "F2", "F3"),
    "spectrum": ("alphaRatio", "hammarberg", "slope", "spectralFlux"),
    "cepstrum": ("mfcc",),
    "timing": ("VoicedSegments", "MeanVoiced", "StddevVoiced", "MeanUnvoiced", "StddevUnvoiced"),
}
"""Families of eGeMAPS functionals by how their names begin (groups of Eyben et al. 2016, split further)."""


class Shapley(NamedTuple):
    """Contributions of the modalities to each prediction."""

    values: FloatArray
    """(N, 5, 3) in label units; with ``base`` they add up to the prediction from all modalities."""
    base: FloatArray
    """(N, 5) prediction without any modality."""


def shapley(value: Callable[[Mask], FloatArray]) -> Shapley:
    """Compute the exact Shapley value of each modality from the model's answers to all 8 subsets.

    A modality's value is the mean, over the orders in which modalities can be added, of what adding it
    changes (Shapley 1953).

    Args:
        value: Takes which modalities the model may use, gives its (N, 5) predictions. A modality that a clip
            lacks anyway changes nothing and gets 0.

    Raises:
        DataError: If a prediction is not finite.

    Example:
        >>> s = shapley(lambda mask: np.full((1, 5), 0.5 + 0.1 * mask[0] + 0.2 * mask[2]))
        >>> s.values[0, 0].round(3).tolist()
        [0.1, 0.0, 0.2]
    """
    n = len(MODALITIES)
    answers: dict[frozenset[int], FloatArray] = {}
    for size in range(n + 1):
        for subset in combinations(range(n), size):
            mask = (0 in subset, 1 in subset, 2 in subset)
            answers[frozenset(subset)] = answer = np.asarray(value(mask), dtype=np.float64)
            if not np.isfinite(answer).all():
                names = [MODALITIES[i] for i in subset] or ["no modality"]
                raise DataError(f"the model's prediction from {', '.join(names)} is not finite")
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
        (5, 3) mean absolute Shapley values, in label units.

    Raises:
        DataError: If there is no clip.
    """
    if len(found.values) == 0:
        raise DataError("contributions cannot be averaged over no clip")
    mean: FloatArray = np.abs(found.values).mean(axis=0)
    return mean


def egemaps_families(names: Sequence[str]) -> dict[str, list[int]]:
    """Sort functionals into :data:`FAMILIES`.

    Args:
        names: Names of the 88 functionals, as openSMILE gives them.

    Returns:
        Family to column numbers.

    Raises:
        DataError: If a name belongs to no family.

    Example:
        >>> egemaps_families(["F0semitoneFrom27.5Hz_sma3nz_amean", "F1frequency_sma3nz_amean"])
        {'pitch': [0], 'formants': [1]}
    """
    families: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        family = next((f for f, starts in FAMILIES.items() if name.startswith(starts)), None)
        if family is None:
            raise DataError(f"{name!r} is no eGeMAPS functional; only eGeMAPSv02 has families here")
        families.setdefault(family, []).append(column)
    return {family: families[family] for family in FAMILIES if family in families}


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
