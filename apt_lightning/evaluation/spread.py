"""Extremes at equal spread: what is left of a gain on low and high clips once predictions are spread as widely.

Multiplying the deviations of predictions from their mean moves them towards extreme labels: low and high gain, clips
in the middle lose, and 1-MAE hardly changes. So a system that says more at the extremes may only say everything
louder. Here each system's deviations are scaled so that its ratio of predicted to true spread is that of the others;
the factor is fitted on validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.evaluation.calibration import DECILES, deciles
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS
from apt_lightning.evaluation.moments import metrics_of, moments
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.tables import number, render

FloatArray = npt.NDArray[np.float64]

FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5)
"""Of the curve."""


@dataclass(frozen=True)
class Scaling:
    """p -> centre + factor * (p - centre), per trait."""

    centre: FloatArray
    """(5,) mean prediction."""
    factor: FloatArray
    """(5,) NaN where predictions or labels are all equal: then nothing is scaled."""

    def apply(self, predictions: Predictions) -> Predictions:
        """Scale the predictions of the model that the scaling was fitted on."""
        scaled = self.centre + self.factor * (predictions.predicted - self.centre)
        return replace(predictions, predicted=np.where(np.isnan(self.factor), predictions.predicted, scaled))


class System(NamedTuple):
    """One system: its predictions and those of the same models for the validation split, a pair a seed."""

    test: Sequence[Predictions]
    validation: Sequence[Predictions] | None
    """None = not known; then the factor is fitted on the judged clips themselves, five numbers a system."""

    @property
    def fitted_on(self) -> Sequence[Predictions]:
        """Where factors are fitted."""
        return self.test if self.validation is None else self.validation


def spread_ratio(tables: Sequence[Predictions]) -> FloatArray:
    """Ratio of the predictions' standard deviation to the labels', mean over tables.

    Args:
        tables: At least one.

    Returns:
        (5,); NaN for fewer than two labelled clips or equal labels, 0 for equal predictions.
    """
    ratios = [metrics_of(moments(table).sum(axis=0))["sd ratio"][:5] for table in tables]
    return np.asarray(np.mean(ratios, axis=0))


def fit_scaling(predictions: Predictions, ratio: FloatArray) -> Scaling:
    """Find the factors that bring a model to a ratio of spreads.

    Args:
        predictions: Of the validation split.
        ratio: (5,) wanted ratio of predicted to true standard deviation.

    Example:
        >>> labels = np.array([[0.2] * 5, [0.6] * 5])
        >>> p = Predictions(["a", "b"], ["a", "b"], np.zeros(2), labels, np.array([[0.3] * 5, [0.5] * 5]))
        >>> fit_scaling(p, np.full(5, 0.75)).factor.round(3).tolist()
        [1.5, 1.5, 1.5, 1.5, 1.5]
    """
    own = spread_ratio([predictions])
    known = ~np.isnan(predictions.true)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.where(known, predictions.predicted, 0.0).sum(axis=0) / known.sum(axis=0)
        factor = np.where(own > 1e-5, ratio / own, np.nan)
    return Scaling(np.where(np.isnan(centre), 0.5, centre), factor)


def at_equal_spread(systems: Mapping[str, System]) -> dict[str, list[Predictions]]:
    """Bring all systems to the spread of the first.

    Args:
        systems: Name to system; the seeds of the first are brought to their mean.

    Returns:
        Name to predictions, a table a seed, of the systems that have a spread in all traits; a constant has none.
    """
    ratio = spread_ratio(next(iter(systems.values())).fitted_on)
    scaled = {}
    for name, system in systems.items():
        fits = [fit_scaling(table, ratio) for table in system.fitted_on]
        if all((fit.factor > 0).all() for fit in fits):
            scaled[name] = [fit.apply(table) for fit, table in zip(fits, system.test, strict=True)]
    return scaled


def equal_spread_table(systems: Mapping[str, System], title: str) -> str:
    """Lay out low and high, raw and at the spread of the first system.

    Args:
        systems: Name to system; at least one.
        title: What the clips are.
    """
    scaled = at_equal_spread(systems)
    head = ["", "sd ratio", *(f"{metric}{at}" for at in ("", ", equal spread") for metric in ("1-MAE", "low", "high"))]
    rows = []
    for name, system in systems.items():
        raw = mean_figures(system.test)
        even = mean_figures(scaled[name]) if name in scaled else dict.fromkeys(raw, np.nan)
        cells = [number(raw["sd ratio"], 2)]
        rows.append([name, *cells, *(number(x[m]) for x in (raw, even) for m in ("1-MAE", "low", "high"))])
    known = all(system.validation is not None for system in systems.values())
    fitted = "validation" if known else "the clips themselves, as there are no validation predictions"
    notes = [
        f"Deviations from the mean are scaled, per trait, to the sd ratio of {next(iter(systems))}.",
        f"Factors fitted on {fitted}.",
        "A gain at low and high that is gone at equal spread was bought by spreading predictions more widely.",
    ]
    missing = [name for name in systems if name not in scaled]
    if missing:
        notes.append(f"Equal spread is undefined without a spread in every trait: {', '.join(missing)}.")
    title = f"{title}, extremes at equal spread, mean over traits: {_sizes(systems)}"
    return render(head, rows, title, notes)


def equal_spread_deciles(systems: Mapping[str, System], title: str) -> str:
    """Lay out errors by decile of the label, raw and at the spread of the first system.

    Args:
        systems: Name to system; at least one.
        title: What the clips are.
    """
    scaled = at_equal_spread(systems)
    rows = []
    for name, system in systems.items():
        for at, tables in (("", system.test), (", equal spread", scaled.get(name))):
            if tables is not None:
                error = np.mean([deciles(t, resamples=1).mae.mean(axis=0) for t in tables], axis=0)
                rows.append([f"{name}{at}", *(number(float(e), 3) for e in error)])
    title = f"{title}, mean absolute error by decile of the label, mean over traits: {_sizes(systems)}"
    return render(["", *(str(i + 1) for i in range(DECILES))], rows, title)


def _sizes(systems: Mapping[str, System]) -> str:
    table = next(iter(systems.values())).test[0]
    return f"{len(table)} clips of {len(set(table.sources))} sources"


def mean_figures(tables: Sequence[Predictions]) -> dict[str, float]:
    """1-MAE, low, high and sd ratio: means over traits and tables."""
    found = [metrics_of(moments(table).sum(axis=0)) for table in tables]
    return {metric: float(np.mean([f[metric][-1] for f in found])) for metric in ("1-MAE", "low", "high", "sd ratio")}


def spread_curve(system: System, factors: Sequence[float] = FACTORS) -> dict[float, dict[str, float]]:
    """Metrics when deviations from the mean prediction are multiplied by a factor.

    Args:
        system: Predictions; the mean is that of validation.
        factors: To try.

    Returns:
        Factor to 1-MAE, low, high and sd ratio, means over traits and seeds.
    """
    curve = {}
    for factor in factors:
        scalings = [replace(fit_scaling(t, np.ones(5)), factor=np.full(5, factor)) for t in system.fitted_on]
        curve[factor] = mean_figures([s.apply(t) for s, t in zip(scalings, system.test, strict=True)])
    return curve


def curve_text(system: System, title: str) -> str:
    """Lay out :func:`spread_curve`, a row a factor.

    Args:
        system: Predictions.
        title: What they are.
    """
    metrics = ("sd ratio", "1-MAE", "low", "high")
    rows = [[f"{factor:g}", *(number(f[m]) for m in metrics)] for factor, f in spread_curve(system).items()]
    note = "Deviations from the mean prediction times the factor; nothing else changes."
    return render(["factor", *metrics], rows, f"{title}, low and high over the factor, mean over traits", [note])


def implied_correlation(accuracy: FloatArray, ratio: FloatArray, sd: FloatArray) -> FloatArray:
    """Correlation that a 1-MAE implies at a given spread, if errors are normal and centred.

    A normal error has the standard deviation s = MAE * sqrt(pi / 2), and s² = sd² (1 + ratio² - 2 ratio r).

    Args:
        accuracy: 1-MAE.
        ratio: Predicted over true standard deviation, above 0.
        sd: Standard deviation of the labels, above 0.

    Returns:
        r; above 1 where no predictions of that spread can have that 1-MAE, so that one of the two is not right.

    Example:
        >>> implied_correlation(np.array([0.9127]), np.array([0.75]), np.array([0.147])).round(3).tolist()
        [0.672]
    """
    error = (1 - np.asarray(accuracy)) * np.sqrt(np.pi / 2) / sd
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((1 + np.square(ratio) - error**2) / (2 * np.asarray(ratio)))


def least_correlation(accuracy: FloatArray, sd: FloatArray) -> FloatArray:
    """The least correlation that a 1-MAE implies whatever the spread; reached where ratio and correlation are equal.

    Args:
        accuracy: 1-MAE.
        sd: Standard deviation of the labels, above 0.

    Returns:
        sqrt(1 - s² / sd²); 0 where even a constant has that 1-MAE.
    """
    error = (1 - np.asarray(accuracy)) * np.sqrt(np.pi / 2) / sd
    return np.asarray(np.sqrt(np.maximum(1 - error**2, 0)))


def plausibility_text(predictions: Predictions, title: str) -> str:
    """Lay out the correlation that 1-MAE and spread imply beside the one there is.

    Args:
        predictions: Labels and predictions.
        title: What they are.
    """
    found = metrics_of(moments(predictions).sum(axis=0))
    implied = implied_correlation(found["1-MAE"][:5], found["sd ratio"][:5], np.nanstd(predictions.true, axis=0))
    rows = [
        ["PCC", *(number(float(v), 3) for v in found["PCC"])],
        ["implied by 1-MAE and sd ratio", *(number(float(v), 3) for v in (*implied, implied.mean()))],
    ]
    note = (
        "Far apart: errors are far from normal, or predictions are shifted. For metrics without predictions see docs."
    )
    return render(["", *TRAIT_COLUMNS], rows, f"{title}, correlation: {len(predictions)} clips", [note])
