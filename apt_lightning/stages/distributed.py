"""Rows of all processes in one tensor, with gradient, so that a loss over pairs sees the whole batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable


class Rows(NamedTuple):
    """The rows of a metric-learning batch: the embeddings of all modalities of some clips, stacked."""

    embeddings: Tensor
    """(R, D)"""
    labels: Tensor
    """(R, T) labels in [0, 1]; NaN where a clip has none."""
    valid: Tensor
    """(R,) bool; False for a missing modality."""
    clips: Tensor
    """(R,) number of the clip that each row stands for."""


def process_share() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) outside distributed training."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_rows(rows: Rows) -> Rows:
    """Concatenate the rows of all processes, in the order of their ranks.

    Every process must call this, and backward if any does. The gradient of a process's rows is the *sum* of
    what the processes' losses say about them. DistributedDataParallel then *averages* over the processes: a
    loss of which each computes a share has to be multiplied by their number, one that each computes whole
    must not be.

    Args:
        rows: Rows of this process; their number may differ between processes and may be 0.

    Returns:
        All rows; ``rows`` itself outside distributed training.
    """
    return rows if process_share()[1] == 1 else Rows(*map(gather, rows))


def gather(rows: Tensor) -> Tensor:
    """Concatenate one tensor of rows of all processes, as :func:`gather_rows`."""
    gathered: Tensor = rows if process_share()[1] == 1 else _GatherRows.apply(rows)
    return gathered


def share_of_mean(mean: Tensor, count: Tensor) -> Tensor:
    """Weigh a process's mean by its share of what is averaged.

    The average of the results over the processes, which DistributedDataParallel takes of their gradients, is then the
    mean over all, also where the processes' numbers differ. Every process must call this.

    Args:
        mean: Scalar mean over this process's part.
        count: Scalar number of its terms.

    Returns:
        Scalar; ``mean`` itself outside distributed training.
    """
    world = process_share()[1]
    if world == 1:
        return mean
    total = count.detach().clone()
    dist.all_reduce(total)
    return mean * count * world / total.clamp(min=1)  # a quotient of integers would be float32


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rank, world = process_share()
        length = torch.tensor([len(rows)], device=rows.device)
        lengths = [torch.empty_like(length) for _ in range(world)]
        dist.all_gather(lengths, length)
        counts = [int(n) for n in lengths]
        ctx.start, ctx.count = sum(counts[:rank]), counts[rank]
        # Collectives need equal shapes: every process sends as many rows as the fullest one.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.count]
