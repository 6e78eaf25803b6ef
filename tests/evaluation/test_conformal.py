import json

import numpy as np
import pytest

from apt_lightning.common.errors import CheckpointError, DataError
from apt_lightning.evaluation.conformal import Conformal, coverage, coverage_text, fit_conformal
from apt_lightning.evaluation.predictions import Predictions


def clips(seed, n_sources=500, spread=lambda x: 0.03 + 0.2 * x):
    """Errors of a size that a covariate tells, and that agree in part within a source."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_sources), rng.integers(1, 7, n_sources))
    hard = rng.random((len(of), 1))
    true = np.clip(rng.normal(0.5, 0.12, (len(of), 5)), 0, 1)
    noise = np.sqrt(0.5) * rng.normal(size=(n_sources, 5))[of] + np.sqrt(0.5) * rng.normal(size=(len(of), 5))
    names = [f"{seed}-{i}" for i in range(len(of))]
    sources = [f"{seed}-{i}" for i in of]
    predicted = np.clip(true + spread(hard) * noise, 0, 1)
    return Predictions(names, sources, rng.random(len(of)) < 0.5, true, predicted), hard


def by_name(found):
    return {c.name: c for c in found}


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_is_nominal_within_sampling_error(level):
    covered = []
    for seed in range(20):
        (validation, hard), (test, hard_test) = clips(2 * seed), clips(2 * seed + 1)
        conformal = fit_conformal(validation, hard, level, seed)
        lower, upper = conformal.intervals(test.predicted, hard_test)
        covered.append(((lower <= test.true) & (test.true <= upper)).mean())
    error = np.std(covered, ddof=1) / np.sqrt(len(covered))
    # the quantile's level is raised by 1 / sources, 0.004 here
    assert abs(np.mean(covered) - level) < 3 * error + 0.005


def test_hard_clips_get_wider_intervals_and_keep_their_coverage():
    (validation, hard), (test, hard_test) = clips(0, 1500), clips(1, 1500)
    easy_row, hard_row = hard_test[:, 0] < 0.3, hard_test[:, 0] > 0.7
    groups = {"easy": easy_row, "hard": hard_row}
    normalised = by_name(coverage(fit_conformal(validation, hard), test, hard_test, groups))
    assert normalised["hard"].width > 1.8 * normalised["easy"].width
    plain = by_name(coverage(fit_conformal(validation), test, None, groups))
    assert abs(normalised["hard"].value - 0.9) < 0.04 < 0.08 < abs(plain["hard"].value - 0.9)
    assert normalised["overall"].width < plain["overall"].width


def test_the_quantile_by_hand():
    """Where nothing tells hard clips from easy ones, an interval is the raised quantile of the errors."""
    n = 400
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(n)]
    true = 0.3 + 0.4 * rng.random((n, 5))
    p = Predictions(names, names, np.zeros(n), true, np.full((n, 5), 0.5))
    conformal = fit_conformal(p, seed=3)
    half = np.random.default_rng(3).permutation(np.unique(names))[:200]
    errors = np.sort(np.abs(true - 0.5)[[name not in half for name in names]], axis=0)
    # with 200 calibration clips of as many sources, the ceil(0.9 * 201)-th smallest error
    _, upper = conformal.intervals(np.full((1, 5), 0.5))
    np.testing.assert_allclose(upper[0] - 0.5, errors[int(np.ceil(0.9 * 201))], atol=0.002)
    assert conformal.clips == conformal.sources == 200


def test_few_sources_give_the_whole_range_and_too_few_are_refused():
    p, _ = clips(0, 9)
    lower, upper = fit_conformal(p).intervals(p.predicted)
    assert (lower == 0).all() and (upper == 1).all()
    with pytest.raises(DataError, match="two sources at least, got 1"):
        fit_conformal(p.select(np.array([s == p.sources[0] for s in p.sources])))
    unlabelled = Predictions(p.clips, p.sources, p.seen_source, np.full_like(p.true, np.nan), p.predicted)
    with pytest.raises(DataError, match="labels of each trait"):
        fit_conformal(unlabelled)


def test_an_exact_model_has_narrow_but_no_empty_intervals():
    p, _ = clips(0)
    exact = Predictions(p.clips, p.sources, p.seen_source, p.true, p.true)
    lower, upper = fit_conformal(exact).intervals(exact.predicted)
    assert (lower <= exact.true).all() and (exact.true <= upper).all()


def test_parameters_are_plain_data():
    p, hard = clips(0)
    conformal = fit_conformal(p, hard)
    again = Conformal.from_dict(json.loads(json.dumps(conformal.to_dict(), allow_nan=False)))
    assert again == conformal
    with pytest.raises(CheckpointError, match="damaged"):
        Conformal.from_dict({"level": 0.9})
    with pytest.raises(DataError, match="fitted with 1 covariates, got 0"):
        conformal.intervals(p.predicted)


def test_coverage_counts_what_it_says():
    (validation, hard), (test, hard_test) = clips(0), clips(1)
    true = test.true.copy()
    true[::4, 1] = np.nan
    test = Predictions(test.clips, test.sources, test.seen_source, true, test.predicted)
    conformal = fit_conformal(validation, hard)
    found = by_name(coverage(conformal, test, hard_test, {"nobody": np.zeros(len(test), bool)}))
    lower, upper = conformal.intervals(test.predicted, hard_test)
    inside = (lower <= true) & (true <= upper)
    known = ~np.isnan(true)
    assert found["overall"].value == pytest.approx(inside[known].mean())
    assert found["overall"].width == pytest.approx((upper - lower)[known].mean())
    assert found["NEU"].value == pytest.approx(inside[known[:, 1], 1].mean())
    assert found["NEU"].labels == known[:, 1].sum() and found["overall"].labels == known.sum()
    unseen = known & ~test.seen_source[:, None]
    assert found["unseen sources"].value == pytest.approx(inside[unseen].mean())
    assert sum(found[f"decile {d}"].labels for d in range(1, 11)) == known.sum()
    for c in found.values():
        assert c.name == "nobody" or c.lower <= c.value <= c.upper
    text = coverage_text(list(found.values()), conformal, "Test")
    assert "undefined" in text and "nan" not in text and "coverage of 90% intervals" in text
