"""The metric that chooses stage 3's epoch, against the retrieval table and by hand."""

import numpy as np
import pytest
import torch

from apt_lightning.evaluation import cross_modal
from apt_lightning.evaluation.cross_modal import cross_modal_precision
from apt_lightning.evaluation.retrieval import retrieve


def drawn(seed, n=80):
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, 3, 6))
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    present = rng.random((n, 3)) < 0.8
    classes = rng.integers(-1, 4, (n, 5))
    sources = rng.integers(0, 30, n)
    return embeddings, present, classes, sources


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_retrieval_table(seed):
    embeddings, present, classes, sources = drawn(seed)
    classes = np.abs(classes)  # all labelled: unlabelled clips are no answers there, and wrong answers here
    ours = cross_modal_precision(*map(torch.from_numpy, (embeddings, present, classes, sources)))
    table = retrieve(embeddings, present, classes, ["a", "v", "t"], [str(s) for s in sources])
    cross = [(f.precision * f.queries, f.queries) for f in table if f.query != f.answer]
    assert float(ours) == pytest.approx(sum(a for a, _ in cross) / sum(b for _, b in cross), abs=1e-6)


def test_perfect_and_useless_spaces():
    classes = torch.tensor([[0], [0], [3], [3], [1], [2]]).repeat(20, 1)
    # Clips of one class lie at one place, so that all of the first ten answers are right.
    places = torch.eye(4)[classes[:, 0]][:, None].expand(-1, 3, -1)
    present = torch.ones(len(classes), 3, dtype=torch.bool)
    everyone = torch.arange(len(classes))
    assert float(cross_modal_precision(places, present, classes, everyone)) == 1
    turned = torch.stack([places[:, 0], places[:, 0].roll(1, -1), places[:, 0].roll(2, -1)], dim=1)
    assert float(cross_modal_precision(turned, present, classes, everyone)) == 0


def test_degenerate_input_gives_zero_not_nan():
    embeddings, present, classes, sources = map(torch.from_numpy, drawn(0, 7))
    nobody = torch.ones_like(classes)
    assert float(cross_modal_precision(embeddings, present, nobody, sources)) == 0
    assert float(cross_modal_precision(embeddings, present, classes, torch.zeros_like(sources))) == 0
    assert float(cross_modal_precision(embeddings, present & False, classes, sources)) == 0


def test_few_queries_estimate_the_whole(monkeypatch):
    embeddings, present, classes, sources = map(torch.from_numpy, drawn(5, 400))
    whole = float(cross_modal_precision(embeddings, present, classes, sources))
    monkeypatch.setattr(cross_modal, "QUERIES", 100)
    assert float(cross_modal_precision(embeddings, present, classes, sources)) == pytest.approx(whole, abs=0.03)
