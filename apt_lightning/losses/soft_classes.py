"""Soft classes: a label near a threshold belongs to both sides (the paper's open question 2).

A label y is taken as a reading of a true value t = y + s z, z standard normal, s the stated label noise. It
lies in class c = [l, u) with probability q_c(y) = Phi((u - y) / s) - Phi((l - y) / s), C1 and C4 being open
to the outside. For an anchor i in class c, every other row k is a positive with weight p_k = q_c(y_k) and a
negative with weight 1 - p_k, and the anchor itself counts q_c(y_i) times:

L_j = 1/n sum_c sum_i q_c(y_i) { 1/alpha log[1 + sum_k p_k exp(-alpha (D_ik - base))]
+ 1/beta log[1 + sum_k (1 - p_k) exp(beta (D_ik - base))] }

over the anchor classes c of trait j. A weight is the same as a shift of the similarity: a positive counts
as one at D - log(p) / alpha (easier), a negative as one at D + log(1 - p) / beta. Mining compares these
shifted similarities, by the rule for hard classes. For s = 0 the weights are 0 and 1, the shifts 0 and
infinite, and all of it is the hard loss. Rows of the same clip share one true value: they are positives
with weight 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from apt_lightning.losses.classes import TraitClasses
from apt_lightning.losses.closed_form import Constants

_LEAST_ANCHOR = 1e-4
"""Anchors that belong to a class with a smaller probability are left out of it, to save their time."""


class SoftGroup(NamedTuple):
    """All rows that may lie in one class of one trait, as its anchors."""

    trait: int
    rows: Tensor
    """(A,) ascending."""
    weight: Tensor
    """(A,)"""
    easier: Tensor
    """(R,) -log(p) / alpha in units of 1/beta; +inf for rows that cannot be positives."""
    harder: Tensor
    """(R,) log(1 - p), in units of 1/beta; -inf for rows that cannot be negatives."""
    clips: Tensor
    """(R,) clip numbers; rows of one clip share their class."""

    def split(self, similarity: Tensor, span: slice) -> Tensor:
        """Implement :meth:`~apt_lightning.losses.closed_form.AnchorGroup.split`; every row is positive and negative."""
        rows = self.rows[span]
        same_clip = self.clips[rows, None] == self.clips
        positive = torch.where(same_clip, similarity, similarity + self.easier)
        positive.scatter_(1, rows[:, None], torch.inf)  # an anchor is not its own positive
        similarity.add_(self.harder).masked_fill_(same_clip, -torch.inf)
        return positive

    def merge(self, negative: Tensor, positive: Tensor) -> None:
        """Implement :meth:`~apt_lightning.losses.closed_form.AnchorGroup.merge`."""
        negative.add_(positive)


def class_probabilities(labels: Tensor, bounds: Tensor, noise: float) -> Tensor:
    """Compute q_c(y), the probability that a noisy label lies in each class.

    Args:
        labels: (R, T) labels.
        bounds: (3, T) lower bounds of C2, C3 and C4.
        noise: Standard deviation of the labels; 0 gives 0 and 1.

    Returns:
        (R, T, 4) float64, summing to 1 over classes; NaN where the label is.

    Example:
        >>> bounds = torch.tensor([[0.4], [0.5], [0.6]])
        >>> class_probabilities(torch.tensor([[0.4], [0.9]]), bounds, 0.01).round(decimals=6)[:, 0]
        tensor([[0.5000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """
    distance = bounds.T.double() - labels.double()[..., None]  # (R, T, 3) bound - label
    # A label on a bound lies above it. NaN must stay NaN.
    scaled = distance / noise if noise > 0 else torch.where(distance > 0, torch.inf, distance - torch.inf)
    below = torch.special.ndtr(scaled)
    edges = torch.cat([torch.zeros_like(below[..., :1]), below, torch.ones_like(below[..., :1])], dim=-1)
    return edges.diff(dim=-1).clamp(0, 1)


def soft_groups(
    labels: Tensor,
    classes: TraitClasses,
    denominator: Literal["rows", "anchors"],
    noise: float,
    clips: Tensor | None,
    constants: Constants,
    dtype: torch.dtype,
) -> list[SoftGroup]:
    """Group the anchors of a batch by trait and class, each row in every class it may lie in.

    Args:
        labels: (R, T) labels; NaN where there is none.
        classes: Class bounds, and which classes are anchors.
        denominator: Divide by the labelled rows, or by the sum of the anchors' probabilities.
        noise: Standard deviation of the labels.
        clips: (R,) clip numbers; None if every row is a clip of its own.
        constants: Constants of the loss.
        dtype: Of the weights and shifts.
    """
    if clips is None:
        clips = torch.arange(len(labels), device=labels.device)
    probabilities = class_probabilities(labels, classes.checked_bounds(), noise)
    groups = []
    for trait, own in enumerate(probabilities.unbind(dim=1)):
        labelled = ~own[:, 0].isnan()
        own = own.nan_to_num()[:, list(classes.anchor_classes)]
        count = labelled.sum() if denominator == "rows" else own.sum()
        for p in own.unbind(dim=1):
            rows = (p > _LEAST_ANCHOR).nonzero().squeeze(1)
            if len(rows):
                weight = p[rows] / (labels.shape[1] * count)
                easier = torch.where(labelled, -p.log() * constants.beta / constants.alpha, torch.inf)
                harder = torch.where(labelled, torch.log1p(-p), -torch.inf)
                groups.append(SoftGroup(trait, rows, weight.to(dtype), easier.to(dtype), harder.to(dtype), clips))
    return groups
