import numpy as np
import pytest
import scipy.stats

from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.spread import (
    System,
    at_equal_spread,
    curve_text,
    equal_spread_deciles,
    equal_spread_table,
    fit_scaling,
    implied_correlation,
    least_correlation,
    plausibility_text,
    spread_curve,
)

STATISTICS = TraitStatistics(np.full(5, 0.5), np.full(5, 0.15))


def table(seed, slope=0.5, n=2000, noise=0.07):
    rng = np.random.default_rng(seed)
    true = np.clip(rng.normal(0.5, 0.15, (n, 5)), 0, 1)
    predicted = 0.45 + slope * (true - 0.5) + slope * noise * rng.normal(size=(n, 5))
    names = [str(i) for i in range(n)]
    return Predictions(names, names, np.zeros(n), true, predicted).with_statistics(STATISTICS)


def louder(predictions, factor):
    """The same system with its deviations multiplied."""
    centre = predictions.predicted.mean(axis=0)
    return Predictions(
        predictions.clips,
        predictions.sources,
        predictions.seen_source,
        predictions.true,
        centre + factor * (predictions.predicted - centre),
        predictions.classes,
    )


def low_high(predictions):
    """By NumPy alone."""
    error = np.abs(predictions.predicted - predictions.true)
    return [1 - np.mean([error[predictions.classes[:, j] == c, j].mean() for j in range(5)]) for c in (0, 3)]


def test_a_gain_bought_by_spread_is_gone_at_equal_spread():
    plain, validation = table(0), table(1)
    loud = louder(plain, 1.3)
    assert low_high(loud)[1] > low_high(plain)[1] + 0.005
    systems = {"plain": System([plain], [validation]), "loud": System([loud], [louder(validation, 1.3)])}
    scaled = at_equal_spread(systems)
    np.testing.assert_allclose(scaled["plain"][0].predicted, plain.predicted, atol=1e-12)
    np.testing.assert_allclose(
        scaled["loud"][0].predicted, plain.predicted, atol=2e-3
    )  # means of the two splits differ
    text = equal_spread_table(systems, "test")
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    low, high = low_high(plain)
    assert [float(cells["plain"][i]) for i in (2, 3)] == pytest.approx([low, high], abs=5e-5)
    assert [float(cells["loud"][i]) for i in (5, 6)] == pytest.approx([low, high], abs=5e-4)
    assert "fitted on validation" in text


def test_factor_is_the_ratio_of_standard_deviations():
    p = table(2)
    ratio = np.array([0.3, 0.5, 0.7, 0.9, 1.1])
    scaling = fit_scaling(p, ratio)
    np.testing.assert_allclose(scaling.factor, ratio * p.true.std(axis=0) / p.predicted.std(axis=0), rtol=1e-9)
    scaled = scaling.apply(p)
    np.testing.assert_allclose(scaled.predicted.std(axis=0) / scaled.true.std(axis=0), ratio, rtol=0.01)  # clipped
    np.testing.assert_allclose(scaled.predicted.mean(axis=0), p.predicted.mean(axis=0), atol=1e-3)


def test_the_curve_equals_a_loop():
    p = table(3)
    curve = spread_curve(System([p], None), (0.8, 1.0, 1.2))
    for factor, found in curve.items():
        other = louder(p, factor)
        assert [found["low"], found["high"]] == pytest.approx(low_high(other), abs=1e-9)
        assert found["1-MAE"] == pytest.approx(1 - np.abs(other.predicted - other.true).mean(), abs=1e-9)
    assert "1.2" in curve_text(System([p], None), "p")


@pytest.mark.filterwarnings("error")
def test_a_constant_has_no_equal_spread():
    p, flat = table(4), louder(table(4), 0.0)
    systems = {"p": System([p], None), "flat": System([flat], None)}
    assert set(at_equal_spread(systems)) == {"p"}
    text = equal_spread_table(systems, "test") + equal_spread_deciles(systems, "test")
    assert "undefined without a spread in every trait: flat" in text and "nan" not in text
    assert "fitted on the clips themselves" in text.lower()
    assert set(at_equal_spread({"flat": System([flat], None), "p": System([p], None)})) == set()
    np.testing.assert_array_equal(fit_scaling(flat, np.full(5, 0.5)).apply(flat).predicted, flat.predicted)
    one = p.select(np.arange(1))
    assert np.isnan(fit_scaling(one, np.full(5, 0.5)).factor).all()
    unlabelled = Predictions(["a"], ["a"], np.zeros(1), np.full((1, 5), np.nan), np.full((1, 5), 0.5))
    assert np.isnan(fit_scaling(unlabelled, np.full(5, 0.5)).factor).all()


def test_implied_correlation_of_normal_errors():
    rng = np.random.default_rng(5)
    for r, ratio in ((0.3, 0.3), (0.6, 0.8), (0.9, 0.7)):
        t = rng.normal(0, 0.1, 400_000)
        p = ratio * (r * t + np.sqrt(1 - r**2) * rng.normal(0, 0.1, 400_000))
        accuracy = 1 - np.abs(p - t).mean()
        assert implied_correlation(accuracy, p.std() / t.std(), t.std()) == pytest.approx(
            scipy.stats.pearsonr(t, p).statistic, abs=0.01
        )
        assert least_correlation(accuracy, t.std()) <= r + 0.01
    # least where ratio and correlation are equal
    ratios = np.linspace(0.05, 1.5, 2000)
    least = least_correlation(np.array(0.92), np.array(0.15))
    found = implied_correlation(np.array(0.92), ratios, np.array(0.15))
    assert found.min() == pytest.approx(float(least), abs=1e-4)
    assert ratios[found.argmin()] == pytest.approx(float(least), abs=1e-2)


def test_implausible_and_empty_figures():
    assert implied_correlation(np.array(0.99), np.array(0.3), np.array(0.15)) > 1  # no such predictions
    assert least_correlation(np.array(0.85), np.array(0.15)) == 0
    assert np.isinf(implied_correlation(np.array(0.99), np.array(0.0), np.array(0.15)))
    assert implied_correlation(np.array(1.0), np.array(1.0), np.array(0.15)) == 1
    assert "implied by 1-MAE" in plausibility_text(table(6), "p")


def test_published_predictions_of_one_model():
    """1-MAE .9086, sd ratio .80, PCC .637 of a published model, labels' mean deviation on test .1467."""
    assert implied_correlation(np.array(0.9086), np.array(0.80), np.array(0.1467)) == pytest.approx(0.637, abs=0.01)
