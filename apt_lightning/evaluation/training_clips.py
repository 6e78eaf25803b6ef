"""What a model's training clips were like: their ratings, and how far their features lie from their own middle.

The distance is Mahalanobis' with a shrunk covariance (`Ledoit and Wolf, 2004
<https://doi.org/10.1016/S0047-259X(03)00096-4>`__), as `Lee et al., 2018 <https://arxiv.org/abs/1807.03888>`__ use it
to find inputs unlike those of training. A clip's own weight would make the training clips look near, so each is
measured by the clips of other sources (:data:`FOLDS` folds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
"""Parts of the sources, each measured by the others."""
GRID = np.linspace(0, 1, 101)
"""Where quantiles are kept."""
UNLIKE = 0.99
"""Share of the training clips that lie nearer than a clip that is called unlike them; ours."""


class Cloud(NamedTuple):
    """Features of the training clips in one modality."""

    centre: FloatArray
    """(Q,) mean."""
    precision: FloatArray
    """(Q, Q) inverse of the shrunk covariance."""
    distances: FloatArray
    """(101,) quantiles of the training clips' own distances."""

    @classmethod
    def fit(cls, features: FloatArray, sources: Sequence[str]) -> Cloud | None:
        """Measure (N, Q) features of clips of N ``sources``; None of fewer than :data:`FOLDS` different ones."""
        different, numbers = np.unique(sources, return_inverse=True)
        if len(different) < FOLDS:
            return None
        folds = np.random.default_rng(0).permutation(len(different))[numbers] % FOLDS
        own = np.concatenate([_distances(features[folds == k], *_fit(features[folds != k])) for k in range(FOLDS)])
        return cls(*_fit(features), np.quantile(own, GRID))

    def distance(self, feature: FloatArray) -> float:
        """How far a feature (Q,) lies from the centre, in deviations of the training clips."""
        return float(_distances(feature[None], self.centre, self.precision)[0])


def _fit(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and inverse of the shrunk covariance, by Cholesky: scikit-learn's, by eigenvalues, takes far longer."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve, pinvh
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(features)
    try:
        precision = cho_solve(cho_factor(covariance), np.eye(len(covariance)))
    except LinAlgError:  # not shrunk, and of features that do not vary
        precision = pinvh(covariance)
    return features.mean(axis=0), precision


def _distances(features: FloatArray, centre: FloatArray, precision: FloatArray) -> FloatArray:
    offsets = features - centre
    distances: FloatArray = np.sqrt(np.einsum("nq,qr,nr->n", offsets, precision, offsets).clip(0))
    return distances


def share_below(quantiles: FloatArray, value: float) -> float:
    """Share of the training clips below a value.

    Args:
        quantiles: (101,) in rising order.
        value: Anything.

    Example:
        >>> share_below(np.linspace(0, 10, 101), 7.1), share_below(np.linspace(0, 10, 101), 11)
        (0.71, 1.0)
    """
    return round(float(np.interp(value, quantiles, GRID, left=0.0, right=1.0)), 4)


@dataclass(frozen=True)
class TrainingClips:
    """What is kept of the training clips in a checkpoint; nothing of any single one."""

    ratings: FloatArray
    """(101, 5) quantiles of their labels, by trait."""
    clouds: Mapping[str, Cloud] = field(default_factory=dict)
    """By modality; empty if features were not at hand, as in stage 1."""

    def higher_than(self, scores: FloatArray) -> list[float]:
        """Share of the training clips that were rated lower than scores (5,), by trait."""
        return [share_below(self.ratings[:, trait], float(score)) for trait, score in enumerate(scores)]

    def to_arrays(self) -> dict[str, FloatArray]:
        """Arrays by name; :meth:`from_arrays` undoes it."""
        parts = {f"{name}.{part}": a for name, cloud in self.clouds.items() for part, a in cloud._asdict().items()}
        return {"ratings": self.ratings, **parts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> TrainingClips:
        """Check arrays and put them together.

        Raises:
            ValueError: If one is missing or of a wrong shape.
        """
        arrays = dict(arrays)
        ratings = arrays.pop("ratings", np.empty(0))
        clouds: dict[str, Cloud] = {}
        for name in dict.fromkeys(key.rpartition(".")[0] for key in arrays):
            parts = [arrays.get(f"{name}.{part}", np.empty(0)) for part in Cloud._fields]
            clouds[name] = cloud = Cloud(*parts)
            size = len(cloud.centre)
            if [part.shape for part in parts] != [(size,), (size, size), GRID.shape] or not size:
                raise ValueError(f"the description of the training clips' {name} features has a wrong shape")
        if ratings.shape != (len(GRID), 5):
            raise ValueError("the description of the training clips' ratings has a wrong shape")
        return cls(ratings, clouds)
