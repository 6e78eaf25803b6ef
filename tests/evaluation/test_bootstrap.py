import time

import numpy as np

from apt_lightning.evaluation.bootstrap import bootstrap_sums, cluster_sums, percentile_interval


def test_sums_of_sources():
    values = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(
        cluster_sums(values, ["b", "a", "b", "c"]), [values[1], values[0] + values[2], values[3]]
    )


def test_every_resample_draws_as_many_sources_as_there_are():
    counts = bootstrap_sums(np.eye(7), 500)
    assert (counts.sum(axis=1) == 7).all() and (counts >= 0).all() and (counts == counts.round()).all()
    # multinomial: variance of a count is 1 - 1/7, covariance of two is -1/7
    np.testing.assert_allclose(np.cov(counts.T), np.eye(7) - 1 / 7, atol=0.15)


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    sums = np.random.default_rng(0).random((20, 3, 2))
    whole = bootstrap_sums(sums, 100, seed=3)
    assert whole.shape == (100, 3, 2)
    np.testing.assert_array_equal(whole, bootstrap_sums(sums, 100, seed=3))
    assert not np.array_equal(whole, bootstrap_sums(sums, 100, seed=4))
    monkeypatch.setattr("apt_lightning.evaluation.bootstrap._CHUNK", 90)
    np.testing.assert_allclose(bootstrap_sums(sums, 100, seed=3), whole)


def test_an_official_test_split_takes_under_a_second():
    rng = np.random.default_rng(0)
    sources = [f"s{i}" for i in rng.integers(1455, size=2000)]
    start = time.process_time()
    bootstrap_sums(cluster_sums(rng.random((2000, 5, 12)), sources), 2000)
    assert time.process_time() - start < 2  # CPU time of all threads; 0.2 s at rest


def test_an_interval_of_undefined_replicates_is_undefined():
    samples = np.random.default_rng(0).random((1000, 2))
    samples[:100, 1] = np.nan
    lower, upper = percentile_interval(samples, 0.9)
    np.testing.assert_allclose([lower[0], upper[0]], [0.05, 0.95], atol=0.03)
    assert np.isnan([lower[1], upper[1]]).all()
