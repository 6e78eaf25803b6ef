"""Losses of pytorch-metric-learning with the paper's anchors: what ours is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, MultiSimilarityMiner
from torch import Tensor, nn
from typing_extensions import override

from apt_lightning.losses.classes import UNLABELLED, TraitClasses
from apt_lightning.losses.multi_similarity import MiningStatistics


class TraitRows(NamedTuple):
    """The rows of a batch in one trait."""

    embeddings: Tensor
    """(L, D) those with a label."""
    classes: Tensor
    """(L,)"""
    anchors: Tensor
    """(A,) positions of the anchors among them."""


class ReferenceLoss(nn.Module):
    """Base of losses that run one library loss per trait; ``statistics`` then holds what it mined.

    Args:
        anchors: ``extreme``: rows of the classes C1 and C4 of a trait (the paper); ``all``: all its rows.
        mean: (T,) mean of each trait over the training split; see :meth:`set_statistics`.
        sd: (T,) population standard deviation.
        n_traits: Number of traits T.
    """

    def __init__(
        self,
        anchors: Literal["extreme", "all"] = "extreme",
        mean: Sequence[float] | None = None,
        sd: Sequence[float] | None = None,
        n_traits: int = 5,
    ) -> None:
        super().__init__()
        self.classes = TraitClasses(anchors, mean, sd, n_traits)
        self.statistics: MiningStatistics | None = None

    def set_statistics(self, mean: Tensor | Sequence[float], sd: Tensor | Sequence[float]) -> None:
        """Set the training split's (T,) means and deviations, which cut the classes; kept in checkpoints."""
        self.classes.set_statistics(mean, sd)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        clips: Tensor | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Compute the mean over traits.

        Args:
            embeddings: (R, D) embeddings of all modalities, stacked.
            labels: (R, T) labels in [0, 1]; a row counts in the traits in which its label is not NaN.
            valid: (R,) bool; False drops a row, such as a missing modality's.
            clips: Not used; here so that the losses can be exchanged.
            share: Not used: every process computes the whole loss.

        Returns:
            Scalar; 0, and still differentiable, if no anchor has a pair.
        """
        if valid is not None:
            embeddings, labels = embeddings[valid], labels[valid]
        total = embeddings.sum() * 0
        statistics = self.statistics = MiningStatistics(*torch.zeros(2, self.classes.n_traits, dtype=torch.long))
        allowed = torch.tensor(self.classes.anchor_classes, device=labels.device)
        for trait, classes in enumerate(self.classes(labels).unbind(dim=1)):
            labelled = classes != UNLABELLED
            own = classes[labelled]
            anchors = torch.isin(own, allowed).nonzero().squeeze(1)
            if len(anchors):
                loss, with_pairs = self.trait_loss(TraitRows(embeddings[labelled], own, anchors))
                total = total + loss
                statistics.anchors[trait] = len(anchors)
                statistics.with_pairs[trait] = len(torch.unique(with_pairs))
        return total / self.classes.n_traits

    def trait_loss(self, rows: TraitRows) -> tuple[Tensor, Tensor]:
        """Compute the loss of one trait that has anchors.

        Returns:
            Scalar loss, and the anchors of its pairs, each any number of times.
        """
        raise NotImplementedError


class ReferenceMultiSimilarityLoss(ReferenceLoss):
    """Our loss by ``MultiSimilarityLoss`` and ``MultiSimilarityMiner``, in their fastest form.

    The anchors are the queries and all rows the reference (``ref_emb``): nothing is mined for other rows.

    Args:
        alpha: Sharpness of the positive term.
        beta: Sharpness of the negative term.
        base: Similarity lambda at which pairs start to count.
        margin: Mining margin epsilon.
        denominator: Divide by the ``rows`` that have a label of the trait, or by the ``anchors``.
        kwargs: As for :class:`ReferenceLoss`.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        margin: float = 0.1,
        denominator: Literal["rows", "anchors"] = "rows",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.miner = MultiSimilarityMiner(epsilon=margin)
        self.loss = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
        self.denominator = denominator

    @override
    def trait_loss(self, rows: TraitRows) -> tuple[Tensor, Tensor]:
        embeddings, classes, anchors = rows
        # With a reference the library takes an anchor's own row for a positive. At similarity 1 it is not the
        # farthest one, unless there is no other; such an anchor has no pair.
        sizes = classes.bincount()
        queries = anchors[sizes[classes[anchors]] > 1]
        if not len(queries):
            return embeddings.sum() * 0, queries
        query, query_classes = embeddings[queries], classes[queries]
        positive_anchor, positive, negative_anchor, negative = self.miner(query, query_classes, embeddings, classes)
        other = queries[positive_anchor] != positive
        pairs = (positive_anchor[other], positive[other], negative_anchor, negative)
        loss: Tensor = self.loss(query, query_classes, pairs, embeddings, classes)
        count = len(embeddings) if self.denominator == "rows" else len(anchors)
        return loss * len(queries) / count, pairs[2]


class TraitTripletLoss(ReferenceLoss):
    """Triplet margin loss of pytorch-metric-learning on each anchor's hardest positive and hardest negative.

    All triplets of a batch of 128 clips would be millions per trait; the hardest ones are what the
    multi-similarity loss weighs most.

    Args:
        margin: By how much the distance to the negative has to exceed that to the positive, in distances of
            L2-normalised rows.
        kwargs: As for :class:`ReferenceLoss`.
    """

    def __init__(self, margin: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.miner = BatchHardMiner()
        self.loss = TripletMarginLoss(margin=margin)

    @override
    def trait_loss(self, rows: TraitRows) -> tuple[Tensor, Tensor]:
        embeddings, classes, anchors = rows
        triplets = self.miner(embeddings, classes)
        of_anchors = torch.isin(triplets[0], anchors)
        chosen = tuple(index[of_anchors] for index in triplets)
        loss: Tensor = self.loss(embeddings, classes, chosen)
        return loss, chosen[0]
