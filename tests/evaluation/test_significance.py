import json
import math

import numpy as np
import pytest
import scipy.stats

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.comparison_table import comparison_text
from apt_lightning.evaluation.metrics import METRICS
from apt_lightning.evaluation.predictions import Predictions
from apt_lightning.evaluation.significance import align, compare, holm

STATISTICS = TraitStatistics(np.full(5, 0.5), np.full(5, 0.12))


def system(seed, n=120, noise=0.1, per_source=3, true_seed=0):
    rng = np.random.default_rng(true_seed)
    true = np.clip(rng.normal(0.5, 0.15, (n, 5)), 0, 1)
    predicted = true + noise * np.random.default_rng(seed + 100).normal(size=(n, 5))
    clips, sources = [f"c{i}" for i in range(n)], [f"s{i // per_source}" for i in range(n)]
    return Predictions(clips, sources, np.zeros(n), true, predicted).with_statistics(STATISTICS)


def null_pair(rng, sources, shared=0.8):
    """Two systems of equal worth whose errors agree within a source, as those of one person do."""
    sizes = rng.integers(1, 7, size=sources)
    of = np.repeat(np.arange(sources), sizes)
    n = len(of)

    def predicted():
        size = shared * rng.gamma(2, 1, (sources, 1))[of] + (1 - shared) * rng.gamma(2, 1, (n, 5))
        return 0.5 + 0.05 * size * rng.choice([-1, 1], (n, 5))

    clips, names = [str(i) for i in range(n)], [str(i) for i in of]
    return [Predictions(clips, names, np.zeros(n), np.full((n, 5), 0.5), predicted()) for _ in range(2)]


def error_rates(simulations, sources, seed):
    rng = np.random.default_rng(seed)
    clustered = naive = family = 0
    for i in range(simulations):
        a, b = null_pair(rng, sources)
        d = compare([a], [b], resamples=400, seed=i).metrics["1-MAE"]
        clustered += d.p[0] < 0.05
        family += d.p_holm[:5].min() < 0.05
        errors = [np.abs(p.predicted - p.true)[:, 0] for p in (a, b)]
        naive += scipy.stats.ttest_rel(*errors).pvalue < 0.05
    return clustered / simulations, naive / simulations, family / simulations


def test_clustered_test_keeps_its_error_rate_where_the_naive_one_does_not():
    clustered, naive, family = error_rates(300, 60, seed=1)
    assert scipy.stats.binomtest(round(300 * clustered), 300, 0.05).pvalue > 0.01
    assert naive > 0.15
    assert family <= 0.09  # Holm: at most 0.05, here with three standard errors


@pytest.mark.slow
@pytest.mark.parametrize("sources", [20, 60, 300])
def test_error_rates_in_3000_simulations(sources):
    clustered, naive, family = error_rates(3000, sources, seed=2)
    print(f"{sources} sources: clustered {clustered:.4f}, naive {naive:.4f}, any of five traits {family:.4f}")
    assert 0.035 < clustered < 0.065
    assert naive > 0.2
    assert family < 0.065


def seeds_of_equal_methods(rng, n_seeds, spread=0.01, sources=80):
    """Training seeds move the error of a whole system."""
    clip = 0.1 + 0.03 * rng.normal(size=(sources, 5))

    def table():
        error = np.abs(clip + spread * rng.normal() + 0.01 * rng.normal(size=clip.shape))
        names = [str(i) for i in range(sources)]
        return Predictions(names, names, np.zeros(sources), np.full((sources, 5), 0.5), 0.5 + error)

    return [[table() for _ in range(n_seeds)] for _ in range(2)]


def test_seeds_count_as_a_source_of_chance():
    rng = np.random.default_rng(0)
    several, one = [
        [compare(*seeds_of_equal_methods(rng, k), resamples=200).metrics["1-MAE"].p[5] < 0.05 for _ in range(100)]
        for k in (4, 1)
    ]
    assert np.mean(several) < 0.12
    assert np.mean(one) > 0.4  # the same clips with one network a side: chance of training looks like a method


