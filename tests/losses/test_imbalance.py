"""Concordance, balanced MSE, density weights and C-Mixup against their formulas as loops."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from scipy.stats import norm

from apt_lightning.losses.c_mixup import mix, mixing_chances
from apt_lightning.losses.imbalance import BINS, balanced_mse, density_weights, discordance, label_bins
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


def test_discordance_is_one_less_lins_coefficient():
    scores, labels = arrays()
    terms = [
        1 - 2 * np.mean((s - s.mean()) * (y - y.mean())) / (s.var() + y.var() + (s.mean() - y.mean()) ** 2)
        for s, y in known(scores, labels)
    ]
    assert discordance(scores, labels).item() == pytest.approx(np.mean(terms), abs=1e-9)


def test_balanced_mse_is_the_likelihood_among_the_labels_of_the_batch():
    scores, labels = arrays()
    terms = []
    for s, y in known(scores, labels):
        densities = [[norm.pdf(label, score, 0.1) for label in y] for score in s]
        terms.append(np.mean([-2 * 0.1**2 * np.log(row[i] / sum(row)) for i, row in enumerate(densities)]))
    assert balanced_mse(scores, labels, 0.1).item() == pytest.approx(np.mean(terms), abs=1e-9)


@pytest.mark.parametrize("loss", [discordance, lambda s, y: balanced_mse(s, y, 0.1)])
def test_gradients_and_degenerate_batches(loss):
    scores, labels = arrays()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), scores)
    for rows in (slice(0, 0), slice(0, 1), slice(1, 2)):
        value = loss(scores[rows], labels[rows])
        assert value.isfinite() and torch.autograd.grad(value, scores)[0].isfinite().all()
    value = loss(scores, torch.full_like(labels, torch.nan))
    assert value == 0 and (torch.autograd.grad(value, scores)[0] == 0).all()
    alike = torch.full((4, 5), 0.5, requires_grad=True)
    assert torch.autograd.grad(loss(alike, torch.full((4, 5), 0.5)), alike)[0].isfinite().all()


def test_density_weights_are_those_of_smoothed_counts():
    rng = np.random.default_rng(1)
    labels = rng.normal(0.5, 0.15, (400, 2)).clip(0, 1)
    labels[::9, 1] = np.nan
    taps = np.array([norm.pdf(k, 0, 2) for k in range(-2, 3)])
    found = density_weights(torch.tensor(labels)).numpy()
    for column, weights in zip(labels.T, found, strict=True):
        column = column[~np.isnan(column)]
        counts, _ = np.histogram(column, np.linspace(0, 1, BINS + 1))
        smoothed = convolve1d(counts.astype(float), taps / taps.max(), mode="constant")
        each = np.array([1 / np.sqrt(smoothed[min(int(y * BINS), BINS - 1)]) for y in column])
        each *= len(each) / each.sum()
        own = weights[label_bins(torch.tensor(column)).numpy()]
        assert own == pytest.approx(each, abs=1e-9)
        assert own.mean() == pytest.approx(1)
        assert own[np.abs(column - 0.5) > 0.3].min() > own[np.abs(column - 0.5) < 0.05].max()


def test_regression_loss_with_each_part():
    scores, labels = arrays()
    plain = RegressionLoss(RegressionTerms(bell_weight=0, mse_weight=0))
    both = RegressionLoss(
        RegressionTerms(bell_weight=0, mse_weight=0, ccc_weight=2.0, balanced_weight=0.5, balanced_noise=0.2)
    )
    extra = 2 * discordance(scores, labels) + 0.5 * balanced_mse(scores, labels, 0.2)
    torch.testing.assert_close(both(scores, labels), plain(scores, labels) + extra)
    weighted = RegressionLoss(RegressionTerms(bell_weight=0, mse_weight=0, density_weighted=True))
    assert weighted(scores, labels) == plain(scores, labels)  # not known yet
    weighted.set_labels(labels)
    weights = density_weights(labels).gather(1, label_bins(labels).T).T
    there = ~labels.isnan()
    expected = ((scores - labels).abs() * weights)[there].mean()
    assert weighted(scores, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert not weighted.state_dict()


def test_mixing_chances_are_the_kernel_among_those_allowed():
    rng = np.random.default_rng(2)
    labels, sources = rng.uniform(0, 1, (7, 5)), np.array([0, 0, 1, 2, 2, 3, 3])
    labels[5, 0] = np.nan
    found = mixing_chances(torch.tensor(labels), torch.tensor(sources[:, None] != sources), 0.3).numpy()
    for i in range(7):
        kernel = [
            np.exp(-np.sum((labels[i] - labels[j]) ** 2) / (2 * 0.3**2))
            if sources[i] != sources[j] and 5 not in (i, j)
            else 0.0
            for j in range(7)
        ]
        expected = np.array(kernel) / sum(kernel) if sum(kernel) > 0 else np.eye(7)[i]
        assert found[i] == pytest.approx(expected, abs=1e-9)


def test_mixed_clips_lie_between_two_sources_and_labels_go_along():
    torch.manual_seed(0)
    traits = torch.rand(40, 5)
    present = torch.ones(40, 3, dtype=torch.bool)
    present[:10, 1] = False
    features = traits[:, None, :].repeat(1, 3, 1)  # a feature that is its label
    sources = torch.arange(40) // 2
    mixed, labels = mix(features, traits, present, sources, 0.2)
    torch.testing.assert_close(mixed, labels[:, None].expand(-1, 3, -1))
    assert (labels != traits).any(dim=1).float().mean() > 0.9
    alone, same = mix(features, traits, present, torch.zeros(40), 0.2)
    torch.testing.assert_close(alone, features)
    torch.testing.assert_close(same, traits)
