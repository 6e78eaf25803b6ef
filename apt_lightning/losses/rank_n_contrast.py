"""Rank-N-Contrast over traits: the farther two labels, the farther their embeddings (Zha et al., NeurIPS 2023)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import UsageError
from apt_lightning.losses.closed_form import Scale

_CHUNK_ELEMENTS = 1 << 22
"""Pairs held at a time."""


class RankNContrastLoss(nn.Module):
    """Rank-N-Contrast in the space of all traits (arXiv 2210.01189, Eq. 2), in closed form.

    L = 1/N sum_i 1/|P_i| sum_{j in P_i} -log( exp(-d_ij/t) / sum_{k in S_ij} exp(-d_ik/t) )

    d is the Euclidean distance of embeddings, P_i the rows that anchor i is paired with, and S_ij those of P_i whose
    labels lie at least as far from i's as j's do, by the sum of absolute differences over traits. N counts the anchors
    with a pair. With all rows paired it is the authors' loss, of whose R^3 comparisons one sort a row is left: sums
    over S_ij are running sums in the order of label distance, and so is the gradient.

    Args:
        temperature: t; 2 as in the authors' code.
        pairs: Pair rows of ``all`` modalities, only ``within`` one, or only ``across`` two.

    Raises:
        UsageError: If the temperature is not positive, or there are no such pairs.

    Example:
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
        >>> RankNContrastLoss()(embeddings, torch.tensor([[0.1], [0.2], [0.9]]))
        tensor(0.2102)
    """

    def __init__(self, temperature: float = 2.0, pairs: Literal["all", "within", "across"] = "all") -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"Expected `temperature` to be positive, but got {temperature}.")
        if pairs not in ("all", "within", "across"):
            raise UsageError(f"Expected `pairs` to be 'all', 'within' or 'across', but got {pairs!r}.")
        self.temperature = temperature
        self.pairs = pairs

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        groups: Tensor | None = None,
        modalities: Tensor | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Compute the loss of a batch; differentiable once.

        Args:
            embeddings: (R, D) embeddings, stacked; compared as they are, not normalised.
            labels: (R, T) labels in [0, 1]; a row with a NaN among them is left out.
            valid: (R,) bool; False leaves a row out, such as a missing modality's.
            groups: (R,) number of each row's source; rows of one source are not paired. None pairs them too.
            modalities: (R,) number of each row's modality; needed unless ``pairs`` is ``all``.
            share: Rank and number of processes that hold these same rows. Each computes its share of the
                anchors, times the number of processes, so that the mean over the processes is the loss.

        Returns:
            Scalar; 0, and still differentiable, if there is no pair.

        Raises:
            UsageError: If shapes do not fit or the modalities are missing.
        """
        if embeddings.ndim != 2 or labels.ndim != 2 or len(labels) != len(embeddings):
            raise UsageError(
                "Expected `embeddings` (R, D) and `labels` (R, T), "
                f"but got {tuple(embeddings.shape)} and {tuple(labels.shape)}."
            )
        if self.pairs != "all" and modalities is None:
            raise UsageError(f"Expected `modalities`, since `pairs` is {self.pairs!r}.")
        used = ~labels.isnan().any(dim=1)
        if valid is not None:
            used &= valid
        with torch.autocast(embeddings.device.type, enabled=False):
            rows = embeddings[used] if embeddings.dtype == torch.float64 else embeddings[used].float()
            keys = [None if key is None else key[used] for key in (groups, modalities)]
            loss, anchors = _RankedPairs.apply(rows, labels[used], *keys, self.pairs, self.temperature, share)
        scaled: Tensor = loss * share[1] / max(1, anchors)
        return scaled


class _RankedPairs(torch.autograd.Function):
    """Sum of the anchors' losses, of this process's share, and the number of all anchors that have a pair."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        labels: Tensor,
        groups: Tensor | None,
        modalities: Tensor | None,
        pairs: str,
        temperature: float,
        share: tuple[int, int],
    ) -> tuple[Tensor, int]:
        n, (rank, world) = len(rows), share
        loss, gradient, n_anchors = rows.new_zeros(()), torch.zeros_like(rows), 0
        own = range(n * rank // world, n * (rank + 1) // world)
        for chunk in torch.split(torch.arange(n, device=rows.device), max(1, _CHUNK_ELEMENTS // max(1, n))):
            paired = chunk[:, None] != torch.arange(n, device=rows.device)
            if groups is not None:
                paired &= groups[chunk, None] != groups
            if modalities is not None and pairs != "all":
                paired &= (modalities[chunk, None] == modalities) == (pairs == "within")
            n_anchors += int(paired.any(dim=1).sum())
            mine = (chunk >= own.start) & (chunk < own.stop)
            chunk, paired = chunk[mine], paired[mine]
            if not len(chunk):
                continue
            # By differences: near rows would lose their distance in a product of matrices.
            distance = torch.cdist(rows[chunk], rows, compute_mode="donot_use_mm_for_euclid_dist")
            label_distance = torch.cdist(labels[chunk].to(rows), labels.to(rows), p=1)
            values, slope = ranked_terms(distance / -temperature, label_distance, paired)
            loss += values.sum()
            pull = torch.where(distance > 0, slope / (-temperature * distance), 0)
            gradient.index_add_(0, chunk, pull.sum(dim=1, keepdim=True) * rows[chunk] - pull @ rows)
            gradient += pull.sum(dim=0)[:, None] * rows - pull.T @ rows[chunk]
        ctx.save_for_backward(rows, gradient)
        return loss, n_anchors

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        return Scale.apply(loss_gradient, *ctx.saved_tensors), *(None,) * 6


def ranked_terms(logits: Tensor, label_distance: Tensor, paired: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of some anchors, and its derivative.

    Args:
        logits: (A, R) similarities -d/t.
        label_distance: (A, R) distances of labels.
        paired: (A, R) bool; which pairs count.

    Returns:
        (A,) mean over an anchor's pairs, 0 without one, and (A, R) derivative by the logits.
    """
    farness, order = label_distance.masked_fill(~paired, -1).sort(dim=1, descending=True)
    counted = farness >= 0
    ranked = logits.gather(1, order).masked_fill(~counted, -torch.inf)
    place = torch.arange(ranked.shape[1], device=ranked.device).expand_as(order)
    new = torch.ones_like(counted)
    new[:, 1:] = farness[:, 1:] != farness[:, :-1]
    first = place.where(new, 0).cummax(dim=1).values
    ends = torch.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    # The last of the equally far: all of them are in S_ij.
    last = place.where(ends, len(place[0])).flip(1).cummin(dim=1).values.flip(1)
    total = ranked.logcumsumexp(dim=1).gather(1, last)
    weight = counted / counted.sum(dim=1, keepdim=True).clamp(min=1).to(ranked)
    loss = torch.where(counted, total - ranked, 0).mul(weight).sum(dim=1)
    # k is in S_ij of every j that is as far as k or nearer: a running sum from the near end.
    inverse = torch.where(counted, weight.log() - total, -torch.inf).flip(1).logcumsumexp(dim=1).flip(1)
    slope = torch.where(counted, (ranked + inverse.gather(1, first)).exp() - weight, 0)
    return loss, torch.zeros_like(logits).scatter_(1, order, slope)
