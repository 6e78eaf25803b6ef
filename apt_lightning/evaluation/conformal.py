"""Prediction intervals with coverage: split-conformal, normalised so that hard clips get wider ones.

Half of the validation sources fit how large the error of a clip tends to be (its *difficulty*), the other
half gives the quantile of error over difficulty (Lei et al. 2018, section 5.2). Sources are split and
counted, not clips, as clips of one source resemble each other: the quantile's level is raised by the number
of sources. Coverage is promised on average over clips like those of validation, not within each label
decile: where labels are extreme, errors are larger, and coverage is measured rather than promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import CheckpointError, DataError
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.bootstrap import (
    RESAMPLES,
    bootstrap_sums,
    cluster_sums,
    percentile_interval,
)
from apt_lightning.evaluation.calibration import DECILES, decile_of
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import interval, number, render

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

COVERAGE = 0.9
"""Default nominal coverage."""
_SHRINK = 0.05
"""Ridge penalty of the difficulty, a share of the number of clips."""
RANGE = (0.25, 4.0)
"""Difficulty stays within these multiples of the mean error."""
_MIN_ERROR = 1e-3
"""Least mean error, in label units: a model that is exact on validation gets no interval of width 0."""


@dataclass(frozen=True)
class Conformal:
    """Parameters of the intervals, plain numbers and lists: they fit in a checkpoint and a JSON file."""

    level: float
    """Nominal coverage."""
    centre: list[float]
    """(D,) means of the covariates."""
    scale: list[float]
    """(D,) their deviations."""
    weights: list[list[float]]
    """(5, D) weights of the standardised covariates in the difficulty."""
    error: list[float]
    """(5,) mean absolute error on the fitting half."""
    quantile: list[float]
    """(5,) quantile of error over difficulty on the calibration half."""
    clips: int
    """Clips of the calibration half."""
    sources: int
    """Sources of the calibration half."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Conformal:
        """Rebuild from :meth:`to_dict`.

        Args:
            values: What a checkpoint holds.

        Raises:
            CheckpointError: If a part is missing, of another size, or not finite.
        """
        try:
            found = cls(**values)
            size = len(found.centre)
            sizes = {"level": (), "centre": (size,), "scale": (size,), "weights": (5, size)}
            sizes |= {"error": (5,), "quantile": (5,), "clips": (), "sources": ()}
            parts = {name: np.array(getattr(found, name), dtype=np.float64) for name in sizes}
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the interval parameters are damaged: {error}") from None
        wrong = [name for name, part in parts.items() if part.shape != sizes[name] or not np.isfinite(part).all()]
        if wrong or size < 10 or not (parts["scale"] > 0).all() or not 0 < found.level < 1:
            raise CheckpointError(
                f"the interval parameters are damaged: {', '.join(wrong) or 'scale, level or centre'}"
            )
        return found

    def difficulty(self, predicted: FloatArray, covariates: FloatArray | None = None) -> FloatArray:
        """Absolute error to expect.

        Args:
            predicted: (N, 5) predictions in [0, 1].
            covariates: (N, E) as at the fit.

        Returns:
            (N, 5) in label units, above 0.

        Raises:
            DataError: If the number of covariates is not that of the fit.
        """
        x = _design(predicted, covariates)
        if x.shape[1] != len(self.centre):
            raise DataError(f"intervals were fitted with {len(self.centre) - 10} covariates, got {x.shape[1] - 10}")
        standard = (x - np.array(self.centre)) / np.array(self.scale)
        error = np.array(self.error)
        low, high = RANGE
        expected: FloatArray = np.clip(error + standard @ np.array(self.weights).T, low * error, high * error)
        return expected

    def intervals(self, predicted: FloatArray, covariates: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Ends of the intervals.

        Args:
            predicted: (N, 5) predictions in [0, 1].
            covariates: (N, E) as at the fit.

        Returns:
            Lower and upper ends, (N, 5), within [0, 1].
        """
        half = np.array(self.quantile) * self.difficulty(predicted, covariates)
        return np.clip(predicted - half, 0, 1), np.clip(predicted + half, 0, 1)


def fit_conformal(
    validation: Predictions, covariates: FloatArray | None = None, level: float = COVERAGE, seed: int = 0
) -> Conformal:
    """Fit intervals on the validation split.

    With fewer than level / (1 - level) calibration sources no narrower interval than [0, 1] has the coverage.

    Args:
        validation: Predictions for clips that the model was not trained on.
        covariates: (N, E) what else tells hard clips from easy ones and is known for a new clip, such as the
            spread of the predictions over subsets of the modalities. The predictions and their squares always
            count.
        level: Nominal coverage.
        seed: Seed of the split of the sources in halves.

    Raises:
        DataError: If there are fewer than two sources, or a trait lacks labels in one of the halves.
    """
    names = np.unique(np.asarray(validation.sources))
    if len(names) < 2:
        raise DataError(f"intervals need validation clips of two sources at least, got {len(names)}")
    half = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    fitting = np.isin(np.asarray(validation.sources), half)
    known = ~np.isnan(validation.true)
    residual = np.abs(validation.predicted - np.nan_to_num(validation.true))
    if not (known[fitting].any(axis=0) & known[~fitting].any(axis=0)).all():
        raise DataError("intervals need labels of each trait in both halves of the validation sources")
    x = _design(validation.predicted, covariates)
    centre, scale = x[fitting].mean(axis=0), x[fitting].std(axis=0)
    scale = np.where(scale > 1e-7, scale, 1.0)
    standard = (x - centre) / scale
    weights, error = [], []
    for j in range(5):
        rows = fitting & known[:, j]
        mean = residual[rows, j].mean()
        gram = standard[rows].T @ standard[rows] + _SHRINK * rows.sum() * np.eye(x.shape[1])
        weights.append(np.linalg.solve(gram, standard[rows].T @ (residual[rows, j] - mean)).tolist())
        error.append(max(float(mean), _MIN_ERROR))
    unscaled = Conformal(level, centre.tolist(), scale.tolist(), weights, error, [1.0] * 5, 0, 0)
    ratio = residual / unscaled.difficulty(validation.predicted, covariates)
    sources = np.asarray(validation.sources)[~fitting]
    quantile = [
        _quantile(ratio[~fitting & known[:, j], j], len(np.unique(sources[known[~fitting, j]])), level, error[j])
        for j in range(5)
    ]
    return Conformal(
        level,
        centre.tolist(),
        scale.tolist(),
        weights,
        error,
        quantile,
        len(sources),
        len(np.unique(sources)),
    )


def _design(predicted: FloatArray, covariates: FloatArray | None) -> FloatArray:
    parts = [predicted, predicted**2]
    return np.concatenate(parts if covariates is None else [*parts, covariates], axis=1)


def _quantile(ratio: FloatArray, sources: int, level: float, error: float) -> float:
    raised = level * (1 + 1 / sources)
    if raised > 1:
        return 1 / (RANGE[0] * error)  # half a width of 1 even for the easiest clip
    return float(np.quantile(ratio, raised, method="higher"))


@dataclass(frozen=True)
class Coverage:
    """Share of labels inside their interval, for one group of labels."""

    name: str
    value: float
    """NaN without a label."""
    lower: float
    upper: float
    width: float
    """Mean width of the intervals."""
    labels: int
    sources: int


def coverage(
    conformal: Conformal,
    test: Predictions,
    covariates: FloatArray | None = None,
    groups: dict[str, BoolArray] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Coverage]:
    """Measure coverage on clips not used for the fit: overall, by trait, decile, source and group.

    Args:
        conformal: Fitted intervals.
        test: Labels and predictions.
        covariates: (N, E) as at the fit.
        groups: Further groups, name to (N,) mask.
        resamples: Bootstrap samples over sources, for 95 % intervals of the coverage.
        seed: Seed of the bootstrap.
    """
    lower, upper = conformal.intervals(test.predicted, covariates)
    known = ~np.isnan(test.true)
    inside = known & (lower <= test.true) & (test.true <= upper)
    width = upper - lower
    decile = decile_of(test.true)
    masks: dict[str, BoolArray] = {"overall": known}
    masks |= {trait: known & (np.arange(5) == j) for j, trait in enumerate(TRAIT_CODES)}
    masks |= {f"decile {d + 1}": decile == d for d in range(DECILES)}
    clips = {"seen sources": test.seen_source, "unseen sources": ~test.seen_source, **(groups or {})}
    masks |= {name: known & mask[:, None] for name, mask in clips.items()}
    return [_coverage(name, mask, inside, width, test.sources, resamples, seed) for name, mask in masks.items()]


def _coverage(
    name: str,
    mask: BoolArray,
    inside: BoolArray,
    width: FloatArray,
    sources: Sequence[str],
    resamples: int,
    seed: int,
) -> Coverage:
    parts = np.stack([mask.sum(axis=1), (mask & inside).sum(axis=1), (mask * width).sum(axis=1)], axis=1)
    sums = cluster_sums(parts.astype(np.float64), sources)
    sums = sums[sums[:, 0] > 0]
    labels, hits, widths = sums.sum(axis=0)
    if labels == 0:
        return Coverage(name, np.nan, np.nan, np.nan, np.nan, 0, 0)
    drawn = bootstrap_sums(sums, resamples, seed)
    low, high = percentile_interval(drawn[:, 1] / drawn[:, 0]) if len(sums) > 1 else (np.nan, np.nan)
    return Coverage(name, hits / labels, float(low), float(high), widths / labels, int(labels), len(sums))


def coverage_text(found: Sequence[Coverage], conformal: Conformal, title: str) -> str:
    """Lay out coverage.

    Args:
        found: From :func:`coverage`.
        conformal: The intervals.
        title: What the clips are.
    """
    rows = [
        [c.name, interval(c.value, c.lower, c.upper, 3), number(c.width, 3), str(c.labels), str(c.sources)]
        for c in found
    ]
    note = (
        f"Fitted on validation clips; quantile from {conformal.clips} clips of {conformal.sources} sources. "
        "Promised overall, not for each row."
    )
    head = ["", "inside", "mean width", "labels", "sources"]
    return render(head, rows, f"{title}: coverage of {conformal.level:.0%} intervals", [note])
