"""Controls for a fused model: means of predictions, late fusion by weights of each trait, a ridge stack.

Weights are fitted on validation. What an ensemble says of the validation clips themselves is cross-validated over
groups of sources, so that its validation metric may stand beside those of trained models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.baselines import STRENGTHS
from apt_lightning.evaluation.predictions import Predictions

FloatArray = npt.NDArray[np.float64]
StringArray = npt.NDArray[np.str_]
Fitted = Callable[[FloatArray], FloatArray]

GROUPS = 5
"""Groups of sources in a cross-validation."""


@dataclass(frozen=True)
class Ensemble:
    """Predictions of several systems taken together."""

    validation: Predictions
    test: Predictions
    parameters: int
    """Numbers fitted on validation."""


def average(validation: Sequence[Predictions], test: Sequence[Predictions]) -> Ensemble:
    """Mean of the systems' predictions; nothing is fitted.

    Args:
        validation: Predictions of the validation clips, a table a system, the same clips in the same order.
        test: The same of the test clips.
    """
    means = [_with(tables, _stack(tables).mean(axis=1)) for tables in (validation, test)]
    return Ensemble(means[0], means[1], parameters=0)


def late_fusion(validation: Sequence[Predictions], test: Sequence[Predictions]) -> Ensemble:
    """Weighted mean of the systems' predictions, weights of each trait fitted by least squares.

    Args:
        validation: As for :func:`average`.
        test: As for :func:`average`.

    Raises:
        DataError: If fewer than two sources of the validation clips have all labels.
    """
    return _fitted(validation, test, _fit_weights, 5 * len(test))


def ridge_stack(validation: Sequence[Predictions], test: Sequence[Predictions]) -> Ensemble:
    """Ridge regression of the labels on all traits of all systems; the penalty is chosen by cross-validation.

    Args:
        validation: As for :func:`average`.
        test: As for :func:`average`.

    Raises:
        DataError: If fewer than two sources of the validation clips have all labels.
    """
    return _fitted(validation, test, _fit_ridge, 5 * (5 * len(test) + 1))


def trait_weights(x: FloatArray, y: FloatArray) -> FloatArray:
    """Weights, none below 0 and 1 in sum, with which columns come nearest to a target by least squares.

    Args:
        x: (N, S) predictions of S systems.
        y: (N,) labels.

    Returns:
        (S,).

    Example:
        >>> trait_weights(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), np.array([0.25, 0.75, 0.5])).round(6).tolist()
        [0.75, 0.25]
    """
    from scipy.optimize import nnls

    heavy = 1e4 * np.sqrt(len(x))  # a row that all but fixes the sum; then it is fixed
    weights, _ = nnls(np.vstack([x, np.full(x.shape[1], heavy)]), np.append(y, heavy))
    return np.asarray(weights / weights.sum())


def _fit_weights(x: FloatArray, y: FloatArray, groups: StringArray) -> Fitted:
    weights = np.stack([trait_weights(x[:, :, j], y[:, j]) for j in range(y.shape[1])], axis=1)
    return lambda new: np.einsum("nst,st->nt", new, weights)


def _fit_ridge(x: FloatArray, y: FloatArray, groups: StringArray) -> Fitted:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    search = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()),
        {"ridge__alpha": STRENGTHS},
        scoring="neg_mean_absolute_error",
        cv=GroupKFold(min(GROUPS, len(set(groups)))),
    ).fit(x.reshape(len(x), -1), y, groups=groups)
    return lambda new: np.asarray(search.predict(new.reshape(len(new), -1)))


def _fitted(
    validation: Sequence[Predictions],
    test: Sequence[Predictions],
    fit: Callable[[FloatArray, FloatArray, StringArray], Fitted],
    parameters: int,
) -> Ensemble:
    """Fit on all labelled validation clips for test, and without each group of sources for that group."""
    from sklearn.model_selection import GroupKFold

    x, y = _stack(validation), validation[0].true
    sources = np.asarray(validation[0].sources)
    rows = np.flatnonzero(~np.isnan(y).any(axis=1))
    n_sources = len(set(sources[rows]))
    if n_sources < 3:
        raise DataError(
            f"weights of systems are fitted on validation clips of 3 sources or more with all labels; got {n_sources}"
        )
    out = np.empty(y.shape)
    unlabelled = np.isnan(y).any(axis=1)
    out[unlabelled] = fit(x[rows], y[rows], sources[rows])(x[unlabelled]) if unlabelled.any() else 0
    for kept, left in GroupKFold(min(GROUPS, n_sources)).split(rows, groups=sources[rows]):
        inside = rows[kept]
        out[rows[left]] = fit(x[inside], y[inside], sources[inside])(x[rows[left]])
    predicted = fit(x[rows], y[rows], sources[rows])(_stack(test))
    return Ensemble(_with(validation, out), _with(test, predicted), parameters)


def _stack(tables: Sequence[Predictions]) -> FloatArray:
    """(N, S, 5) predictions of S systems.

    Raises:
        DataError: If they are of other clips.
    """
    if any(list(table.clips) != list(tables[0].clips) for table in tables):
        raise DataError("systems can only be taken together on the same clips in the same order")
    return np.stack([table.predicted for table in tables], axis=1)


def _with(tables: Sequence[Predictions], predicted: FloatArray) -> Predictions:
    return replace(tables[0], predicted=predicted)
