import numpy as np
import pytest
import scipy.stats

from apt_lightning.evaluation.calibration import (
    calibration_text,
    decile_edges,
    decile_of,
    deciles,
    distributions,
    slopes,
)
from apt_lightning.evaluation.predictions import Predictions


def table(n=400, slope=0.6, missing=0.1, seed=0):
    rng = np.random.default_rng(seed)
    true = np.round(np.clip(rng.normal(0.5, 0.15, (n, 5)), 0, 1) * 100) / 100
    predicted = 0.5 + slope * (true - 0.5) + 0.05 * rng.normal(size=(n, 5))
    true[rng.random((n, 5)) < missing] = np.nan
    return Predictions([str(i) for i in range(n)], [str(i // 2) for i in range(n)], np.zeros(n), true, predicted)


def test_slopes_equal_linear_regression():
    p = table()
    s = slopes(p)
    for j in range(5):
        known = ~np.isnan(p.true[:, j])
        t, y = p.true[known, j], p.predicted[known, j]
        assert s.predicted_on_true[j] == pytest.approx(scipy.stats.linregress(t, y).slope)
        assert s.true_on_predicted[j] == pytest.approx(scipy.stats.linregress(y, t).slope)
        assert s.lower[0][j] < 0.6 < s.upper[0][j]
        assert s.clips[j] == known.sum()


def test_slopes_of_constants_are_undefined():
    p = table(missing=0)
    flat = np.full_like(p.predicted, 0.4)
    s = slopes(Predictions(p.clips, p.sources, p.seen_source, p.true, flat), resamples=50)
    assert s.predicted_on_true == pytest.approx(np.zeros(5), abs=1e-9) and np.isnan(s.true_on_predicted).all()
    s = slopes(Predictions(p.clips, p.sources, p.seen_source, flat, p.predicted), resamples=50)
    assert np.isnan(s.predicted_on_true).all()


def test_deciles_equal_a_loop():
    p = table(missing=0)
    d = deciles(p)
    for j in range(5):
        edges = np.quantile(p.true[:, j], np.linspace(0, 1, 11))
        for i in range(10):
            rows = (p.true[:, j] >= edges[i]) & ((p.true[:, j] < edges[i + 1]) | (i == 9))
            assert d.clips[j, i] == rows.sum()
            assert d.true[j, i] == pytest.approx(p.true[rows, j].mean())
            assert d.predicted[j, i] == pytest.approx(p.predicted[rows, j].mean())
            assert d.mae[j, i] == pytest.approx(np.abs(p.true - p.predicted)[rows, j].mean())
            assert d.lower[j, i] <= d.mae[j, i] <= d.upper[j, i]


@pytest.mark.filterwarnings("error")
def test_equal_and_missing_labels_leave_deciles_empty():
    labels = np.full((30, 5), 0.5)
    labels[:, 1] = np.nan
    assert set(decile_of(labels)[:, 0]) == {9} and set(decile_of(labels)[:, 1]) == {-1}
    names = [str(i) for i in range(30)]
    p = Predictions(names, names, np.zeros(30), labels, np.full((30, 5), 0.4))
    d = deciles(p, resamples=50)
    assert d.mae[0, 9] == pytest.approx(0.1) and np.isnan(d.mae[0, :9]).all() and (d.clips[1] == 0).all()
    assert "nan" not in calibration_text({"constant": p}, "Test")
    np.testing.assert_array_equal(decile_of(np.full((2, 5), 0.2), decile_edges(table().true)), 0)


def test_distributions_count_labelled_clips_on_both_sides():
    p = table()
    d = distributions(p)
    known = ~np.isnan(p.true)
    assert d.true.sum(axis=1).tolist() == d.predicted.sum(axis=1).tolist() == known.sum(axis=0).tolist()
    assert d.true[0].tolist() == np.histogram(p.true[known[:, 0], 0], 20, (0, 1))[0].tolist()
    # with as many values on both sides, the distance is the mean gap of the sorted values
    gap = np.abs(np.sort(p.true[known[:, 2], 2]) - np.sort(p.predicted[known[:, 2], 2])).mean()
    assert d.distance[2] == pytest.approx(gap)


def test_text_sets_systems_side_by_side():
    text = calibration_text({"baseline": table(slope=0.4), "stage 4": table(slope=0.8)}, "Test")
    assert "Test, slopes: 400 clips" in text
    assert "baseline, predicted on true" in text and "stage 4, true on predicted" in text
