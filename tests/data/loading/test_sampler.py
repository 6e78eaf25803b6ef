"""Shares of ranks and orders of epochs."""

import pytest
import torch

from apt_lightning.data.loading.sampler import IndexBatches


def epoch(sampler, number):
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_together_draw_what_one_process_draws(world):
    positions = torch.arange(100, 100 + 64)
    alone = IndexBatches(positions, 8 * world, shuffle=True, seed=5)
    ranks = [IndexBatches(positions, 8, True, 5, rank, world) for rank in range(world)]
    for number in range(3):
        parts = [epoch(rank, number) for rank in ranks]
        for step, whole in enumerate(epoch(alone, number)):
            assert torch.equal(torch.cat([part[step] for part in parts]), whole)


def test_order_depends_on_seed_and_epoch_alone():
    positions = torch.arange(50)
    first = IndexBatches(positions, 7, shuffle=True, seed=1)
    second = IndexBatches(positions, 7, shuffle=True, seed=1)
    epoch(first, 0)
    assert torch.equal(torch.cat(epoch(first, 3)), torch.cat(epoch(second, 3)))
    assert not torch.equal(torch.cat(epoch(first, 3)), torch.cat(epoch(first, 4)))
    assert sorted(torch.cat(epoch(first, 3)).tolist()) == list(range(50))


@pytest.mark.parametrize("n", [5, 8, 9, 16, 17])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_each_clip_once_with_as_many_batches_on_each_rank(n, world):
    ranks = [IndexBatches(torch.arange(n), 4, False, 0, rank, world) for rank in range(world)]
    parts = [epoch(rank, 0) for rank in ranks]
    assert len({len(part) for part in parts}) == 1
    seen = torch.cat([batch for part in parts for batch in part])
    assert sorted(seen.tolist()) == list(range(n))


def test_shuffled_epoch_over_ranks_has_whole_batches_only():
    ranks = [IndexBatches(torch.arange(21), 4, True, 0, rank, 2) for rank in range(2)]
    assert all(len(batch) == 4 for rank in ranks for batch in epoch(rank, 0))
