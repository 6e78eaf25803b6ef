"""Batches of clip positions that keep ranks disjoint and repeat for a given seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler


class IndexBatches(SequentialSampler):
    """Draws the same global order on every rank and yields this rank's share, one tensor of positions a batch.

    Lightning calls ``set_epoch`` on a loader's sampler; the order then depends on seed and epoch alone, so
    that a resumed run sees the batches of an uninterrupted one. ``overfit_batches`` puts a sampler of single clips in
    place of any that is not a ``SequentialSampler``.

    Args:
        positions: (n,) positions to draw.
        batch_size: Clips per batch and rank.
        shuffle: Draw a new order each epoch. A shuffled epoch over several ranks leaves out the last, incomplete
            global batch, so that all ranks take part in every step; every other pass yields each clip once.
        seed: Seed of the order.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        positions: Tensor,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.positions = positions
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        global_batch = self.batch_size * self.world_size
        n = len(self.positions)
        if self.shuffle and self.world_size > 1:
            return n // global_batch
        return -(-n // global_batch)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]  # positions of a batch, not of a clip
        order = self.positions
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = order[torch.randperm(len(order), generator=generator)]
        global_batch = self.batch_size * self.world_size
        for start in range(0, len(self) * global_batch, global_batch):
            yield order[start : start + global_batch].tensor_split(self.world_size)[self.rank]
