"""What stage 3 asks of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from apt_lightning.losses.classes import TraitClasses
from apt_lightning.losses.multi_similarity import MiningStatistics


class MetricLoss(Protocol):
    """A loss over embeddings of clips with T trait labels; an ``nn.Module`` whose state lies in the checkpoint."""

    classes: TraitClasses
    """Cuts the labels; its bounds are set by :meth:`set_statistics`."""
    statistics: MiningStatistics | None
    """What the last call mined; None before the first."""

    def set_statistics(self, mean: Tensor | Sequence[float], sd: Tensor | Sequence[float]) -> None:
        """Set the training split's (T,) means and deviations."""

    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        valid: Tensor | None = None,
        clips: Tensor | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Compute this process's share of the loss.

        Args:
            embeddings: (R, E) embeddings of all modalities and processes, stacked; not normalised.
            labels: (R, T) labels in [0, 1]; NaN where there is none.
            valid: (R,) bool; False drops a row, such as a missing modality's.
            clips: (R,) numbers; rows of one clip share theirs.
            share: Rank and number of processes that hold these same rows. Each may compute a share of the anchors,
                times the number of processes, or the whole: the mean over the processes is the loss.

        Returns:
            Scalar; 0, and still differentiable, if nothing counts.
        """
