"""Against a loop written from the formula, with scipy's normal distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from apt_lightning.losses import TraitMultiSimilarityLoss
from apt_lightning.losses.closed_form import Constants, MinedLoss
from apt_lightning.losses.hard_classes import hard_groups
from apt_lightning.losses.soft_classes import class_probabilities, soft_groups

MEAN, SD = [0.5, 0.52], [0.15, 0.14]
CONSTANTS = Constants(alpha=2.0, beta=50.0, base=0.5, margin=0.1)


def batch(n_clips=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = torch.tensor(rng.uniform(0.1, 0.95, (n_clips, 2)))
    embeddings = torch.nn.functional.normalize(torch.tensor(rng.standard_normal((3 * n_clips, 6)) + 0.7))
    return embeddings, labels.repeat(3, 1), torch.arange(n_clips).repeat(3)


def formula(embeddings, labels, noise, clips, anchor_classes, per_anchor):
    similarity = (embeddings @ embeddings.T).numpy()
    alpha, beta, base, margin = CONSTANTS
    total = 0.0
    for trait, (mean, sd) in enumerate(zip(MEAN, SD, strict=True)):
        y = labels[:, trait].numpy()
        edges = np.array([-np.inf, mean - sd, mean, mean + sd, np.inf])
        q = np.diff(norm.cdf((edges - y[:, None]) / noise), axis=1)
        trait_total = 0.0
        for c in anchor_classes:
            for i in range(len(y)):
                positives, negatives = [], []  # shifted similarities
                for k in range(len(y)):
                    if k == i:
                        continue
                    p = 1.0 if clips is not None and clips[k] == clips[i] else q[k, c]
                    if p > 0:
                        positives.append(similarity[i, k] - math.log(p) / alpha)
                    if p < 1:
                        negatives.append(similarity[i, k] + math.log(1 - p) / beta)
                kept_p = [d for d in positives if d < max(negatives) + margin]
                kept_n = [d for d in negatives if d > min(positives) - margin]
                loss = math.log1p(sum(math.exp(-alpha * (d - base)) for d in kept_p)) / alpha
                loss += math.log1p(sum(math.exp(beta * (d - base)) for d in kept_n)) / beta
                trait_total += q[i, c] * loss if q[i, c] > 1e-4 else 0.0
        total += trait_total / (q[:, anchor_classes].sum() if per_anchor else len(y))
    return total / len(MEAN)


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("with_clips", [False, True])
@pytest.mark.parametrize("anchors", ["extreme", "all"])
@pytest.mark.parametrize("denominator", ["rows", "anchors"])
def test_value_is_that_of_the_formula(noise, with_clips, anchors, denominator):
    embeddings, labels, clips = batch()
    loss = TraitMultiSimilarityLoss(
        anchors=anchors, denominator=denominator, label_noise=noise, mean=MEAN, sd=SD, n_traits=2
    )
    clips = clips if with_clips else None
    expected = formula(
        embeddings,
        labels,
        noise,
        clips,
        [0, 3] if anchors == "extreme" else [0, 1, 2, 3],
        denominator == "anchors",
    )
    assert loss(embeddings, labels, None, clips).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("anchors", ["extreme", "all"])
@pytest.mark.parametrize("denominator", ["rows", "anchors"])
@pytest.mark.parametrize("with_clips", [False, True])
def test_without_noise_the_soft_formula_is_the_hard_loss(anchors, denominator, with_clips):
    embeddings, labels, clips = batch(20, 1)
    labels[3] = labels[23] = labels[43] = torch.nan
    classes = TraitMultiSimilarityLoss(anchors=anchors, mean=MEAN, sd=SD, n_traits=2).classes
    soft = soft_groups(labels, classes, denominator, 0.0, clips if with_clips else None, CONSTANTS, torch.float64)
    hard = hard_groups(labels, classes, denominator, torch.float64)
    results = []
    for groups in (soft, hard):
        rows = embeddings.clone().requires_grad_()
        loss, anchor_count, with_pairs = MinedLoss.apply(rows, groups, CONSTANTS, 2, (0, 1), True)
        loss.backward()
        results.append((loss.detach(), rows.grad, anchor_count, with_pairs))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_without_noise_the_flag_changes_nothing_at_all():
    embeddings, labels, clips = batch(20, 2)
    hard = TraitMultiSimilarityLoss(mean=MEAN, sd=SD, n_traits=2)
    soft = TraitMultiSimilarityLoss(mean=MEAN, sd=SD, n_traits=2, label_noise=0.0)
    assert soft(embeddings, labels, None, clips) == hard(embeddings, labels)
    nearly = TraitMultiSimilarityLoss(mean=MEAN, sd=SD, n_traits=2, label_noise=1e-6)
    assert nearly(embeddings, labels).item() == pytest.approx(hard(embeddings, labels).item(), abs=1e-9)


def test_a_label_on_a_threshold_belongs_to_both_sides():
    bounds = torch.tensor([[0.35], [0.5], [0.65]])
    below, above, middle, missing = class_probabilities(
        torch.tensor([[0.35], [0.65], [0.425], [torch.nan]]), bounds, 0.01
    )[:, 0]
    assert below.tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=1e-6)
    assert above.tolist() == pytest.approx([0, 0, 0.5, 0.5], abs=1e-6)
    assert middle.tolist() == pytest.approx([0, 1, 0, 0], abs=1e-6)
    assert missing.isnan().all()


def test_without_noise_a_label_on_a_bound_lies_above_it():
    bounds = torch.tensor([[0.25], [0.5], [0.75]])
    labels = torch.tensor([[0.25], [0.5], [0.75], [0.0]])
    assert class_probabilities(labels, bounds, 0.0)[:, 0].argmax(dim=1).tolist() == [1, 2, 3, 0]


def test_missing_labels_have_no_part():
    embeddings, labels, _ = batch(20, 3)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD, n_traits=2, label_noise=0.05)
    labels[::7] = torch.nan
    known = ~labels[:, 0].isnan()
    assert loss(embeddings, labels).item() == pytest.approx(loss(embeddings[known], labels[known]).item(), abs=1e-14)
