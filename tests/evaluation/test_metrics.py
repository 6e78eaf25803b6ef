"""Each metric against an implementation that shares no code with ours."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torchmetrics

from apt_lightning.common.traits import TraitStatistics
from apt_lightning.evaluation.metrics import (
    METRICS,
    TRAIT_COLUMNS,
    comparison_table,
    rank_correlation,
    score,
    score_by_seen,
    score_table,
)
from apt_lightning.evaluation.predictions import Predictions


def table(true, predicted, sources=None, seen=None):
    n = len(true)
    clips = [f"{i}" for i in range(n)]
    seen = np.zeros(n, bool) if seen is None else seen
    return Predictions(clips, sources or clips, seen, np.asarray(true, float), np.asarray(predicted, float))


def random_table(n=200, missing=0.1, seed=0):
    rng = np.random.default_rng(seed)
    true = np.clip(rng.normal(0.5, 0.15, (n, 5)), 0, 1)
    predicted = np.clip(0.3 + 0.4 * true + rng.normal(0, 0.08, (n, 5)), 0, 1)
    true[rng.random((n, 5)) < missing] = np.nan
    return table(true, predicted, [f"s{i // 3}" for i in range(n)], rng.random(n) < 0.5)


def ccc(t, p):
    return 2 * np.cov(t, p, bias=True)[0, 1] / (t.var() + p.var() + (t.mean() - p.mean()) ** 2)


INDEPENDENT = {
    "1-MAE": lambda t, p: 1 - sklearn.metrics.mean_absolute_error(t, p),
    "RMSE": sklearn.metrics.root_mean_squared_error,
    "R2": sklearn.metrics.r2_score,
    "PCC": lambda t, p: scipy.stats.pearsonr(t, p).statistic,
    "CCC": ccc,
    "sd ratio": lambda t, p: np.std(p) / np.std(t),
}


@pytest.mark.parametrize("metric", INDEPENDENT)
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("n", [2, 5, 500])
def test_metric_equals_scipy_sklearn_or_numpy(metric, missing, n):
    p = random_table(n, missing if n > 5 else 0.0)
    scores = score(p, resamples=0)
    expected = []
    for t, y in zip(p.true.T, p.predicted.T, strict=True):
        known = ~np.isnan(t)
        expected.append(INDEPENDENT[metric](t[known], y[known]))
    np.testing.assert_allclose(scores.values[metric], [*expected, np.mean(expected)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("R2", torchmetrics.R2Score(multioutput="raw_values")),
        ("PCC", torchmetrics.PearsonCorrCoef(num_outputs=5)),
        ("CCC", torchmetrics.ConcordanceCorrCoef(num_outputs=5)),
    ],
)
def test_metric_equals_torchmetrics_of_the_training_logs(metric, reference):
    p = random_table(3000, 0.0)
    expected = reference(torch.tensor(p.predicted), torch.tensor(p.true)).numpy()
    # torchmetrics' CCC takes sample variances, ours those of Lin (1989): apart by 1/n
    np.testing.assert_allclose(score(p, resamples=0).values[metric][:5], expected, rtol=1e-3)


def test_low_and_high_follow_the_training_thresholds():
    p = random_table(400)
    statistics = TraitStatistics(np.linspace(0.45, 0.55, 5), np.full(5, 0.13))
    p = p.with_statistics(statistics)
    scores = score(p, resamples=0)
    for j in range(5):
        error, t = np.abs(p.true[:, j] - p.predicted[:, j]), p.true[:, j]
        low, high = t < statistics.mean[j] - 0.13, t >= statistics.mean[j] + 0.13
        assert scores.values["low"][j] == pytest.approx(1 - error[low].mean(), abs=1e-12)
        assert scores.values["high"][j] == pytest.approx(1 - error[high].mean(), abs=1e-12)
        assert scores.clips["low"][j] == low.sum() and scores.clips["high"][j] == high.sum()
    assert scores.clips["low"][5] == scores.clips["low"][:5].min()
    assert (p.classes == -1).sum() == np.isnan(p.true).sum()


def test_eq_9_of_the_paper():
    p = random_table(50, 0.0)
    assert score(p, resamples=0).values["1-MAE"][5] == pytest.approx(1 - np.abs(p.true - p.predicted).sum() / (5 * 50))


LABELS = np.linspace(0.2, 0.8, 10)[:, None] * np.ones(5)
DEGENERATE = {
    "constant predictions": (LABELS, np.full((10, 5), 0.3), {"PCC"}, "the predictions are all equal"),
    "constant up to float32": (
        LABELS,
        np.float32(0.3) + 3e-8 * np.eye(10, 5),
        {"PCC"},
        "the predictions are all",
    ),
    "constant labels": (np.full((10, 5), 0.3), LABELS, {"R2", "PCC", "sd ratio"}, "the labels are all equal"),
    "both constant, same": (
        np.full((10, 5), 0.3),
        np.full((10, 5), 0.3),
        {"R2", "PCC", "CCC", "sd ratio"},
        "the labels are all equal",
    ),
    "one clip": (LABELS[:1], LABELS[1:2], {"R2", "PCC", "CCC", "sd ratio"}, "one labelled clip only"),
    "no label": (np.full((3, 5), np.nan), LABELS[:3], set(METRICS), "no labelled clip"),
    "no clip": (np.empty((0, 5)), np.empty((0, 5)), set(METRICS), "no labelled clip"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", DEGENERATE)
def test_what_does_not_exist_is_said_to_be_undefined(case):
    true, predicted, undefined, why = DEGENERATE[case]
    scores = score(table(true, predicted), resamples=20)
    assert {metric for metric, _ in scores.undefined} == undefined | {"low", "high"}
    for metric in METRICS:
        assert np.isnan(scores.values[metric]).all() == (metric in undefined | {"low", "high"}), metric
    for metric in undefined - {"low", "high"}:
        assert scores.undefined[metric, "EXT"].startswith(why)
    assert scores.undefined["low", "EXT"] == "the training split's thresholds are not known"
    text = score_table(scores, case)
    assert "undefined" in text and "nan" not in text.lower()
    assert "NaN" not in str(scores.to_dict()) and "nan" not in str(scores.to_dict())


def test_constant_predictions_have_a_ccc_of_zero():
    scores = score(table(LABELS, np.full((10, 5), 0.3)), resamples=0)
    assert scores.values["CCC"] == pytest.approx(np.zeros(6), abs=1e-12)


def test_a_trait_without_labels_leaves_the_mean_undefined():
    true = LABELS.copy()
    true[:, 1] = np.nan
    scores = score(table(true, LABELS), resamples=0)
    assert scores.undefined["1-MAE", "NEU"] == "no labelled clip"
    assert scores.undefined["1-MAE", "mean"] == "undefined for NEU"
    assert scores.values["1-MAE"][[0, 2, 3, 4]].tolist() == [1.0] * 4


def test_no_clip_in_c4_is_said():
    statistics = TraitStatistics(np.full(5, 0.5), np.full(5, 0.4))
    assert (
        score(table(LABELS, LABELS).with_statistics(statistics), resamples=0).undefined["high", "EXT"]
        == "no clip in C4"
    )


def test_intervals_follow_from_resampling_whole_sources():
    p = random_table(60, 0.0)
    scores = score(p, resamples=4000)
    rng, sources = np.random.default_rng(5), np.array(p.sources)
    rows_of = [np.flatnonzero(sources == s) for s in np.unique(sources)]
    replicates = []
    for _ in range(1500):
        rows = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        replicates.append(ccc(p.true[rows, 0], p.predicted[rows, 0]))
    expected = np.quantile(replicates, [0.025, 0.975])
    np.testing.assert_allclose([scores.lower["CCC"][0], scores.upper["CCC"][0]], expected, atol=0.015)


def test_few_sources_get_no_interval():
    p = random_table(27, 0.0)
    scores = score(p)
    assert scores.n_sources == 9 and np.isnan(scores.lower["1-MAE"]).all()
    assert "No intervals: fewer than 10 sources." in score_table(scores, "Test")
    assert np.isfinite(score(random_table(30, 0.0)).lower["1-MAE"]).all()


def test_rank_correlation_is_the_correlation_of_the_ranks():
    p = random_table(100)
    found = rank_correlation(p)
    for j in range(5):
        known = ~np.isnan(p.true[:, j])
        ranks = [scipy.stats.rankdata(values[known, j]) for values in (p.true, p.predicted)]
        assert found[j] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found[5] == pytest.approx(found[:5].mean())
    assert np.isnan(rank_correlation(table(LABELS, np.full((10, 5), 0.3)))).all()


def test_seen_and_unseen_sources_apart():
    p = random_table(90)
    parts = score_by_seen(p, resamples=0)
    assert list(parts) == ["all", "seen sources", "unseen sources"]
    assert parts["seen sources"].n_clips == p.seen_source.sum()
    assert parts["seen sources"].n_clips + parts["unseen sources"].n_clips == parts["all"].n_clips == 90
    known = ~np.isnan(p.true[:, 0]) & ~p.seen_source
    expected = 1 - np.abs(p.true - p.predicted)[known, 0].mean()
    assert parts["unseen sources"].values["1-MAE"][0] == pytest.approx(expected)


def test_tables_state_the_clips_they_rest_on():
    p = random_table(90)
    statistics = TraitStatistics(np.full(5, 0.5), np.full(5, 0.15))
    text = score_table(score(p.with_statistics(statistics), resamples=50), "Test")
    assert text.startswith("Test: 90 clips of 30 sources (low: ")
    assert all(column in text for column in TRAIT_COLUMNS) and "[." in text
    text = comparison_table({"a": score(p, resamples=0), "b": score(p, resamples=0)}, "Test")
    assert text.splitlines()[0] == "Test, 1-MAE: 90 clips of 30 sources"
