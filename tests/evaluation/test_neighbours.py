"""The neighbour baseline against its formula clip by clip, against scikit-learn, and on planted sources."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.neighbours import (
    COUNTS,
    JOINED,
    WIDTHS,
    neighbour_systems,
    neighbours,
    running_means,
    same_source_note,
)

TRAIN, VALIDATION, TEST = np.arange(60), np.arange(60, 90), np.arange(90, 120)


def drawn(seed=0, n_sources=40, dims=(6, 3), missing=0.0):
    """Features and labels that both follow the source in part."""
    rng = np.random.default_rng(seed)
    source = rng.integers(n_sources, size=120)
    labels = np.clip(0.5 + 0.12 * rng.normal(size=(n_sources, 5))[source] + 0.05 * rng.normal(size=(120, 5)), 0, 1)
    blocks = [rng.normal(size=(n_sources, d))[source] + 0.5 * rng.normal(size=(120, d)) for d in dims]
    for block in blocks:
        block[rng.random(block.shape) < missing] = np.nan
    return blocks, labels, [f"s{s}" for s in source]


def by_hand(blocks, labels, sources, other_sources=False):
    """Every step in loops: distances, choice on validation, weighted means."""
    scaled = []
    for block in blocks:
        mean = np.nanmean(block[TRAIN], axis=0)
        full = np.where(np.isnan(block), mean, block)
        scaled.append((full - full[TRAIN].mean(axis=0)) / full[TRAIN].std(axis=0) / np.sqrt(block.shape[1]))
    x = np.hstack(scaled)

    def ranked(i):
        found = [(np.linalg.norm(x[i] - x[j]), j) for j in TRAIN if not (other_sources and sources[j] == sources[i])]
        return sorted(found)

    def predict(i, count, width):
        near = ranked(i)[:count]
        weights = [np.exp(-(d**2 - near[0][0] ** 2) / (2 * width**2)) for d, _ in near]
        return np.average([labels[j] for _, j in near], axis=0, weights=weights)

    scale = np.median([ranked(i)[0][0] for i in VALIDATION])
    trials = []
    for factor in WIDTHS:
        for count in [n for n in COUNTS if n <= len(TRAIN)]:
            predicted = np.array([predict(i, count, factor * scale) for i in VALIDATION])
            trials.append((np.abs(predicted - labels[VALIDATION]).mean(), count, factor * scale))
    _, count, width = min(trials, key=lambda trial: trial[0])
    rate = [sources[ranked(i)[0][1]] == sources[i] for i in TEST if sources[i] in {sources[j] for j in TRAIN}]
    return np.array([predict(i, count, width) for i in TEST]), count, width, np.mean(rate)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("other_sources", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_formula(seed, other_sources, missing):
    blocks, labels, sources = drawn(seed, missing=missing)
    found = neighbours(blocks, labels, sources, TRAIN, VALIDATION, TEST, other_sources)
    predicted, count, width, rate = by_hand(blocks, labels, sources, other_sources)
    assert (found.count, found.width) == (count, pytest.approx(width))
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-9)
    if not other_sources:
        assert found.same_source == pytest.approx(rate)
        own = [sum(sources[j] == sources[i] for j in TRAIN) for i in TEST]
        assert found.chance == pytest.approx(np.mean([n for n in own if n]) / len(TRAIN))


def test_equal_weights_are_those_of_scikit_learn(monkeypatch):
    (block, _), labels, sources = drawn()
    monkeypatch.setattr("apt_lightning.evaluation.neighbours.WIDTHS", (np.inf,))
    found = neighbours([block], labels, sources, TRAIN, VALIDATION, TEST)
    x = (block - block[TRAIN].mean(axis=0)) / block[TRAIN].std(axis=0)
    model = KNeighborsRegressor(found.count).fit(x[TRAIN], labels[TRAIN])
    np.testing.assert_allclose(found.predicted, model.predict(x[TEST]), atol=1e-12)


def test_it_recognises_a_source_and_disjoint_sources_leave_nothing_to_recognise():
    rng = np.random.default_rng(1)
    source = np.arange(120) % 30
    labels = np.clip(0.5 + 0.1 * rng.normal(size=(30, 5))[source], 0, 1)
    face = rng.normal(size=(30, 8))[source] + 0.01 * rng.normal(size=(120, 8))  # says who, not what
    names = [f"s{s}" for s in source]
    found = neighbours([face], labels, names, TRAIN, VALIDATION, TEST)
    assert found.same_source == 1 and np.abs(found.predicted - labels[TEST]).max() < 1e-6
    assert found.chance == pytest.approx(2 / 60)
    others = neighbours([face], labels, names, TRAIN, VALIDATION, TEST, other_sources=True)
    constant = np.abs(labels[TRAIN].mean(axis=0) - labels[TEST]).mean()
    assert np.isnan(others.same_source) and np.abs(others.predicted - labels[TEST]).mean() > 0.9 * constant
    apart = np.arange(120) // 4  # each source in one split
    labels = np.clip(0.5 + 0.1 * rng.normal(size=(30, 5))[apart], 0, 1)
    face = rng.normal(size=(30, 8))[apart] + 0.01 * rng.normal(size=(120, 8))
    found = neighbours([face], labels, [f"s{s}" for s in apart], TRAIN, VALIDATION, TEST)
    constant = np.abs(labels[TRAIN].mean(axis=0) - labels[TEST]).mean()
    assert np.isnan(found.same_source) and np.abs(found.predicted - labels[TEST]).mean() > 0.9 * constant


def test_degenerate_input():
    blocks, labels, sources = drawn()
    same = neighbours([np.ones((120, 2))], labels, sources, TRAIN, VALIDATION, TEST)
    assert np.isfinite(same.predicted).all()  # all distances are 0
    alone = neighbours(blocks, labels, ["s"] * 120, TRAIN, VALIDATION, TEST, other_sources=True)
    np.testing.assert_allclose(alone.predicted, np.tile(labels[TRAIN].mean(axis=0), (30, 1)))  # nobody is left
    unseen = [block.copy() for block in blocks]
    for block in unseen:
        block[[3, 95]] = np.nan
    found = neighbours(unseen, labels, sources, TRAIN, VALIDATION, TEST)
    np.testing.assert_allclose(found.predicted[5], labels[TRAIN].mean(axis=0))
    assert neighbours(blocks, labels, sources, TRAIN[:1], VALIDATION, TEST).count == 1
    assert neighbours(blocks, labels, sources, TRAIN, VALIDATION, TEST[:0]).predicted.shape == (0, 5)
    gaps = labels.copy()
    gaps[::7, 2] = np.nan
    assert np.isfinite(neighbours(blocks, gaps, sources, TRAIN, VALIDATION, TEST).predicted).all()
    none = np.full((120, 5), np.nan)
    for x, y in ((blocks, none), ([np.full((120, 2), np.nan)], labels)):
        with pytest.raises(DataError, match="neighbour baseline needs"):
            neighbours(x, y, sources, TRAIN, VALIDATION, TEST)


def test_clips_with_fewer_neighbours_than_asked_for_keep_those_they_have():
    distances = np.array([[60.0, 61.0, np.inf, np.inf]])
    labels = np.array([[0.2] * 5, [0.6] * 5, [0.9] * 5])
    with np.errstate(all="raise"):
        found = running_means(distances, np.array([[0, 1, 2, 2]]), labels, 1.0, np.full(5, 0.5), np.array([True]))
    weight = np.exp(-(61.0**2 - 60.0**2) / 2)
    assert np.allclose(found[0, 2:], (0.2 + weight * 0.6) / (1 + weight))


def test_systems_are_each_modality_and_all_joined():
    one, two, none = np.ones((120, 2)), np.ones((120, 3)), np.full((120, 4), np.nan)
    assert list(neighbour_systems({"a": one, "b": two, "c": none}, TRAIN)) == ["a", "b", JOINED]
    assert list(neighbour_systems({"a": one, "c": none}, TRAIN)) == ["a"]
    assert same_source_note({"a": (np.nan, np.nan)}) == same_source_note({}) == []
