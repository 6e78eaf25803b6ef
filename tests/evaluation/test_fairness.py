import numpy as np
import pytest

from apt_lightning.evaluation.fairness import fairness, fairness_text, group_masks, verdict
from apt_lightning.evaluation.predictions import Predictions


def biased(n_sources=300, bias=0.06, seed=0, groups=("female", "male"), shares=None):
    """The model flatters the first group by ``bias``; a source is one person, hence of one group."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_sources), rng.integers(1, 7, n_sources))
    member = rng.choice(len(groups), n_sources, p=shares)[of]
    true = np.clip(rng.normal(0.5, 0.12, (len(of), 5)), 0, 1)
    noise = 0.05 * rng.normal(size=(n_sources, 5))[of] + 0.05 * rng.normal(size=(len(of), 5))
    predicted = true + noise + bias * (member == 0)[:, None]
    clips = [f"c{i}" for i in range(len(of))]
    p = Predictions(clips, [f"s{i}" for i in of], np.zeros(len(of)), true, predicted)
    people = {clip: {"gender": groups[m]} for clip, m in zip(clips, member, strict=True)}
    return p, people


def test_figures_equal_a_loop_over_the_groups():
    p, people = biased()
    for group in fairness(p, people, resamples=200):
        rows = np.array([people[clip]["gender"] == group.name for clip in p.clips])
        error = p.predicted - p.true
        assert group.clips == rows.sum() and group.sources == len({p.sources[i] for i in np.flatnonzero(rows)})
        np.testing.assert_allclose(group.metrics["signed error"].value[:5], error[rows].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(group.metrics["MAE"].value[5], np.abs(error[rows]).mean(), atol=1e-12)
        gap = error[rows].mean(axis=0) - error[~rows].mean(axis=0)
        np.testing.assert_allclose(group.gaps["signed error"].value[:5], gap, atol=1e-12)
        t, y = p.true[rows, 2], p.predicted[rows, 2]
        ccc = 2 * np.cov(t, y, bias=True)[0, 1] / (t.var() + y.var() + (t.mean() - y.mean()) ** 2)
        assert group.metrics["CCC"].value[2] == pytest.approx(ccc)


def test_a_planted_bias_is_found_and_its_interval_holds_it():
    female, male = fairness(*biased())
    assert female.p["signed error"] < 0.001 and male.p["signed error"] == female.p["signed error"]
    gap = female.gaps["signed error"]
    assert gap.lower[5] < 0.06 < gap.upper[5] and gap.lower[5] > 0.03
    assert verdict(female).startswith("signed error differs (p <.001)")


def test_no_bias_is_found_where_there_is_none():
    found = [fairness(*biased(bias=0, seed=seed), resamples=300)[0].p["signed error"] < 0.05 for seed in range(60)]
    assert np.mean(found) < 0.15  # 5 % nominal; the naive test on clips finds one in three


def test_a_small_group_has_figures_but_no_verdict():
    p, people = biased(groups=("19-24", "61+", "25-32"), shares=[0.47, 0.06, 0.47])
    groups = {group.name: group for group in fairness(p, people)}
    assert groups["61+"].small and np.isnan(groups["61+"].p["MAE"]) and groups["61+"].metrics["MAE"].value[5] > 0
    assert verdict(groups["61+"]) == "small group: no verdict"
    assert not groups["19-24"].small and groups["19-24"].p["signed error"] < 0.001
    text = fairness_text(list(groups.values()), "Test")
    assert f"Test, gender, mean over traits: {len(p)} clips" in text and "small group: no verdict" in text


def test_intersections_and_missing_people():
    people = {
        "a": {"gender": "female", "age": "19-24"},
        "b": {"gender": "male", "age": "19-24"},
        "c": {"gender": "male"},
        "d": {"gender": "male", "age": ""},
    }
    masks = group_masks(["a", "b", "c", "d", "e"], people)
    assert list(masks) == ["age", "gender", "age x gender"]
    assert masks["gender"]["male"].tolist() == [False, True, True, True, False]
    assert {name: mask.tolist() for name, mask in masks["age x gender"].items()} == {
        "19-24, female": [True, False, False, False, False],
        "19-24, male": [False, True, False, False, False],
    }


@pytest.mark.filterwarnings("error")
def test_one_group_alone_has_no_gap_and_nobody_is_said():
    p, people = biased(groups=("female",), bias=0)
    (group,) = fairness(p, people, resamples=50)
    assert np.isnan(group.gaps["MAE"].value).all() and group.small
    assert "undefined" in fairness_text([group], "Test") and "nan" not in fairness_text([group], "Test")
    assert fairness(p, {}) == [] and "cannot be shown" in fairness_text([], "Test")
