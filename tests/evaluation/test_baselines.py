import numpy as np
import pytest
from sklearn.linear_model import Ridge

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.baselines import STRENGTHS, constant, ridge, source_lookup

RNG = np.random.default_rng(0)


def test_constants_are_the_training_mean_and_median():
    train = RNG.random((11, 5))
    train[0, 0] = np.nan
    np.testing.assert_allclose(constant(train, 3), np.nanmean(train, axis=0) * np.ones((3, 1)))
    np.testing.assert_allclose(constant(train, 2, "median")[1], np.nanmedian(train, axis=0))


def test_look_up_equals_its_formula_clip_by_clip():
    train, sources = RNG.random((40, 5)), [f"s{i}" for i in RNG.integers(12, size=40)]
    train[RNG.random((40, 5)) < 0.2] = np.nan
    asked = [f"s{i}" for i in range(15)]
    got = source_lookup(train, sources, asked)
    mean = np.nanmean(train, axis=0)
    for row, source in zip(got, asked, strict=True):
        for j in range(5):
            own = np.array([t[j] for t, s in zip(train, sources, strict=True) if s == source and not np.isnan(t[j])])
            n = len(own)
            expected = mean[j] + n / (n + 0.75) * (own.mean() - mean[j]) if n else mean[j]
            assert row[j] == pytest.approx(expected, abs=1e-12)
    assert source_lookup(train, sources, []).shape == (0, 5)


def test_ridge_takes_the_penalty_that_is_best_on_validation():
    weights = RNG.normal(0, 0.02, (30, 5))
    x = RNG.normal(size=(120, 30))
    y = np.clip(0.5 + x @ weights + RNG.normal(0, 0.1, (120, 5)), 0, 1)
    got, strength = ridge(x[:60], y[:60], x[60:90], y[60:90], x[90:])
    mean, sd = x[:60].mean(axis=0), x[:60].std(axis=0)
    errors, predictions = [], []
    for alpha in STRENGTHS:
        model = Ridge(alpha=alpha).fit((x[:60] - mean) / sd, y[:60])
        errors.append(np.abs(np.clip(model.predict((x[60:90] - mean) / sd), 0, 1) - y[60:90]).mean())
        predictions.append(np.clip(model.predict((x[90:] - mean) / sd), 0, 1))
    assert strength == STRENGTHS[int(np.argmin(errors))]
    np.testing.assert_allclose(got, predictions[int(np.argmin(errors))])
    assert np.abs(got - y[90:]).mean() < np.abs(y[:60].mean(axis=0) - y[90:]).mean()


def test_ridge_bears_missing_features_and_labels():
    x, y = RNG.normal(size=(40, 4)), RNG.random((40, 5))
    x[::3, 0], x[:, 1], y[5, 2] = np.nan, np.nan, np.nan
    got, _ = ridge(x[:20], y[:20], x[20:30], y[20:30], x[30:])
    assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 1


def test_baselines_need_labels():
    none = np.full((3, 5), np.nan)
    with pytest.raises(DataError, match="at least one training label of each trait"):
        constant(none, 1)
    with pytest.raises(DataError, match="at least one training label"):
        source_lookup(none, ["a"] * 3, ["a"])
    with pytest.raises(DataError, match="all five labels"):
        ridge(np.ones((3, 2)), none, np.ones((3, 2)), none, np.ones((3, 2)))
