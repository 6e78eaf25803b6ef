"""Against a loop written from Eq. 7, against pytorch-metric-learning, and against finite differences."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction, MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.regularizers import LpRegularizer

from apt_lightning.common.errors import UsageError
from apt_lightning.losses import ReferenceMultiSimilarityLoss, TraitMultiSimilarityLoss

MEAN = [0.476146, 0.520286, 0.548181, 0.522731, 0.566281]
SD = [0.152285, 0.153533, 0.136374, 0.155207, 0.146978]


def batch(n_clips, seed=0, dtype=torch.float64, dim=16, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = torch.tensor(rng.uniform(0.1, 0.95, (n_clips, 5)), dtype=dtype)
    embeddings = torch.tensor(rng.standard_normal((3 * n_clips, dim)) * spread + 1, dtype=dtype)
    return embeddings.requires_grad_(), labels.repeat(3, 1)


def loss_and_gradient(loss, embeddings, *args):
    embeddings = embeddings.detach().clone().requires_grad_()
    value = loss(embeddings, *args)
    value.backward()
    return value.detach(), embeddings.grad


def formula(embeddings, labels, alpha=2.0, beta=50.0, base=0.5, margin=0.1, extreme=True, per_anchor=False):
    """Eq. 7 with the mining rule of the multi-similarity paper, one anchor at a time."""
    e = embeddings.detach().double().numpy()
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    similarity = e @ e.T
    total = 0.0
    for trait, (mean, sd) in enumerate(zip(MEAN, SD, strict=True)):
        y = labels[:, trait].double().numpy()
        c = np.digitize(y, [mean - sd, mean, mean + sd])
        known = [i for i in range(len(y)) if not np.isnan(y[i])]
        anchors = [i for i in known if not extreme or c[i] in (0, 3)]
        trait_total = 0.0
        for i in anchors:
            positives = [similarity[i, k] for k in known if k != i and c[k] == c[i]]
            negatives = [similarity[i, k] for k in known if c[k] != c[i]]
            if not positives or not negatives:
                continue
            kept_p = [d for d in positives if d < max(negatives) + margin]
            kept_n = [d for d in negatives if d > min(positives) - margin]
            trait_total += math.log1p(sum(math.exp(-alpha * (d - base)) for d in kept_p)) / alpha
            trait_total += math.log1p(sum(math.exp(beta * (d - base)) for d in kept_n)) / beta
        total += trait_total / max(1, len(anchors) if per_anchor else len(known))
    return total / 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_clips", [1, 2, 7, 40])
@pytest.mark.parametrize("anchors", ["extreme", "all"])
@pytest.mark.parametrize("denominator", ["rows", "anchors"])
def test_value_is_that_of_the_formula(seed, n_clips, anchors, denominator):
    embeddings, labels = batch(n_clips, seed)
    loss = TraitMultiSimilarityLoss(anchors=anchors, denominator=denominator, mean=MEAN, sd=SD)
    expected = formula(embeddings, labels, extreme=anchors == "extreme", per_anchor=denominator == "anchors")
    assert loss(embeddings, labels).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "base", "margin"),
    [(0.1, 40, 0.5, 0.0), (2, 50, 1.0, 0.3), (1, 20, 0.5, 0.2), (5, 8, -0.5, 0.01)],
)
def test_value_is_that_of_the_formula_for_other_constants(alpha, beta, base, margin):
    embeddings, labels = batch(20, 5)
    loss = TraitMultiSimilarityLoss(alpha, beta, base, margin, mean=MEAN, sd=SD)
    expected = formula(embeddings, labels, alpha, beta, base, margin)
    assert loss(embeddings, labels).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("constants", "expected"),
    [((0.1, 40, 0.5), 5.7762208090), ((2, 50, 0.5), 0.5438289381), ((2, 50, 1.0), 0.3028747916)],
)
def test_published_vector_without_mining(constants, expected):
    angles = torch.deg2rad(torch.tensor([0.0, 20, 40, 60, 80], dtype=torch.float64))
    labels = torch.tensor([0.1, 0.1, 0.45, 0.45, 0.55], dtype=torch.float64)[:, None]
    loss = TraitMultiSimilarityLoss(*constants, margin=None, anchors="all", mean=[0.5], sd=[0.1], n_traits=1)
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert loss(embeddings, labels).item() == pytest.approx(expected, abs=1e-9)


def degenerate():
    embeddings, labels = batch(12, 3)
    one_class = torch.full_like(labels, 0.9)
    distinct = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)[:, None].repeat(1, 5)
    yield "one class", embeddings, one_class
    yield "all distinct", embeddings[:4], distinct
    yield "one row", embeddings[:1], labels[:1]
    yield "no rows", embeddings[:0], labels[:0]
    yield "one clip", embeddings[:3], one_class[:3]
    yield "missing modality", embeddings[:20], labels[:20]
    yield "equal rows", embeddings[:1].repeat(36, 1), labels
    yield "middle classes only", embeddings, torch.full_like(labels, 0.55)


@pytest.mark.parametrize("anchors", ["extreme", "all"])
@pytest.mark.parametrize("case", [*degenerate(), *(("random", *batch(30, s)) for s in range(5))], ids=lambda c: c[0])
def test_loss_and_gradient_are_those_of_the_library(case, anchors):
    _, embeddings, labels = case
    ours = TraitMultiSimilarityLoss(anchors=anchors, mean=MEAN, sd=SD)
    library = ReferenceMultiSimilarityLoss(anchors=anchors, mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(ours, embeddings, labels)
    expected, expected_gradient = loss_and_gradient(library, embeddings, labels)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)
    for ours_count, library_count in zip(ours.statistics, library.statistics, strict=True):
        assert ours_count.tolist() == library_count.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_one_trait_with_all_anchors_is_the_library_called_plainly(seed):
    embeddings, labels = batch(25, seed)
    ours = TraitMultiSimilarityLoss(anchors="all", mean=MEAN[:1], sd=SD[:1], n_traits=1)
    classes = ours.classes(labels[:, :1]).flatten()
    miner, library = MultiSimilarityMiner(epsilon=0.1), MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
    value, gradient = loss_and_gradient(ours, embeddings, labels[:, :1])
    expected, expected_gradient = loss_and_gradient(lambda e: library(e, classes, miner(e, classes)), embeddings)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("label_noise", [0.0, 0.05])
@pytest.mark.parametrize("anchors", ["extreme", "all"])
def test_gradcheck(label_noise, anchors):
    embeddings, labels = batch(6, 1, dim=4)
    labels[0, 2] = torch.nan
    loss = TraitMultiSimilarityLoss(anchors=anchors, label_noise=label_noise, mean=MEAN, sd=SD)
    valid = torch.ones(18, dtype=torch.bool)
    valid[[4, 7]] = False
    assert torch.autograd.gradcheck(lambda e: loss(e, labels, valid), (embeddings,))


def test_a_single_pair_of_each_kind_counts_unlike_in_the_library():
    labels = torch.tensor([[0.1], [0.1], [0.9]], dtype=torch.float64)
    angles = torch.deg2rad(torch.tensor([0.0, 30, -25], dtype=torch.float64))  # only the first keeps pairs
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    options = {"mean": [0.5], "sd": [0.2], "n_traits": 1}
    loss = TraitMultiSimilarityLoss(**options)
    near, far = math.cos(math.radians(25)), math.cos(math.radians(30))
    expected = math.log1p(math.exp(-2 * (far - 0.5))) / 2 + math.log1p(math.exp(50 * (near - 0.5))) / 50
    assert loss(embeddings, labels).item() == pytest.approx(expected / 3, abs=1e-12)
    assert loss.statistics.with_pairs.tolist() == [1]
    assert ReferenceMultiSimilarityLoss(**options)(embeddings, labels) == 0


def test_chunks_do_not_change_the_result(monkeypatch):
    embeddings, labels = batch(30, 2)
    labels[5] = torch.nan
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(loss, embeddings, labels)
    monkeypatch.setattr("apt_lightning.losses.closed_form._CHUNK_ELEMENTS", 7 * 90)
    chunked, chunked_gradient = loss_and_gradient(loss, embeddings, labels)
    assert value.item() == pytest.approx(chunked.item(), abs=1e-14)
    torch.testing.assert_close(gradient, chunked_gradient, rtol=0, atol=1e-14)


@pytest.mark.parametrize("label_noise", [0.0, 0.05])
def test_shares_of_the_anchors_average_to_the_loss(label_noise):
    embeddings, labels = batch(15, 4)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD, label_noise=label_noise)
    value, gradient = loss_and_gradient(loss, embeddings, labels)
    anchors = loss.statistics.anchors
    values, gradients, counts = [], [], []
    for rank in range(4):
        part, part_gradient = loss_and_gradient(loss, embeddings, labels, None, None, (rank, 4))
        values.append(part)
        gradients.append(part_gradient)
        counts.append(loss.statistics.anchors)
    assert torch.stack(values).mean().item() == pytest.approx(value.item(), abs=1e-14)
    torch.testing.assert_close(torch.stack(gradients).mean(dim=0), gradient, rtol=0, atol=1e-14)
    assert torch.stack(counts).sum(dim=0).tolist() == anchors.tolist()


def test_missing_rows_and_labels_do_not_count():
    embeddings, labels = batch(20, 6)
    valid = torch.ones(60, dtype=torch.bool)
    valid[[1, 30, 31, 59]] = False
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(loss, embeddings, labels, valid)
    assert value == loss(embeddings[valid], labels[valid])
    assert (gradient[~valid] == 0).all()
    labels[[3, 23, 43], 1] = torch.nan
    assert loss(embeddings, labels).item() == pytest.approx(formula(embeddings, labels), abs=1e-12)


def test_dot_product_keeps_lengths_and_regularisers_are_added():
    embeddings, labels = batch(20, 7, spread=0.1)
    unit = torch.nn.functional.normalize(embeddings)
    options = {"mean": MEAN, "sd": SD}
    dot = TraitMultiSimilarityLoss(distance=DotProductSimilarity(normalize_embeddings=False), **options)
    plain = TraitMultiSimilarityLoss(**options)
    assert isinstance(plain, BaseMetricLossFunction)
    assert dot(unit, labels).item() == pytest.approx(plain(embeddings, labels).item(), abs=1e-12)
    assert dot(2 * unit, labels).item() != pytest.approx(plain(embeddings, labels).item(), abs=1e-3)
    regular = TraitMultiSimilarityLoss(embedding_regularizer=LpRegularizer(), **options)
    extra = regular(embeddings, labels) - plain(embeddings, labels)
    assert extra.item() == pytest.approx(embeddings.norm(dim=1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("beta", [1e-3, 50, 1e4, 1e8])
@pytest.mark.parametrize("alpha", [1e-3, 2, 1e4])
@pytest.mark.parametrize("base", [-3.0, 0.5, 5.0])
def test_no_overflow_for_any_constants(dtype, alpha, beta, base):
    embeddings, labels = batch(10, 8, torch.float32)
    embeddings = torch.cat([embeddings, embeddings[:5], -embeddings[:5]]).to(dtype)
    labels = torch.cat([labels, labels[5:10], labels[:5]])
    loss = TraitMultiSimilarityLoss(alpha, beta, base, mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(loss, embeddings, labels)
    exact, exact_gradient = loss_and_gradient(loss, embeddings.double(), labels)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    assert value.item() == pytest.approx(exact.item(), rel=2e-4, abs=1e-6)
    if beta <= 50 and dtype == torch.float32:
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-3, atol=1e-6)


def test_autocast_does_not_lower_the_precision():
    embeddings, labels = batch(20, 9, torch.float32)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(loss, embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        lowered, lowered_gradient = loss_and_gradient(loss, embeddings, labels)
    assert value == lowered
    assert torch.equal(gradient, lowered_gradient)


def test_a_batch_without_pairs_is_zero_and_differentiable():
    embeddings, labels = batch(5)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    value, gradient = loss_and_gradient(loss, embeddings, torch.full_like(labels, 0.95))
    assert value == 0
    assert (gradient == 0).all()
    assert loss.statistics.anchors.tolist() == [15] * 5
    assert loss.statistics.with_pairs.tolist() == [0] * 5


def test_only_one_derivative():
    embeddings, labels = batch(8)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    (gradient,) = torch.autograd.grad(loss(embeddings, labels), embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.square().sum().backward()


def test_no_gradient_is_computed_without_need():
    embeddings, labels = batch(8)
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    with torch.no_grad():
        value = loss(embeddings, labels)
    assert not value.requires_grad
    assert value.item() == pytest.approx(loss(embeddings, labels).item(), abs=1e-15)


def test_class_bounds_are_part_of_the_checkpoint():
    embeddings, labels = batch(10)
    trained = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    loaded = TraitMultiSimilarityLoss()
    with pytest.raises(UsageError, match="class bounds are not set"):
        loaded(embeddings, labels)
    loaded.load_state_dict(trained.state_dict())
    assert loaded(embeddings, labels) == trained(embeddings, labels)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alpha": 0}, "`alpha` and `beta`"),
        ({"beta": -1}, "`alpha` and `beta`"),
        ({"beta": math.inf}, "`alpha` and `beta`"),
        ({"base": math.nan}, "`base` and `margin`"),
        ({"margin": math.inf}, "`base` and `margin`"),
        ({"anchors": "some"}, "`anchors`"),
        ({"denominator": "pairs"}, "`denominator`"),
        ({"label_noise": -0.1}, "`label_noise`"),
        ({"label_noise": math.nan}, "`label_noise`"),
        ({"distance": LpDistance()}, "`distance`"),
        ({"mean": MEAN}, "`mean` and `sd`"),
        ({"mean": MEAN, "sd": [0.0] * 5}, "sd > 0"),
        ({"mean": MEAN[:4], "sd": SD[:4]}, "5 values"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        TraitMultiSimilarityLoss(**options)


def test_wrong_shapes_are_refused():
    loss = TraitMultiSimilarityLoss(mean=MEAN, sd=SD)
    with pytest.raises(UsageError, match="`labels`"):
        loss(torch.zeros(4, 2), torch.zeros(4))
