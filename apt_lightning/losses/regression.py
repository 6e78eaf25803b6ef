"""The loss of stages 1, 2 and 4: absolute error, squared error and the bell (paper Eq. 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from apt_lightning.common.ranges import check_ranges


@dataclass(frozen=True)
class RegressionTerms:
    """Constants of the regression loss.

    Raises:
        UsageError: If ``bell_sigma`` is not positive, or a weight is negative.
    """

    mae_weight: float = 1.0
    """Weight of the mean absolute error."""
    mse_weight: float = 1.0
    """Weight of the mean squared error."""
    bell_weight: float = 1.0
    """Weight of the bell."""
    bell_sigma: float = 9.0
    """Width sigma of the bell, in label units."""
    bell_gamma: float = 300.0
    """Height gamma of the bell."""

    def __post_init__(self) -> None:
        check_ranges(vars(self), "model.loss")


class RegressionLoss(nn.Module):
    """L = w_mae L_mae + w_mse L_mse + w_bell L_bell, each a mean over clips and traits (paper Eq. 4).

    L_bell is the mean of gamma (1 - exp(-(y - yhat)^2 / (2 sigma^2))) (Eq. 3). With labels in [0, 1] and the
    paper's sigma of 9 it is 1.852 times the squared error to within 0.4 %; a bell that bends needs a sigma
    near 0.1 to 0.2.

    Args:
        terms: Weights of the three terms, and shape of the bell.

    Example:
        >>> loss = RegressionLoss(RegressionTerms(bell_weight=0.0))
        >>> loss(torch.full((2, 5), 0.5), torch.full((2, 5), 0.7))  # 0.2 + 0.04
        tensor(0.2400)
    """

    def __init__(self, terms: RegressionTerms = RegressionTerms()) -> None:
        super().__init__()
        self.terms = terms

    def forward(self, scores: Tensor, traits: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            scores: (B, 5) predictions, not clipped.
            traits: (B, 5) labels in [0, 1]; NaN labels do not count.

        Returns:
            Scalar; 0, and still differentiable, if no label counts.
        """
        labelled = ~traits.isnan()
        # The untaken branch of `where` must not hold NaN, or its zero gradient would become NaN.
        dtype = torch.promote_types(scores.dtype, torch.float32)
        error = torch.where(labelled, scores.to(dtype) - traits.nan_to_num().to(dtype), 0.0)
        square = error.square()
        # expm1 keeps the digits that 1 - exp(-1e-6) would lose.
        bell = -self.terms.bell_gamma * torch.expm1(-square / (2 * self.terms.bell_sigma**2))
        loss = self.terms.mae_weight * error.abs() + self.terms.mse_weight * square + self.terms.bell_weight * bell
        return loss.sum() / labelled.sum().clamp(min=1)
