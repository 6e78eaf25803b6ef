"""Training for few extremes: concordance, balanced MSE, and weights by the density of the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 50
"""Bins of labels in [0, 1]; a bin is about two steps of the real labels' lattice."""
KERNEL, KERNEL_SD = 5, 2.0
"""Size and standard deviation of the smoothing Gaussian, in bins: those of the authors' code."""


def discordance(scores: Tensor, traits: Tensor) -> Tensor:
    """1 - CCC (Lin 1989) of each trait, averaged over the traits that have a label.

    1 - 2 cov / (var + var' + (mean - mean')^2) is the mean squared error over the last sum, which also covers
    constant batches: 1 where only the means differ, 0 where nothing does.

    Args:
        scores: (B, T) predictions, not clipped.
        traits: (B, T) labels; NaN labels do not count.

    Returns:
        Scalar from 0 to 2; 0, and still differentiable, if no label counts.
    """
    labelled, x, y = _known(scores, traits)
    count = labelled.sum(dim=0)
    known = count.clamp(min=1)
    means = [(v.sum(dim=0) / known) for v in (x, y)]
    centred = [torch.where(labelled, v - mean, 0) for v, mean in zip((x, y), means, strict=True)]
    spread = sum(c.square().sum(dim=0) / known for c in centred) + (means[0] - means[1]).square()
    error = (x - y).square().sum(dim=0) / known
    return (error / spread.clamp(min=torch.finfo(x.dtype).tiny)).sum() / (count > 0).sum().clamp(min=1)


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
    labelled, x, y = _known(scores, traits)
    logits = -(x[:, None] - y).square() / (2 * noise**2)
    own = logits.diagonal().T
    every = torch.where(labelled, logits, -torch.inf).logsumexp(dim=1)  # -inf where a trait has no label at all
    terms = torch.where(labelled, torch.where(labelled, every, 0) - own, 0)
    count = labelled.sum(dim=0)
    means = terms.sum(dim=0) / count.clamp(min=1)
    return 2 * noise**2 * means.sum() / (count > 0).sum().clamp(min=1)


def density_weights(traits: Tensor) -> Tensor:
    """Weights of label-distribution smoothing (Yang et al., ICML 2021): inverse root of the smoothed density.

    Args:
        traits: (N, T) labels in [0, 1] of the training split; NaN labels do not count.

    Returns:
        (T, :data:`BINS`) weight of a label in each bin; their mean over the training labels is 1.
    """
    taps = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    kernel = torch.exp(-taps.square() / (2 * KERNEL_SD**2))
    counts = torch.stack([label_bins(column[~column.isnan()]).bincount(minlength=BINS) for column in traits.T])
    smoothed = F.conv1d(counts.double()[:, None], kernel[None, None].to(counts.device), padding="same")[:, 0]
    weights = smoothed.clamp(min=1).rsqrt()
    return weights * counts.sum(dim=1, keepdim=True) / (counts * weights).sum(dim=1, keepdim=True).clamp(min=1e-12)


def label_bins(traits: Tensor) -> Tensor:
    """Number of each label's bin, of any shape; 0 for NaN."""
    return (traits.nan_to_num() * BINS).long().clamp(0, BINS - 1)


def _known(scores: Tensor, traits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mask of labels, and scores and labels with 0 elsewhere, in at least float32."""
    labelled = ~traits.isnan()
    dtype = torch.promote_types(scores.dtype, torch.float32)
    return labelled, torch.where(labelled, scores.to(dtype), 0), traits.nan_to_num().to(dtype)
