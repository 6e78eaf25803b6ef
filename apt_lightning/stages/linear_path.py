"""Where a linear path starts: at the ridge solution, so that no joining net begins worse than ridge."""

from __future__ import annotations

import torch
from torch import Tensor

from apt_lightning.evaluation.baselines import STRENGTHS


def ridge_weights(inputs: Tensor, labels: Tensor, held_out: Tensor, held_labels: Tensor) -> Tensor:
    """Regress labels on inputs linearly; the penalty is the one with the best 1-MAE on held-out clips.

    As :func:`apt_lightning.evaluation.baselines.ridge`, by one eigendecomposition for all penalties.

    Args:
        inputs: (N, D) inputs, standardised.
        labels: (N, T) labels less their means.
        held_out: (V, D) inputs of validation clips, likewise; the training clips' own if there are none.
        held_labels: (V, T) their labels, less the same means; rows with a NaN do not count.

    Returns:
        (T, D) weights.

    Example:
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> ridge_weights(x, 3 * x, x, 3 * x).round(decimals=2)
        tensor([[3.]], dtype=torch.float64)
    """
    x, y, v, target = (tensor.double() for tensor in (inputs, labels, held_out, held_labels))
    known = ~target.isnan().any(dim=1)
    v, target = v[known], target[known]
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned, seen = vectors.T @ (x.T @ y), v @ vectors
    best: tuple[float, Tensor] = (torch.inf, turned)
    for strength in STRENGTHS:
        weights = turned / (values.clamp_min(0) + strength)[:, None]
        error = float((seen @ weights - target).abs().mean()) if len(v) else -strength
        if error < best[0]:
            best = (error, weights)
    return torch.matmul(vectors, best[1]).T
