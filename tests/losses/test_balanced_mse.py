"""Balanced MSE against its formula as a loop."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from apt_lightning.losses.balanced_mse import balanced_mse
from apt_lightning.losses.regression import RegressionLoss, RegressionTerms


def arrays(n=9, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 1, (n, 5))
    labels[2, 3] = labels[1, :3] = labels[:, 4] = np.nan
    return torch.tensor(rng.uniform(-0.2, 1.2, (n, 5)), requires_grad=True), torch.tensor(labels)


def known(scores, labels):
    """Pairs of scores and labels of each trait that has labels."""
    for s, y in zip(scores.detach().numpy().T, labels.numpy().T, strict=True):
        there = ~np.isnan(y)
        if there.any():
            yield s[there], y[there]


def test_balanced_mse_is_the_likelihood_among_the_labels_of_the_batch():
    scores, labels = arrays()
    terms = []
    for s, y in known(scores, labels):
        densities = [[norm.pdf(label, score, 0.1) for label in y] for score in s]
        terms.append(np.mean([-2 * 0.1**2 * np.log(row[i] / sum(row)) for i, row in enumerate(densities)]))
    assert balanced_mse(scores, labels, 0.1).item() == pytest.approx(np.mean(terms), abs=1e-9)


def test_gradients_and_degenerate_batches():
    def loss(s, y):
        return balanced_mse(s, y, 0.1)

    scores, labels = arrays()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), scores)
    for rows in (slice(0, 0), slice(0, 1), slice(1, 2)):
        value = loss(scores[rows], labels[rows])
        assert value.isfinite() and torch.autograd.grad(value, scores)[0].isfinite().all()
    value = loss(scores, torch.full_like(labels, torch.nan))
    assert value == 0 and (torch.autograd.grad(value, scores)[0] == 0).all()
    alike = torch.full((4, 5), 0.5, requires_grad=True)
    assert torch.autograd.grad(loss(alike, torch.full((4, 5), 0.5)), alike)[0].isfinite().all()


def test_regression_loss_with_it():
    scores, labels = arrays()
    plain = RegressionLoss(RegressionTerms(bell_weight=0, mse_weight=0))
    both = RegressionLoss(RegressionTerms(bell_weight=0, mse_weight=0, balanced_weight=0.5, balanced_noise=0.2))
    torch.testing.assert_close(both(scores, labels), plain(scores, labels) + 0.5 * balanced_mse(scores, labels, 0.2))
