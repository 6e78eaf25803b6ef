"""Two gloo processes against one process with the whole batch, with DistributedDataParallel's averaging."""

import socket

import numpy as np
import pytest
import torch
from forked import START, join
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from apt_lightning.losses import RankNContrastLoss, TraitMultiSimilarityLoss, TraitTripletLoss
from apt_lightning.stages.distributed import Rows, gather_rows, process_share

MEAN, SD = [0.5] * 5, [0.15] * 5


class Ranked(RankNContrastLoss):
    """Rows of one clip are left out as those of a source are."""

    statistics = None

    def forward(self, embeddings, labels, valid, clips, share):
        return super().forward(embeddings, labels, valid, clips, share=share)


LOSSES = {
    "extreme": lambda: TraitMultiSimilarityLoss(mean=MEAN, sd=SD),
    "all": lambda: TraitMultiSimilarityLoss(anchors="all", denominator="anchors", mean=MEAN, sd=SD),
    "soft": lambda: TraitMultiSimilarityLoss(label_noise=0.05, mean=MEAN, sd=SD),
    "ranked": Ranked,
    "triplet": lambda: TraitTripletLoss(mean=MEAN, sd=SD),
}
CASES = {"equal": (8, 8), "unequal": (9, 4), "one without rows": (10, 0)}
"""Clips of each process."""


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def clips(case):
    """Features, labels and presence of each process's clips; they lack different modalities."""
    rng = np.random.default_rng(1)
    return [
        (
            torch.tensor(rng.standard_normal((n, 3, 5))),
            torch.tensor(rng.uniform(0.1, 0.95, (n, 5))),
            torch.tensor(rng.random((n, 3)) > 0.1 + 0.4 * rank),
            torch.arange(n) + 100 * rank,
        )
        for rank, n in enumerate(CASES[case])
    ]


def rows_of(model, features, labels, present, numbers, drop):
    """Rows of a batch; missing ones are dropped here, so that processes differ in length, or by the loss."""
    rows = Rows(
        model(features).transpose(0, 1).flatten(0, 1),
        labels.repeat(3, 1),
        present.T.flatten(),
        numbers.repeat(3),
    )
    return Rows(*(part[rows.valid] for part in rows)) if drop else rows


def step(model, batch, loss, drop):
    rows = gather_rows(rows_of(model, *batch, drop))
    value = loss(*rows, process_share())
    value.backward()
    return value.detach(), [p.grad.clone() for p in model.parameters()], loss.statistics


def worker(rank, port, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {}
    for case in CASES:
        for name, make in LOSSES.items():
            for drop in (False, True):
                model = DistributedDataParallel(net())
                found[case, name, drop] = step(model, clips(case)[rank], make(), drop)
    torch.save(found, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    results = tmp_path_factory.mktemp("ranks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = [START.Process(target=worker, args=(rank, port, str(results))) for rank in range(2)]
    for process in processes:
        process.start()
    join(processes)
    return [torch.load(results / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_one_process(two_processes, case, name, drop):
    whole = [torch.cat(parts) for parts in zip(*clips(case), strict=True)]
    value, gradients, statistics = step(net(), whole, LOSSES[name](), drop)
    (first, first_gradients, a), (second, second_gradients, b) = (r[case, name, drop] for r in two_processes)
    assert value > 0
    assert ((first + second) / 2).item() == pytest.approx(value.item(), abs=1e-12)
    for one, x, y in zip(gradients, first_gradients, second_gradients, strict=True):
        torch.testing.assert_close(x, one, rtol=0, atol=1e-12)
        assert torch.equal(x, y)
    if name == "triplet":  # every process computes the whole loss
        assert torch.equal(torch.stack(a), torch.stack(b))
        assert torch.equal(torch.stack(a), torch.stack(statistics))
    elif name != "ranked":
        assert (a.anchors + b.anchors).tolist() == statistics.anchors.tolist()
        assert (a.with_pairs + b.with_pairs).tolist() == statistics.with_pairs.tolist()
        assert abs(a.anchors.sum() - b.anchors.sum()) < 0.3 * statistics.anchors.sum()


def test_outside_distributed_training_nothing_is_gathered():
    rows = Rows(torch.ones(2, 3), torch.ones(2, 5), torch.ones(2, dtype=torch.bool), torch.arange(2))
    assert gather_rows(rows) is rows
    assert process_share() == (0, 1)
