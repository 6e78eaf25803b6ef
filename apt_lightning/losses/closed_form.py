"""Value and gradient of the mined multi-similarity loss in closed form, a few anchor rows at a time.

All similarities are held in units of 1/beta (beta * D), so that one exponential needs no further product. The
derivative of the loss by the similarities is written out and multiplied into the embedding gradient while its
rows are still in the cache: no (R, R) matrix is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 1 << 20
"""Similarities held at a time by each CPU thread: 4 MiB of float32, few enough for the passes over them to stay
in the cache and many enough for each operation to be worth its start."""
_CHUNK_ELEMENTS_GPU = 1 << 26


class Constants(NamedTuple):
    """Constants of Eq. 7 and of the mining."""

    alpha: float
    beta: float
    base: float
    margin: float | None
    """Mining margin epsilon; None keeps all pairs."""


class AnchorGroup(Protocol):
    """Anchors of one class, all of which split the batch into the same positives and negatives."""

    @property
    def trait(self) -> int:
        """Number of the trait."""

    @property
    def rows(self) -> Tensor:
        """(A,) ascending rows of the batch that are anchors."""

    @property
    def weight(self) -> Tensor:
        """(A,) weight of each anchor in the loss, the denominators included."""

    def split(self, similarity: Tensor, span: slice) -> Tensor:
        """Split the similarities of the anchors ``rows[span]``.

        Args:
            similarity: (A, R) in units of 1/beta; becomes that of the negatives, -inf elsewhere.
            span: Anchors of the group that the rows stand for.

        Returns:
            (A, P) similarities of the positives, +inf where there is none.
        """
        ...

    def merge(self, negative: Tensor, positive: Tensor) -> None:
        """Put the derivative (A, P) by the positives into that by the negatives (A, R)."""
        ...


def mined_terms(negative: Tensor, positive: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
    """Mine the hard pairs of some anchors and compute the two terms of Eq. 7.

    A negative is kept if D > min over positives - epsilon, a positive if D < max over negatives + epsilon. An
    anchor without a positive or without a negative keeps no pair, as in pytorch-metric-learning.

    Args:
        negative: (A, R) similarities of the negatives in units of 1/beta, -inf for other pairs. Overwritten
            with the derivative of the anchor's loss by the similarity.
        positive: (A, P) those of the positives, +inf for other pairs. Overwritten likewise.
        constants: Constants of the loss.

    Returns:
        (A,) loss of each anchor and (A,) bool: whether it has a kept pair.
    """
    alpha, beta, base, margin = constants
    nearest = negative.amax(dim=1, keepdim=True)
    farthest = positive.amin(dim=1, keepdim=True)
    if margin is None:
        hard = nearest.isfinite(), farthest.isfinite()
    else:
        # An anchor has a kept negative exactly if it has a kept positive.
        mined = nearest > farthest - beta * margin
        hard = mined, mined
        negative.masked_fill_(negative <= farthest - beta * margin, -torch.inf)
        positive.masked_fill_(positive >= nearest + beta * margin, torch.inf)
    ratio = alpha / beta
    positive.mul_(-ratio)
    loss = _softplus_sum(negative, nearest, beta * base, hard[0]) / beta
    loss += _softplus_sum(positive, farthest * -ratio, -alpha * base, hard[1]) / alpha
    positive.neg_()
    return loss.squeeze(1), (hard[0] | hard[1]).squeeze(1)


def _softplus_sum(logits: Tensor, largest: Tensor, offset: float, some: Tensor) -> Tensor:
    """Compute log(1 + sum exp(logits - offset)) over rows and overwrite ``logits`` with its derivative.

    Args:
        logits: (A, P); -inf where nothing counts.
        largest: (A, 1) largest logit of each row.
        offset: Subtracted from all logits.
        some: (A, 1) bool: whether any logit of the row counts.

    Returns:
        (A, 1) values.
    """
    # Shifting by the largest exponent, the 0 of the added 1 included, keeps every exponential in [0, 1].
    shift = (largest - offset).masked_fill_(~some, 0).clamp_(min=0)
    total = logits.sub_(shift + offset).exp_().sum(dim=1, keepdim=True)
    rest = total + torch.expm1(-shift)
    logits.div_(rest + 1)
    return shift + torch.log1p(rest)


class MinedLoss(torch.autograd.Function):
    """Weighted sum of the anchors' losses, and per-trait counts of anchors and of those that kept a pair."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        groups: Sequence[AnchorGroup],
        constants: Constants,
        n_traits: int,
        share: tuple[int, int],
        needs_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute loss and gradient at once.

        Args:
            ctx: Autograd's context.
            rows: (R, D) embeddings, whose products are the similarities; float32 or float64.
            groups: Anchors by trait and class.
            constants: Constants of the loss.
            n_traits: Number of traits T.
            share: Process rank and number of processes; only this rank's share of the anchors is computed.
            needs_gradient: Whether the gradient will be asked for.

        Returns:
            Scalar loss, (T,) anchors, and (T,) those that kept a pair.
        """
        n_rows = len(rows)
        loss = rows.new_zeros(())
        n_anchors, n_kept = torch.zeros(2, n_traits, dtype=torch.long, device=rows.device)
        gradient = torch.zeros_like(rows) if needs_gradient else None
        ctx.save_for_backward(rows, gradient)
        ctx.mark_non_differentiable(n_anchors, n_kept)

        is_anchor = torch.zeros(n_rows, dtype=torch.bool, device=rows.device)
        for group in groups:
            is_anchor[group.rows] = True
        anchors = is_anchor.nonzero().squeeze(1)
        rank, world = share
        anchors = anchors[len(anchors) * rank // world : len(anchors) * (rank + 1) // world]
        if not len(anchors):
            return loss, n_anchors, n_kept

        place = torch.empty(n_rows, dtype=torch.long, device=rows.device)
        cpu = rows.device.type == "cpu"
        elements = _CHUNK_ELEMENTS * torch.get_num_threads() if cpu else _CHUNK_ELEMENTS_GPU
        size = max(1, elements // n_rows)
        chunks = torch.split(anchors, size)
        first, last = torch.stack([c[0] for c in chunks]), torch.stack([c[-1] for c in chunks])
        # Stacked, so that a GPU is waited for once and not for every group.
        starts = torch.stack([torch.searchsorted(group.rows, first) for group in groups]).tolist()
        stops = torch.stack([torch.searchsorted(group.rows, last, right=True) for group in groups]).tolist()
        for number, chunk in enumerate(chunks):
            place[chunk] = torch.arange(len(chunk), device=rows.device)
            own = rows[chunk]
            similarity = (own * constants.beta) @ rows.T
            slope = torch.zeros_like(similarity) if gradient is not None else None
            for group, start, stop in zip(groups, starts, stops, strict=True):
                span = slice(start[number], stop[number])
                if span.start == span.stop:
                    continue
                position = place[group.rows[span]]
                negative = similarity[position]
                positive = group.split(negative, span)
                values, kept = mined_terms(negative, positive, constants)
                weight = group.weight[span]
                loss += values @ weight
                n_anchors[group.trait] += len(kept)
                n_kept[group.trait] += kept.sum()
                if slope is not None:
                    group.merge(negative, positive)
                    slope.index_add_(0, position, negative.mul_(weight[:, None]))
            if gradient is not None and slope is not None:
                gradient.index_add_(0, chunk, slope @ rows)
                gradient.addmm_(slope.T, own)
        return loss, n_anchors, n_kept

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale the gradient that :meth:`forward` computed."""
        return Scale.apply(loss_gradient, *ctx.saved_tensors), None, None, None, None, None


class Scale(torch.autograd.Function):
    """Ties the gradient to the rows, so that a second derivative is refused and not taken for zero."""

    @staticmethod
    def forward(ctx: Any, loss_gradient: Tensor, rows: Tensor, gradient: Tensor) -> Tensor:
        """Scale the gradient."""
        return gradient * loss_gradient

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refuse."""
        raise RuntimeError("this loss has no second derivative")
