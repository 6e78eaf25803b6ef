import math

import numpy as np
import pytest
import scipy.stats

from apt_lightning.evaluation.comparison_table import comparison_tables, comparison_text
from apt_lightning.evaluation.equivalence import MARGIN, p_equal, sources_needed, verdict
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import compare


def table(error, sources):
    """A system that misses every label, 0.5, by a given amount."""
    n = len(error)
    return Predictions([str(i) for i in range(n)], [str(s) for s in sources], np.zeros(n), np.full((n, 5), 0.5), error)


def missing_by(error, sources):
    return table(0.5 + error, sources)


def test_two_one_sided_tests_equal_scipy():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.0005, -0.0008, 0.002):
        x = shift + 0.002 * rng.normal(size=40)
        error = x.std(ddof=1) / math.sqrt(40)
        found = p_equal(np.array([x.mean()]), np.array([error]), np.array([39.0]), MARGIN)[0]
        sides = [
            scipy.stats.ttest_1samp(x, b, alternative=a).pvalue for b, a in ((-MARGIN, "greater"), (MARGIN, "less"))
        ]
        assert found == pytest.approx(max(sides), rel=1e-9)


def test_degenerate_estimates():
    nan = math.nan
    found = p_equal(np.array([0.0, 0.002, nan, 0.0]), np.array([0.0, 0.0, 1.0, nan]), np.full(4, 5.0), MARGIN)
    np.testing.assert_array_equal(found, [0, 1, nan, nan])
    assert verdict(nan, nan, nan) == "undecided"
    assert sources_needed(nan, 1.0, 0.0, 5) is None
    assert sources_needed(0.01, 0.0, 0.0, 5) == 1


def test_numbers_of_sources_equal_the_formulas():
    z = scipy.stats.norm.ppf
    error = 0.004
    for difference in (0.003, -0.005):
        expected = 100 * (error * (z(0.975) + z(0.8)) / difference) ** 2
        assert sources_needed(difference, error**2, 0.0, 100) == math.ceil(expected)
    expected = 100 * (error * (z(0.95) + z(0.9)) / MARGIN) ** 2
    assert sources_needed(0.0, error**2, 0.0, 100) == math.ceil(expected)
    # at the margin itself neither test for equality nor, with seeds as uneven as that, for difference can gain
    assert sources_needed(MARGIN, error**2, 0.002**2, 100) is None
    # the part over seeds does not fall with the number of sources
    assert sources_needed(0.003, error**2, 0.0005**2, 100) > sources_needed(0.003, error**2, 0.0, 100)


def test_that_many_sources_do_decide_at_the_stated_power():
    rng = np.random.default_rng(1)
    n = sources_needed(0.002, 0.004**2, 0.0, 100)
    x = 0.002 + 0.04 * rng.normal(size=(2000, n))
    t = x.mean(axis=1) / (x.std(axis=1, ddof=1) / math.sqrt(n))
    assert np.mean(2 * scipy.stats.t.sf(np.abs(t), n - 1) < 0.05) == pytest.approx(0.8, abs=0.03)


def one_difference(rng, sources, delta, sd=0.006):
    """Two systems whose errors differ by ``delta`` on average, and by chance from source to source and clip to clip."""
    of = np.repeat(np.arange(sources), rng.integers(1, 5, size=sources))
    base = rng.uniform(0.05, 0.15, (len(of), 5))
    own = delta + sd * rng.normal(size=(sources, 5))[of] + 0.004 * rng.normal(size=base.shape)
    return missing_by(base, of), missing_by(base - own, of)


def rates(simulations, sources, delta, seed, sd=0.006):
    """How often each verdict is given on single traits, without correction."""
    rng = np.random.default_rng(seed)
    said = []
    for i in range(simulations):
        a, b = one_difference(rng, sources, delta, sd)
        d = compare([a], [b], resamples=300, seed=i).metrics["1-MAE"]
        equal = p_equal(
            d.difference, (d.upper - d.lower) / 2 / scipy.stats.t.ppf(0.975, sources - 1), sources - 1, MARGIN
        )
        said += [verdict(d.difference[j], d.p[j], equal[j]) for j in range(5)]
    return {word: said.count(word) / len(said) for word in ("better", "worse", "equal", "undecided")}


def test_a_difference_of_the_margin_is_called_equal_no_oftener_than_the_level_says():
    at_margin, none = rates(60, 200, MARGIN, 2), rates(60, 400, 0.0, 3)
    assert at_margin["equal"] < 0.09 and at_margin["worse"] < 0.02
    assert none["equal"] > 0.5 and none["better"] + none["worse"] < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("sources", [40, 200])
