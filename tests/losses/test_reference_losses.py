import numpy as np
import pytest
import torch

from apt_lightning.losses import TraitTripletLoss

MEAN, SD = [0.5] * 5, [0.15] * 5


def batch(n_clips=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = torch.tensor(rng.uniform(0.1, 0.95, (n_clips, 5)))
    return torch.tensor(rng.standard_normal((3 * n_clips, 6)), requires_grad=True), labels.repeat(3, 1)


@pytest.mark.parametrize("anchors", ["extreme", "all"])
def test_triplets_are_the_hardest_of_each_anchor(anchors):
    embeddings, labels = batch()
    labels[4, 2] = torch.nan
    units = torch.nn.functional.normalize(embeddings.detach())
    distance = torch.cdist(units, units).numpy()
    total, expected_anchors = 0.0, []
    for y in labels.T.numpy():
        c = np.digitize(y, [0.35, 0.5, 0.65])
        known = np.flatnonzero(~np.isnan(y))
        violations, count = [], 0
        for i in known:
            if anchors == "extreme" and c[i] not in (0, 3):
                continue
            count += 1
            positives = [distance[i, k] for k in known if k != i and c[k] == c[i]]
            negatives = [distance[i, k] for k in known if c[k] != c[i]]
            if positives and negatives:
                violations.append(max(positives) - min(negatives) + 0.2)
        violations = [v for v in violations if v > 0]
        total += np.mean(violations) if violations else 0.0
        expected_anchors.append(count)
    loss = TraitTripletLoss(margin=0.2, anchors=anchors, mean=MEAN, sd=SD)
    value = loss(embeddings, labels, None, torch.arange(10).repeat(3), (0, 2))
    value.backward()
    assert value.item() == pytest.approx(total / 5, rel=1e-6)
    assert embeddings.grad.isfinite().all()
    assert loss.statistics.anchors.tolist() == expected_anchors
    assert (loss.statistics.with_pairs > 0).all()


def test_no_pair_and_missing_rows():
    embeddings, labels = batch()
    loss = TraitTripletLoss(mean=MEAN, sd=SD)
    value = loss(embeddings, torch.full_like(labels, 0.9))
    value.backward()
    assert value == 0
    assert (embeddings.grad == 0).all()
    valid = torch.arange(30) % 4 != 0
    assert loss(embeddings, labels, valid) == loss(embeddings[valid], labels[valid])
