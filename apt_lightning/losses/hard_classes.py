"""Positives and negatives by class: every label lies in one class (paper section 3)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from apt_lightning.losses.classes import TraitClasses


class HardGroup(NamedTuple):
    """The anchors of one class of one trait, which are also each other's positives."""

    trait: int
    rows: Tensor
    """(A,) ascending."""
    weight: Tensor
    """(A,)"""
    not_negative: Tensor
    """(A + U,) the anchors, and the rows without a label of this trait."""

    def split(self, similarity: Tensor, span: slice) -> Tensor:
        """Implement :meth:`~apt_lightning.losses.closed_form.AnchorGroup.split`; positives are the columns ``rows``."""
        positive = similarity.index_select(1, self.rows)
        positive.diagonal(span.start).fill_(torch.inf)  # an anchor is not its own positive
        similarity.index_fill_(1, self.not_negative, -torch.inf)
        return positive

    def merge(self, negative: Tensor, positive: Tensor) -> None:
        """Implement :meth:`~apt_lightning.losses.closed_form.AnchorGroup.merge`."""
        negative.index_copy_(1, self.rows, positive)


def hard_groups(
    labels: Tensor, classes: TraitClasses, denominator: Literal["rows", "anchors"], dtype: torch.dtype
) -> list[HardGroup]:
    """Group the anchors of a batch by trait and class.

    Args:
        labels: (R, T) labels; NaN where there is none.
        classes: Class bounds, and which classes are anchors.
        denominator: Divide by the labelled rows or by the anchors of a trait.
        dtype: Of the weights.
    """
    ordered, order = classes(labels).T.contiguous().sort(stable=True)  # rows of a class stay ascending
    numbers = torch.arange(5, device=labels.device).expand(len(order), 5).contiguous()
    edges = torch.searchsorted(ordered, numbers).tolist()
    groups = []
    for trait, (rows, edge) in enumerate(zip(order, edges, strict=True)):
        spans = [(edge[c], edge[c + 1]) for c in classes.anchor_classes]
        count = len(labels) - edge[0] if denominator == "rows" else sum(stop - start for start, stop in spans)
        for start, stop in spans:
            if start < stop:
                anchors = rows[start:stop]
                weight = torch.full_like(anchors, 1 / (len(order) * count), dtype=dtype)
                groups.append(HardGroup(trait, anchors, weight, torch.cat([anchors, rows[: edge[0]]])))
    return groups
