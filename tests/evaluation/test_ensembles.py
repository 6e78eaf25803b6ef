"""Ensembles against SciPy and scikit-learn, and that validation metrics are not those of the fit."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation import ensembles
from apt_lightning.evaluation.ensembles import average, late_fusion, ridge_stack, trait_weights
from apt_lightning.evaluation.predictions import Predictions


def drawn(n=120, n_systems=3, seed=0, noise=(0.05, 0.1, 0.2)):
    """A table a system, each the labels with noise of its own."""
    rng = np.random.default_rng(seed)
    true = np.clip(rng.normal(0.5, 0.13, (n, 5)), 0, 1)
    names, sources = [f"{i}.mp4" for i in range(n)], [f"s{i // 3}" for i in range(n)]
    plain = Predictions(names, sources, np.zeros(n), true, true)
    return [replace(plain, predicted=true + rng.normal(0, noise[k], (n, 5))) for k in range(n_systems)]


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_constrained_least_squares(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, 0.1, (60, 4))
    y = x @ [0.5, 0.7, 0, -0.2] + rng.normal(0, 0.05, 60)
    weights = trait_weights(x, y)
    found = minimize(
        lambda w: ((x @ w - y) ** 2).sum(),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    ).x
    np.testing.assert_allclose(weights, found, atol=1e-4)
    assert weights.sum() == pytest.approx(1) and weights.min() >= 0


def test_average_and_late_fusion_are_means_of_the_clipped_predictions():
    validation, test = drawn(seed=1), drawn(seed=2)
    mean = average(validation, test)
    np.testing.assert_allclose(mean.test.predicted, np.mean([t.predicted for t in test], axis=0))
    assert mean.parameters == 0 and mean.test.clips == test[0].clips
    fused = late_fusion(validation, test)
    for j in range(5):
        weights = trait_weights(np.array([t.predicted[:, j] for t in validation]).T, validation[0].true[:, j])
        assert weights[0] > weights[2]
        expected = np.array([t.predicted[:, j] for t in test]).T @ weights
        np.testing.assert_allclose(fused.test.predicted[:, j], expected, atol=1e-12)
    assert fused.parameters == 15


def test_the_stack_is_ridge_at_one_of_its_penalties():
    validation, test = drawn(seed=1), drawn(seed=2)
    stack = ridge_stack(validation, test)
    x, z = (np.hstack([t.predicted for t in tables]) for tables in (validation, test))
    x, z = (x - x.mean(axis=0)) / x.std(axis=0), (z - x.mean(axis=0)) / x.std(axis=0)
    candidates = [np.clip(Ridge(alpha=a).fit(x, validation[0].true).predict(z), 0, 1) for a in ensembles.STRENGTHS]
    assert min(np.abs(stack.test.predicted - c).max() for c in candidates) < 1e-9
    errors = [np.abs(s.test.predicted - test[0].true).mean() for s in (stack, average(validation, test))]
    assert errors[0] < errors[1] and stack.parameters == 80


@pytest.mark.parametrize("rule", [late_fusion, ridge_stack])
def test_a_validation_clip_is_not_scored_by_weights_that_its_source_fitted(rule):
    validation, test = drawn(30, seed=1), drawn(30, seed=2)
    before = rule(validation, test).validation.predicted[:3]
    true = validation[0].true.copy()
    true[:3] = 1 - true[:3]  # labels of the first source
    changed = [replace(table, true=true) for table in validation]
    np.testing.assert_allclose(rule(changed, test).validation.predicted[:3], before, atol=1e-12)


def test_degenerate_input():
    validation, test = drawn(seed=1), drawn(seed=2)
    gaps = validation[0].true.copy()
    gaps[::4, 1] = np.nan
    assert np.isfinite(ridge_stack([replace(t, true=gaps) for t in validation], test).validation.predicted).all()
    same = [validation[0]] * 2
    np.testing.assert_allclose(late_fusion(same, [test[0]] * 2).test.predicted, test[0].predicted, atol=1e-12)
    constant = [replace(t, predicted=np.full((120, 5), 0.5)) for t in validation]
    assert np.isfinite(ridge_stack(constant, constant).test.predicted).all()
    none = [replace(t, true=np.full((120, 5), np.nan)) for t in validation]
    with pytest.raises(DataError, match="3 sources or more"):
        late_fusion(none, test)
    with pytest.raises(DataError, match="same clips"):
        average(validation, [test[0], test[1].select(np.arange(120)[::-1])])