def test_difference_and_interval_of_a_paired_mean():
    a, b = system(1, per_source=1, noise=0.12), system(2, per_source=1, noise=0.1)
    d = compare([a], [b], resamples=20_000).metrics["1-MAE"]
    gain = np.abs(a.predicted - a.true) - np.abs(b.predicted - b.true)
    for column, values in enumerate([*gain.T, gain.mean(axis=1)]):
        # without clusters, the bootstrap over sources is the paired t test
        expected = scipy.stats.ttest_1samp(values, 0)
        interval = expected.confidence_interval(0.95)
        assert d.difference[column] == pytest.approx(values.mean(), abs=1e-12)
        assert d.p[column] == pytest.approx(expected.pvalue, rel=0.1, abs=0.003)
        assert d.lower[column] == pytest.approx(interval.low, abs=4e-4)
        assert d.upper[column] == pytest.approx(interval.high, abs=4e-4)


def test_standard_error_is_the_cluster_robust_one():
    a, b = null_pair(np.random.default_rng(3), 80)
    d = compare([a], [b], resamples=20_000).metrics["1-MAE"]
    gain = (np.abs(a.predicted - a.true) - np.abs(b.predicted - b.true))[:, 0]
    sources = np.array(a.sources)
    sums = np.array([(gain[sources == s] - gain.mean()).sum() for s in np.unique(sources)])
    error = np.sqrt(80 / 79 * (sums**2).sum()) / len(gain)
    half = scipy.stats.t.ppf(0.975, 79) * error
    assert (d.upper[0] - d.lower[0]) / 2 == pytest.approx(half, rel=0.05)


def test_order_of_the_clips_does_not_matter_and_swapping_changes_the_sign():
    a, b = system(1), system(2)
    shuffled = b.select(np.random.default_rng(0).permutation(len(b)))
    one, two, back = compare([a], [b]), compare([a], [shuffled]), compare([b], [a])
    for metric in METRICS:
        np.testing.assert_allclose(one.metrics[metric].p, two.metrics[metric].p, rtol=1e-6)
        np.testing.assert_allclose(one.metrics[metric].difference, -back.metrics[metric].difference, atol=1e-12)
        np.testing.assert_allclose(one.metrics[metric].lower, -back.metrics[metric].upper, atol=1e-9)


def test_a_system_does_not_differ_from_itself():
    d = compare([system(1)], [system(1)]).metrics
    for metric in METRICS:
        assert d[metric].p.tolist() == [1.0] * 6
        assert d[metric].lower.tolist() == d[metric].upper.tolist() == [0.0] * 6


def test_what_cannot_be_tested_is_undefined():
    one_source = system(1, n=6, per_source=6)
    d = compare([one_source], [system(2, n=6, per_source=6)]).metrics["1-MAE"]
    assert np.isnan(d.p).all() and np.isnan(d.lower).all() and np.isfinite(d.difference).all()
    comparison = compare([one_source], [system(2, n=6, per_source=6)])
    assert "nan" not in comparison_text(comparison, "a", "b") and "undefined" in comparison_text(comparison, "a", "b")
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["metrics"]["1-MAE"]["p"] == [None] * 6


def test_holm_by_hand():
    # smallest first: 4 * .005, 3 * .01, 2 * .03, 1 * .04 but not below the one before
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, math.nan, 0.9])), [1.0, math.nan, 1.0])


def test_mismatches_are_refused():
    a = system(1)
    with pytest.raises(DataError, match="1 are on one side only, as 'c0'"):
        align([a, a.select(np.arange(1, len(a)))])
    with pytest.raises(DataError, match="other labels for clip 'c0'"):
        compare([a], [system(1, true_seed=1)])
    with pytest.raises(DataError, match="other sources"):
        compare([a], [system(1, per_source=2)])
    with pytest.raises(DataError, match="other thresholds"):
        compare([a], [a.with_statistics(TraitStatistics(np.full(5, 0.3), np.full(5, 0.1)))])
    with pytest.raises(UsageError, match="cannot compare 2 with 1"):
        compare([a, a], [a], paired_seeds=True)


def test_the_text_says_what_it_rests_on():
    text = comparison_text(compare([system(1), system(3)], [system(2), system(4)], True), "baseline", "final")
    assert "A: baseline\nB: final" in text
    assert "2 and 2 seeds, paired" in text
    assert "1-MAE: 120 clips of 40 sources, 95% intervals" in text
    assert "One seed a side" in comparison_text(compare([system(1)], [system(2)]), "a", "b")
