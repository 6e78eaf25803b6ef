"""An encoder of pretrained features: sequences of steps, several layers and several sets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from apt_lightning.networks.layers import dense, initialise


class SequenceEncoder(nn.Module):
    """Feature sets -> standardised -> mix of layers -> FC a set -> attention over time -> joined -> FC.

    The mix is softmax weights over layers (Pepino et al., arXiv 2104.03502, without their scale); the attention that of
    Raffel and Ellis (2015), as of the words. Steps beyond a set's length weigh nothing; a set that a clip lacks gives
    zeros.

    Args:
        sets: ``name``, ``layers`` L, ``dim`` D, ``key``, ``specification`` and ``origin`` of each set, as the store
            holds it.
        set_dim: Size of each set after its dense layer.
        dropout: Dropout on the joined vector.
        output_dim: Size Q of the feature.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self, sets: Sequence[dict[str, Any]], set_dim: int = 256, dropout: float = 0.5, output_dim: int = 256
    ) -> None:
        super().__init__()
        self.sets: dict[str, str] = {one["name"]: one["key"] for one in sets}
        """Name to key of each set, in the order of the inputs' columns."""
        self.described = [dict(one) for one in sets]
        """The same as given."""
        self.shapes = [(int(one["layers"]), int(one["dim"])) for one in sets]
        self.sizes = [layers * dim for layers, dim in self.shapes]
        self.register_buffer("mean", torch.zeros(sum(self.sizes)))
        self.register_buffer("sd", torch.ones(sum(self.sizes)))
        self.mixes = nn.ParameterList(torch.zeros(layers) for layers, _ in self.shapes)
        self.linear = nn.ModuleList(dense([dim, set_dim]) for _, dim in self.shapes)
        self.attention = nn.ModuleList(nn.Linear(set_dim, 1) for _ in self.shapes)
        self.dropout = nn.Dropout(dropout)
        self.layers = dense([len(self.shapes) * set_dim, output_dim])
        self.output_dim = output_dim
        initialise(self)

    def forward(self, values: Tensor, length: Tensor, augment: bool = False) -> Tensor:
        """Map (B, T, sum of L * D) values, of which the first ``length`` (B, S) steps of each set count, to (B, Q)."""
        scaled = (values - self.mean) / self.sd
        step = torch.arange(values.shape[1], device=values.device)
        joined = []
        for k, part in enumerate(torch.split(scaled, self.sizes, dim=-1)):
            counts = step < length[:, k : k + 1]
            layered = part.where(counts[..., None], 0).reshape(*part.shape[:2], *self.shapes[k])
            mixed = torch.einsum("btld,l->btd", layered, self.mixes[k].softmax(dim=0))
            hidden = self.linear[k](mixed)
            energy = torch.tanh(self.attention[k](hidden)).squeeze(-1).masked_fill(~counts, -torch.inf)
            weights = energy.softmax(dim=1).where(counts, 0)  # without a step: NaN, and so 0
            joined.append(torch.einsum("bt,bth->bh", weights, hidden))
        features: Tensor = self.layers(self.dropout(torch.cat(joined, dim=1)))
        return features
