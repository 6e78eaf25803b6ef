"""The loss of stages 1, 2 and 4: absolute error, squared error and the bell (paper Eq. 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import UsageError


class RegressionLoss(nn.Module):
    """L = w_mae L_mae + w_mse L_mse + w_bell L_bell, each a mean over clips and traits (paper Eq. 4).

    L_bell is the mean of gamma (1 - exp(-(y - yhat)^2 / (2 sigma^2))) (Eq. 3). With labels in [0, 1] and the
    paper's sigma of 9 it is 1.852 times the squared error to within 0.4 %; a bell that bends needs a sigma
    near 0.1 to 0.2.

    Args:
        mae_weight: Weight of the mean absolute error.
        mse_weight: Weight of the mean squared error.
        bell_weight: Weight of the bell.
        bell_sigma: Width sigma of the bell, in label units.
        bell_gamma: Height gamma of the bell.

    Raises:
        UsageError: If ``bell_sigma`` is not positive, or a weight is negative.

    Example:
        >>> loss = RegressionLoss(bell_weight=0.0)
        >>> loss(torch.full((2, 5), 0.5), torch.full((2, 5), 0.7))  # 0.2 + 0.04
        tensor(0.2400)
    """

    def __init__(
        self,
        mae_weight: float = 1.0,
        mse_weight: float = 1.0,
        bell_weight: float = 1.0,
        bell_sigma: float = 9.0,
        bell_gamma: float = 300.0,
    ) -> None:
        super().__init__()
        if not bell_sigma > 0:
            raise UsageError(f"Expected `bell_sigma` to be positive, but got {bell_sigma}.")
        if min(mae_weight, mse_weight, bell_weight) < 0:
            raise UsageError(
                "Expected `mae_weight`, `mse_weight` and `bell_weight` to be 0 or more, "
                f"but got {mae_weight}, {mse_weight} and {bell_weight}."
            )
        self.mae_weight = mae_weight
        self.mse_weight = mse_weight
        self.bell_weight = bell_weight
        self.bell_sigma = bell_sigma
        self.bell_gamma = bell_gamma

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
        bell = -self.bell_gamma * torch.expm1(-square / (2 * self.bell_sigma**2))
        loss = self.mae_weight * error.abs() + self.mse_weight * square + self.bell_weight * bell
        return loss.sum() / labelled.sum().clamp(min=1)
