from itertools import permutations

import numpy as np
import pytest

from apt_lightning.common.errors import DataError
from apt_lightning.evaluation.contributions import (
    average_contributions,
    permutation_importance,
    shapley,
)

RNG = np.random.default_rng(0)


def game():
    answers = {mask: RNG.random((4, 5)) for mask in np.ndindex(2, 2, 2)}
    return lambda mask: answers[tuple(int(m) for m in mask)]


def test_shapley_equals_the_mean_over_all_orders():
    value = game()
    found = shapley(value, 3)
    expected = np.zeros((4, 5, 3))
    for order in permutations(range(3)):
        mask = [False] * 3
        for i in order:
            before = value(tuple(mask))
            mask[i] = True
            expected[..., i] += (value(tuple(mask)) - before) / 6
    np.testing.assert_allclose(found.values, expected)


def test_contributions_add_up_to_the_prediction():
    value = game()
    found = shapley(value, 3)
    np.testing.assert_allclose(found.base + found.values.sum(axis=-1), value((True, True, True)))
    np.testing.assert_allclose(average_contributions(found), np.abs(found.values).mean(axis=0))


def test_equal_and_useless_modalities():
    found = shapley(lambda mask: np.full((2, 5), float(mask[0] and mask[1])), 3)
    np.testing.assert_allclose(found.values, np.broadcast_to([0.5, 0.5, 0], (2, 5, 3)))


def test_any_number_of_modalities():
    """An additive game pays each modality what it adds, and one modality takes all."""
    worth = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    found = shapley(lambda mask: np.full((1, 5), (worth * mask).sum()), 5)
    np.testing.assert_allclose(found.values[0], np.broadcast_to(worth, (5, 5)))
    assert shapley(lambda mask: np.full((1, 5), float(mask[0])), 1).values.tolist() == [[[1.0]] * 5]


def test_each_subset_is_asked_for_once():
    asked = []
    shapley(lambda mask: asked.append(mask) or np.zeros((1, 5)), 3)
    assert len(asked) == len(set(asked)) == 8 and all(isinstance(m, bool) for mask in asked for m in mask)


def test_no_number_and_no_clip_are_refused():
    with pytest.raises(DataError, match=r"\[0, 2\] of 3 is not finite"):
        shapley(lambda mask: np.full((1, 5), np.nan if mask == (True, False, True) else 0.5), 3)
    with pytest.raises(DataError, match="over no clip"):
        average_contributions(shapley(lambda mask: np.zeros((0, 5)), 3))


def test_importance_of_a_linear_model():
    x, weights = RNG.normal(size=(2000, 4)), np.array([[0.1], [0.1], [0.02], [0.0]]) * np.ones(5)
    true = x @ weights
    true[0, 0] = np.nan
    families = {"both": [0, 1], "little": [2], "none": [3]}
    rises = permutation_importance(lambda features: features @ weights, x, true, families, repeats=5)
    # the model is exact, so the error is that of the difference of two normal draws, permuted together
    for family, variance in (("both", 2 * 0.1**2), ("little", 0.02**2), ("none", 0)):
        assert rises[family].shape == (5, 5)
        np.testing.assert_allclose(
            rises[family].mean(), np.sqrt(2 * variance) * np.sqrt(2 / np.pi), rtol=0.05, atol=1e-9
        )


def test_importance_leaves_the_features_alone_and_needs_labels():
    x = RNG.random((10, 2))
    before = x.copy()
    permutation_importance(lambda features: features[:, :1] * np.ones(5), x, RNG.random((10, 5)), {"a": [0]})
    np.testing.assert_array_equal(x, before)
    with pytest.raises(DataError, match="two clips or more"):
        permutation_importance(lambda features: np.zeros((10, 5)), x, np.full((10, 5), np.nan), {"a": [0]})
