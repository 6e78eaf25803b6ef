"""Against the formula of the paper as a loop over triples."""

import numpy as np
import pytest
import torch

from apt_lightning.common.errors import UsageError
from apt_lightning.losses import RankNContrastLoss


def batch(n_clips=8, seed=0, lattice=False):
    """Rows of three modalities; on the lattice many labels are equally far."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (n_clips, 5)) / 4 if lattice else rng.uniform(0.1, 0.9, (n_clips, 5))
    embeddings = torch.tensor(rng.standard_normal((3 * n_clips, 6)), requires_grad=True)
    sources = torch.arange(n_clips) // 2
    return embeddings, torch.tensor(labels).repeat(3, 1), sources.repeat(3), torch.arange(3).repeat_interleave(n_clips)


def formula(embeddings, labels, may_pair, t=2.0):
    f, y = embeddings.detach().numpy(), labels.numpy()
    anchors = []
    for i in range(len(f)):
        others = [j for j in range(len(f)) if j != i and may_pair(i, j)]
        terms = []
        for j in others:
            far = [k for k in others if np.abs(y[i] - y[k]).sum() >= np.abs(y[i] - y[j]).sum()]
            shares = sum(np.exp(-np.linalg.norm(f[i] - f[k]) / t) for k in far)
            terms.append(-np.log(np.exp(-np.linalg.norm(f[i] - f[j]) / t) / shares))
        if terms:
            anchors.append(np.mean(terms))
    return np.mean(anchors)


@pytest.mark.parametrize("lattice", [False, True])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("pairs", ["all", "within", "across"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_value_is_that_of_the_formula(pairs, apart, lattice, temperature):
    embeddings, labels, sources, modalities = batch(lattice=lattice)

    def may_pair(i, j):
        same = modalities[i] == modalities[j]
        return (pairs == "all" or same == (pairs == "within")) and not (apart and sources[i] == sources[j])

    loss = RankNContrastLoss(temperature, pairs)
    value = loss(embeddings, labels, None, sources if apart else None, modalities)
    assert value.item() == pytest.approx(formula(embeddings, labels, may_pair, temperature), abs=1e-9)


@pytest.mark.parametrize("pairs", ["all", "within", "across"])
def test_gradient_is_that_of_finite_differences(pairs):
    embeddings, labels, sources, modalities = batch(4, lattice=True)
    loss = RankNContrastLoss(pairs=pairs)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, None, sources, modalities), embeddings)


def test_chunks_change_nothing(monkeypatch):
    embeddings, labels, *_ = batch()
    loss = RankNContrastLoss()
    whole = torch.autograd.grad(loss(embeddings, labels), embeddings)[0]
    monkeypatch.setattr("apt_lightning.losses.rank_n_contrast._CHUNK_ELEMENTS", 70)
    torch.testing.assert_close(torch.autograd.grad(loss(embeddings, labels), embeddings)[0], whole, rtol=0, atol=1e-15)


@pytest.mark.parametrize("world", [2, 3])
def test_shares_add_up_to_the_whole(world):
    embeddings, labels, sources, modalities = batch()
    loss = RankNContrastLoss(pairs="across")
    parts = [loss(embeddings, labels, None, sources, modalities, (rank, world)) for rank in range(world)]
    whole = loss(embeddings, labels, None, sources, modalities)
    torch.testing.assert_close(sum(parts) / world, whole, rtol=0, atol=1e-13)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (sum(parts) / world, whole)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-13)


def test_rows_without_label_or_modality_have_no_part():
    embeddings, labels, *_ = batch()
    labels = labels.clone()
    labels[3, 1] = torch.nan
    valid = torch.arange(len(labels)) % 5 != 0
    used = valid & ~labels.isnan().any(dim=1)
    value = RankNContrastLoss()(embeddings, labels, valid)
    assert value.item() == RankNContrastLoss()(embeddings[used], labels[used]).item()
    (gradient,) = torch.autograd.grad(value, embeddings)
    assert (gradient[~used] == 0).all() and (gradient[used] != 0).any(dim=1).all()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_zero_and_differentiable(rows):
    embeddings, labels, *_ = batch()
    value = RankNContrastLoss()(embeddings[:rows], labels[:rows])
    assert value == 0  # of two rows each has one pair, which is alone in its sum
    assert (torch.autograd.grad(value, embeddings)[0] == 0).all()


def test_one_source_has_no_pair_and_equal_rows_no_gradient():
    embeddings, labels, sources, _ = batch()
    value = RankNContrastLoss()(embeddings, labels, None, torch.zeros_like(sources))
    assert value == 0
    assert (torch.autograd.grad(value, embeddings)[0] == 0).all()
    alike = torch.ones(6, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(RankNContrastLoss()(alike, labels[:6]), alike)
    assert (gradient == 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_overflow(scale, dtype):
    embeddings, labels, *_ = batch()
    lowered = (embeddings.detach() * scale).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = RankNContrastLoss()(lowered, labels)
    (gradient,) = torch.autograd.grad(value, lowered)
    exact = RankNContrastLoss()(lowered.double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)
    assert gradient.dtype == dtype and gradient.isfinite().all()


def test_only_one_derivative():
    embeddings, labels, *_ = batch()
    (gradient,) = torch.autograd.grad(RankNContrastLoss()(embeddings, labels), embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.square().sum().backward()


def test_wrong_use_is_refused():
    embeddings, labels, *_ = batch()
    for options in ({"temperature": 0}, {"pairs": "some"}):
        with pytest.raises(UsageError, match=next(iter(options))):
            RankNContrastLoss(**options)
    with pytest.raises(UsageError, match="`modalities`"):
        RankNContrastLoss(pairs="across")(embeddings, labels)
    with pytest.raises(UsageError, match="`labels`"):
        RankNContrastLoss()(embeddings, labels[:3])
