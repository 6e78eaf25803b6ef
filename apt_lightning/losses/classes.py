"""The classes C1 to C4 of each trait as part of a loss, so that their bounds lie in its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import UsageError

UNLABELLED = -1
"""Class number of a row without a label."""


class TraitClasses(nn.Module):
    """Cuts labels at mean - sd, mean and mean + sd of the training split (paper section 3).

    Args:
        anchors: ``extreme``: only C1 and C4 may be anchors (the paper); ``all``: every class.
        mean: (T,) training means; None to set them later or load them from a checkpoint.
        sd: (T,) population standard deviations.
        n_traits: Number of traits T.

    Raises:
        UsageError: If an argument is out of range.

    Example:
        >>> classes = TraitClasses("extreme", [0.5], [0.1], n_traits=1)
        >>> classes(torch.tensor([[0.1], [0.4], [0.5], [0.7], [torch.nan]])).flatten()
        tensor([ 0,  1,  2,  3, -1])
    """

    bounds: Tensor
    """(3, T) lower bounds of C2, C3 and C4; NaN until set."""

    def __init__(
        self,
        anchors: Literal["extreme", "all"] = "extreme",
        mean: Sequence[float] | None = None,
        sd: Sequence[float] | None = None,
        n_traits: int = 5,
    ) -> None:
        super().__init__()
        if anchors not in ("extreme", "all"):
            raise UsageError(f"Expected `anchors` to be 'extreme' or 'all', but got {anchors!r}.")
        if (mean is None) != (sd is None):
            raise UsageError("Expected both of `mean` and `sd`, or neither.")
        self.anchors = anchors
        self.n_traits = n_traits
        self.register_buffer("bounds", torch.full((3, n_traits), torch.nan))
        if mean is not None and sd is not None:
            self.set_statistics(mean, sd)

    @property
    def anchor_classes(self) -> tuple[int, ...]:
        """Numbers of the classes whose rows may be anchors."""
        return (0, 3) if self.anchors == "extreme" else (0, 1, 2, 3)

    def set_statistics(self, mean: Tensor | Sequence[float], sd: Tensor | Sequence[float]) -> None:
        """Set the (T,) means and standard deviations of the training split."""
        centre, width = (torch.as_tensor(x, dtype=torch.float64, device="cpu") for x in (mean, sd))
        if centre.shape != (self.n_traits,) or width.shape != (self.n_traits,) or not bool((width > 0).all()):
            raise UsageError(
                f"Expected {self.n_traits} values of `mean` and `sd`, with sd > 0, but got {mean} and {sd}."
            )
        self.bounds.copy_(torch.stack([centre - width, centre, centre + width]))

    def checked_bounds(self) -> Tensor:
        """Return the bounds (3, T).

        Raises:
            UsageError: If they were never set.
        """
        if bool(self.bounds.isnan().any()):
            raise UsageError("the class bounds are not set: pass `mean` and `sd`, or call `set_statistics`")
        return self.bounds

    def forward(self, labels: Tensor) -> Tensor:
        """Classify (R, T) labels: 0 to 3 for C1 to C4, -1 for NaN."""
        classes = (labels[None] >= self.checked_bounds()[:, None]).sum(dim=0)
        return classes.masked_fill_(labels.isnan(), UNLABELLED)
