"""C-Mixup: clips mixed with others of like labels (Yao et al., NeurIPS 2022), here only across sources."""

from __future__ import annotations

import torch
from torch import Tensor


def mixing_chances(traits: Tensor, allowed: Tensor, bandwidth: float) -> Tensor:
    """Chance of each clip to be another's partner: exp(-|y_i - y_j|^2 / (2 bandwidth^2)), normalised.

    Args:
        traits: (B, T) labels; a clip with a NaN among them is mixed with itself.
        allowed: (B, B) bool; who may be mixed with whom.
        bandwidth: In label units, of the Euclidean distance over traits.

    Returns:
        (B, B); rows sum to 1. A clip without a partner is its own.
    """
    known = ~traits.isnan().any(dim=1)
    values = traits.nan_to_num()
    exponent = -(values[:, None] - values).square().sum(dim=2) / (2 * bandwidth**2)
    own = torch.eye(len(traits), dtype=torch.bool, device=traits.device)
    allowed = allowed & ~own & known & known[:, None]
    return exponent.masked_fill(~torch.where(allowed.any(dim=1, keepdim=True), allowed, own), -torch.inf).softmax(dim=1)


def mix(
    features: Tensor, traits: Tensor, present: Tensor, sources: Tensor, bandwidth: float, alpha: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Mix features and labels of a batch, each clip with one of another source that has the same modalities.

    Args:
        features: (B, M, Q) features.
        traits: (B, T) labels.
        present: (B, M) bool.
        sources: (B,) number of each clip's source.
        bandwidth: Of the labels' kernel.
        alpha: Both parameters of the beta distribution of the mixing weight; 2 as in the authors' code.

    Returns:
        Mixed features and labels.
    """
    allowed = (sources[:, None] != sources) & (present[:, None] == present).all(dim=2)
    partner = torch.multinomial(mixing_chances(traits, allowed, bandwidth), 1)[:, 0]
    weight = torch.distributions.Beta(alpha, alpha).sample((len(traits), 1)).to(features)
    mixed = torch.lerp(features[partner], features, weight[..., None])
    return mixed, torch.lerp(traits[partner], traits, weight.to(traits))