def test_rates_of_verdicts_in_1000_simulations(sources):
    sd = 0.006 * math.sqrt(sources / 200)
    at_margin, none, far = (rates(1000, sources, delta, 4, sd) for delta in (MARGIN, 0.0, 0.003))
    print(f"{sources} sources\nat the margin {at_margin}\nno difference {none}\nthree times the margin {far}")
    assert at_margin["equal"] < 0.065  # far below where the error is too great for equality ever to be shown
    assert none["better"] + none["worse"] < 0.065
    assert far["equal"] < 0.001 and far["worse"] < 0.001


def crossed(rng, sources, seeds, folds, run_sd, clip_sd=0.02):
    """Runs of two equal methods: each run of each fold is off by a part of its own, and on each source by another."""
    of = np.repeat(np.arange(sources), 2)
    fold = of * folds // sources
    base = 0.15 + 0.01 * rng.normal(size=(len(of), 5))

    def side():
        taste = 0.01 * rng.normal(size=(sources, 5))[of]  # a method suits some sources more than the other method does

        def run():
            own = run_sd * rng.normal(size=(folds, 5))[fold] + clip_sd * rng.normal(size=(sources, 5))[of]
            whole = missing_by(base + taste + own, of)
            parts = [whole.select(fold == i) for i in range(folds)]
            return Predictions.join(parts) if folds > 1 else whole

        return [run() for _ in range(seeds)]

    return side(), side()


def false_alarms(simulations, sources, seeds, folds, run_sd, seed):
    rng = np.random.default_rng(seed)
    p = [
        compare(*crossed(rng, sources, seeds, folds, run_sd), resamples=300, seed=i).metrics["1-MAE"].p[:5]
        for i in range(simulations)
    ]
    return float(np.mean(np.array(p) < 0.05))


def test_nested_intervals_keep_their_error_rate():
    for seeds, folds in ((3, 1), (2, 4)):
        assert false_alarms(40, 80, seeds, folds, 0.004, 5) < 0.1
    # with one run a side, chance of training passes for a method
    assert false_alarms(40, 80, 1, 1, 0.004, 6) > 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "folds"), [(2, 1), (5, 1), (2, 5), (3, 5)])
@pytest.mark.parametrize("run_sd", [0.0, 0.006])
def test_error_rate_of_nested_intervals_in_400_simulations(seeds, folds, run_sd):
    rate = false_alarms(400, 150, seeds, folds, run_sd, 7)
    print(f"{seeds} seeds, {folds} folds, sd over runs {run_sd}: {rate:.4f}")
    assert rate < 0.07


def test_one_fold_is_the_plain_variance_over_seeds():
    a, b = crossed(np.random.default_rng(8), 60, 3, 1, 0.01, clip_sd=0.0)
    d = compare(a, b, paired_seeds=True, resamples=20_000).metrics["1-MAE"]
    means = np.array([(x.predicted - y.predicted).mean(axis=0) for x, y in zip(a, b, strict=True)])
    over_seeds = means.var(axis=0, ddof=1) / 3
    gain = np.mean([x.predicted - y.predicted for x, y in zip(a, b, strict=True)], axis=0)
    of = np.array(a[0].sources)
    by_source = np.array([gain[of == s].mean(axis=0) for s in np.unique(of)])
    over_sources = by_source.var(axis=0, ddof=1) / 60
    variance = over_seeds + over_sources
    freedom = variance**2 / (over_seeds**2 / 2 + over_sources**2 / 59)
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    np.testing.assert_allclose((d.upper - d.lower)[:5] / 2, half, rtol=0.05)


def test_text_names_family_margin_and_verdict():
    rng = np.random.default_rng(9)
    a, b = one_difference(rng, 300, 0.004)
    text = comparison_text(compare([a], [b]), "a", "b")
    assert "| better |" in text and "Holm's family: the five traits" in text and "equal within 0.001" in text
    same = compare([a], [a])
    assert [same.metrics["1-MAE"].verdict(i) for i in range(6)] == ["equal"] * 6
    near = compare(*[[t] for t in one_difference(rng, 30, 0.0005, sd=0.02)])
    said = comparison_tables(near, ("1-MAE",))
    assert "undecided, needs " in said and " sources |" in said
    one = compare([a.select(np.arange(1))], [b.select(np.arange(1))])
    assert "undecided" in comparison_text(one, "a", "b") and "nan" not in comparison_text(one, "a", "b")
    assert one.to_dict()["metrics"]["1-MAE"]["verdict"] == ["undecided"] * 6


def test_seeds_of_other_folds_are_no_pairs():
    rng = np.random.default_rng(10)
    a, b = crossed(rng, 40, 2, 4, 0.004)
    other = [Predictions.join([table.select(table.fold < 2), table.select(table.fold >= 2)]) for table in b]
    assert compare(a, b, paired_seeds=True).paired_seeds
    found = compare(a, other, paired_seeds=True)
    assert not found.paired_seeds and np.isfinite(found.metrics["1-MAE"].p).all()
