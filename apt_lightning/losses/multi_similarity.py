"""The multi-similarity loss over several traits, the paper's core (section 3, Eq. 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor
from typing_extensions import override

from apt_lightning.common.errors import UsageError
from apt_lightning.losses.classes import TraitClasses
from apt_lightning.losses.closed_form import AnchorGroup, Constants, MinedLoss
from apt_lightning.losses.hard_classes import hard_groups
from apt_lightning.losses.soft_classes import soft_groups


class MiningStatistics(NamedTuple):
    """What the mining of one batch found, in this process's share of the anchors."""

    anchors: Tensor
    """(T,) anchors of each trait."""
    with_pairs: Tensor
    """(T,) those that kept at least one pair."""


class TraitMultiSimilarityLoss(BaseMetricLossFunction):  # type: ignore[misc]
    """Multi-similarity loss, averaged over traits, with mined pairs and extreme anchors (paper Eq. 7).

    L = 1/(Tn) sum_i sum_j { 1/alpha log[1 + sum_{k in P} exp(-alpha (D_ik - base))]
    + 1/beta log[1 + sum_{k in N} exp(beta (D_ik - base))] }

    P and N are the rows of the anchor's class and of the other classes in trait j. Kept are the negatives
    with D > min over positives - margin and the positives with D < max over negatives + margin; an anchor
    without a positive or without a negative keeps none and adds 0. With one trait and all anchors this is the
    ``MultiSimilarityLoss`` fed by the ``MultiSimilarityMiner`` of pytorch-metric-learning; the one difference
    is that the library returns 0 for a batch that keeps at most one positive and one negative pair.

    As there, ``distance`` says how rows are compared, and embedding regularisers are accepted. The loss
    arrives at the ``reducer`` already reduced, since the mean over traits and rows is part of Eq. 7.
    After a call ``statistics`` holds the counts of :class:`MiningStatistics`. All arithmetic is in
    float32 or, for float64 embeddings, in float64, also under autocast. Differentiable once.

    Args:
        alpha: Sharpness of the positive term.
        beta: Sharpness of the negative term.
        base: Similarity lambda at which pairs start to count.
        margin: Mining margin epsilon; None keeps all pairs.
        anchors: ``extreme``: rows of the classes C1 and C4 of a trait (the paper); ``all``: all its rows.
        denominator: n above: the ``rows`` that have a label of the trait, or only the trait's ``anchors``.
        label_noise: Standard deviation of the labels' noise for soft classes
            (:mod:`apt_lightning.losses.soft_classes`); 0 for hard classes.
        mean: (T,) mean of each trait over the training split; see :meth:`set_statistics`.
        sd: (T,) population standard deviation.
        n_traits: Number of traits T.
        distance: Cosine (default) or dot product similarity of pytorch-metric-learning.
        kwargs: Passed to ``BaseMetricLossFunction``.

    Raises:
        UsageError: If an argument is out of range or not finite.

    Example:
        >>> loss = TraitMultiSimilarityLoss(mean=[0.5], sd=[0.1], n_traits=1)
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
        >>> loss(embeddings, torch.tensor([[0.1], [0.2], [0.8], [0.9]]))
        tensor(0.6791)
        >>> loss.statistics
        MiningStatistics(anchors=tensor([4]), with_pairs=tensor([4]))
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        margin: float | None = 0.1,
        anchors: Literal["extreme", "all"] = "extreme",
        denominator: Literal["rows", "anchors"] = "rows",
        label_noise: float = 0.0,
        mean: Sequence[float] | None = None,
        sd: Sequence[float] | None = None,
        n_traits: int = 5,
        distance: DotProductSimilarity | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(distance=distance, **kwargs)
        if not (0 < alpha < math.inf and 0 < beta < math.inf):
            raise UsageError(f"Expected `alpha` and `beta` to be positive and finite, but got {alpha} and {beta}.")
        if not (math.isfinite(base) and (margin is None or math.isfinite(margin))):
            raise UsageError(f"Expected `base` and `margin` to be finite, but got {base} and {margin}.")
        if denominator not in ("rows", "anchors"):
            raise UsageError(f"Expected `denominator` to be 'rows' or 'anchors', but got {denominator!r}.")
        if not 0 <= label_noise < math.inf:
            raise UsageError(f"Expected `label_noise` to be 0 or more and finite, but got {label_noise}.")
        if not isinstance(self.distance, DotProductSimilarity) or self.distance.power != 1:
            raise UsageError(
                "Expected `distance` to be CosineSimilarity or DotProductSimilarity with power 1, "
                f"but got {type(self.distance).__name__}."
            )
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.margin = margin
        self.denominator = denominator
        self.label_noise = label_noise
        self.classes = TraitClasses(anchors, mean, sd, n_traits)
        self.add_to_recordable_attributes(list_of_names=["alpha", "beta", "base", "margin"], is_stat=False)
        self.statistics: MiningStatistics | None = None

    @override
    def get_default_distance(self) -> CosineSimilarity:
        return CosineSimilarity()

    def set_statistics(self, mean: Tensor | Sequence[float], sd: Tensor | Sequence[float]) -> None:
        """Set the training split's (T,) means and deviations, which cut the classes; kept in checkpoints."""
        self.classes.set_statistics(mean, sd)

    @override
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        clips: Tensor | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            embeddings: (R, D) embeddings of all modalities, stacked.
            labels: (R, T) labels in [0, 1]; a row counts in the traits in which its label is not NaN.
            valid: (R,) bool; False drops a row, such as a missing modality's.
            clips: (R,) number of the clip that each row stands for. Only soft classes need it: a clip's rows
                share one label and so one class. Without it every row's label is noisy by itself.
            share: Rank and number of processes that hold these same rows. Each computes its share of the
                anchors, times the number of processes, so that the mean over the processes is the loss.

        Returns:
            Scalar; 0, and still differentiable, if no anchor has a pair.

        Raises:
            UsageError: If the shapes do not fit, or no training statistics were set.
        """
        if embeddings.ndim != 2 or labels.shape != (len(embeddings), self.classes.n_traits):
            raise UsageError(
                f"Expected `embeddings` (R, D) and `labels` (R, {self.classes.n_traits}), "
                f"but got {tuple(embeddings.shape)} and {tuple(labels.shape)}."
            )
        self.reset_stats()
        if valid is not None:
            embeddings, labels = embeddings[valid], labels[valid]
            clips = None if clips is None else clips[valid]
        with torch.autocast(embeddings.device.type, enabled=False):
            rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
            losses = self.compute_loss(rows, labels, clips, share)
            self.add_embedding_regularization_to_loss_dict(losses, rows)
            reduced: Tensor = self.reducer(losses, rows, labels)
        return reduced

    @override
    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, clips: Tensor | None, share: tuple[int, int]
    ) -> dict[str, dict[str, Any]]:
        """Compute the loss dictionary of pytorch-metric-learning, with the loss already reduced."""
        rows = self.distance.maybe_normalize(embeddings)
        constants = Constants(self.alpha, self.beta, self.base, self.margin)
        groups: Sequence[AnchorGroup]
        if self.label_noise > 0:
            groups = soft_groups(labels, self.classes, self.denominator, self.label_noise, clips, constants, rows.dtype)
        else:
            groups = hard_groups(labels, self.classes, self.denominator, rows.dtype)
        needs_gradient = torch.is_grad_enabled() and rows.requires_grad
        loss, anchors, with_pairs = MinedLoss.apply(rows, groups, constants, labels.shape[1], share, needs_gradient)
        self.statistics = MiningStatistics(anchors, with_pairs)
        return {"loss": {"losses": loss * share[1], "indices": None, "reduction_type": "already_reduced"}}
