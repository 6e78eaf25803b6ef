"""Training for few extremes: a squared error that is balanced over the labels (Ren et al., CVPR 2022)."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_mse(scores: Tensor, traits: Tensor, noise: float) -> Tensor:
    """Balanced MSE by batch Monte Carlo (Ren et al., CVPR 2022, Eq. 3.9), of each trait, averaged over traits.

    -log( N(y_i; s_i, noise^2) / sum_j N(y_j; s_i, noise^2) ) times 2 noise^2: a score is drawn to its own label
    and away from labels that are frequent.

    Args:
        scores: (B, T) predictions, not clipped.
        traits: (B, T) labels; NaN labels do not count.
        noise: Standard deviation of the scores' error, in label units.

    Returns:
        Scalar; 0, and still differentiable, if no label counts.
    """
    labelled = ~traits.isnan()
    dtype = torch.promote_types(scores.dtype, torch.float32)
    x, y = torch.where(labelled, scores.to(dtype), 0), traits.nan_to_num().to(dtype)
    logits = -(x[:, None] - y).square() / (2 * noise**2)
    own = logits.diagonal().T
    every = torch.where(labelled, logits, -torch.inf).logsumexp(dim=1)  # -inf where a trait has no label at all
    terms = torch.where(labelled, torch.where(labelled, every, 0) - own, 0)
    count = labelled.sum(dim=0)
    means = terms.sum(dim=0) / count.clamp(min=1)
    return 2 * noise**2 * means.sum() / (count > 0).sum().clamp(min=1)
