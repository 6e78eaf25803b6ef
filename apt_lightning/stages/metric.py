"""A metric loss beside the regression loss of a stage whose encoders train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from apt_lightning.common.errors import UsageError
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.losses import RankNContrastLoss, TraitMultiSimilarityLoss
from apt_lightning.stages.distributed import gather, process_share


@dataclass(frozen=True)
class MetricTerms:
    """What a metric loss compares.

    Raises:
        UsageError: If ``pairs`` or ``other_sources`` are asked of the multi-similarity loss.
    """

    kind: Literal["multi_similarity", "rank_n_contrast"] = "rank_n_contrast"
    """The paper's loss with its constants, or Rank-N-Contrast over the five traits."""
    pairs: Literal["all", "within", "across"] = "all"
    """Rank-N-Contrast: rows of all modalities, within one, or across two."""
    other_sources: bool = False
    """Rank-N-Contrast: leave out pairs of one source."""
    shuffled: bool = False
    """Control: the labels that are compared are those of other sources, dealt once; all else stays."""

    def __post_init__(self) -> None:
        if self.kind == "multi_similarity" and (self.pairs != "all" or self.other_sources):
            raise UsageError("`metric.pairs` and `metric.other_sources` are for `metric.kind=rank_n_contrast`")


class MetricTerm(nn.Module):
    """The loss, and the labels and sources of the clips that it compares.

    Args:
        terms: What is compared.
    """

    labels: Tensor
    """(N, 5) labels of all clips of the store, by position."""
    sources: Tensor
    """(N,) numbers of their sources."""

    def __init__(self, terms: MetricTerms) -> None:
        super().__init__()
        self.terms = terms
        self.loss: TraitMultiSimilarityLoss | RankNContrastLoss
        if terms.kind == "rank_n_contrast":
            self.loss = RankNContrastLoss(pairs=terms.pairs)
        else:
            self.loss = TraitMultiSimilarityLoss()
        for name in ("labels", "sources"):
            self.register_buffer(name, torch.empty(0), persistent=False)  # of the store, not of the model

    def take(self, data: FirstImpressionsDataModule) -> None:
        """Take labels and sources of a data module that is set up for training."""
        labels, self.sources = data.labels, data.source_numbers
        if self.terms.shuffled:
            labels = labels_of_other_sources(labels, self.sources.numpy(), data.positions("train").numpy(), data.seed)
        self.labels = torch.from_numpy(labels).float()
        if isinstance(self.loss, TraitMultiSimilarityLoss):
            mean, sd = data.statistics
            self.loss.set_statistics(mean.tolist(), sd.tolist())

    def forward(self, embeddings: Tensor, positions: Tensor, present: Tensor) -> Tensor:
        """Compute this process's share of the loss over the clips of all processes.

        Args:
            embeddings: (B, M, E) of each modality.
            positions: (B,) of the clips in the store.
            present: (B, M) bool.

        Returns:
            Scalar whose mean over the processes is the loss.
        """
        n_clips, n_modalities = present.shape
        clips = gather(positions.repeat(n_modalities))
        rows, valid = gather(embeddings.transpose(0, 1).flatten(0, 1)), gather(present.T.flatten())
        labels, sources = self.labels[clips].to(rows), self.sources[clips]
        loss: Tensor
        if isinstance(self.loss, RankNContrastLoss):
            modalities = gather(torch.arange(n_modalities, device=clips.device).repeat_interleave(n_clips))
            groups = sources if self.terms.other_sources else None
            loss = self.loss(rows, labels, valid, groups, modalities, process_share())
        else:
            loss = self.loss(rows, labels, valid, clips, process_share())
        return loss


def labels_of_other_sources(
    labels: npt.NDArray[np.float64], sources: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float64]:
    """Give the clips of each source the labels of another one's clips.

    Args:
        labels: (N, 5).
        sources: (N,) source numbers.
        rows: Clips that take part; the others keep their labels.
        seed: Of the deal.

    Returns:
        (N, 5).
    """
    dealt, of = labels.copy(), sources[rows]
    names = np.random.default_rng(seed).permutation(np.unique(of))
    clips = {name: rows[of == name] for name in names}
    for own, other in zip(names, np.roll(names, 1), strict=True):
        dealt[clips[own]] = labels[np.resize(clips[other], len(clips[own]))]
    return dealt
