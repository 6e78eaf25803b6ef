"""A bidirectional GRU over padded sequences of different lengths, without packing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BidirectionalGRU(nn.Module):
    """Two GRUs, the backward one on each sequence reversed within its length.

    The same numbers as ``nn.GRU(bidirectional=True)`` on packed sequences, and the same names in the state dict.
    Packing needs the lengths on the host, at each step a wait for the GPU, and cannot be exported.

    Args:
        dim: Size G of an input.
        hidden_dim: Units per direction.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.ahead = nn.GRU(dim, hidden_dim, batch_first=True)
        self.back = nn.GRU(dim, hidden_dim, batch_first=True)
        self.register_state_dict_post_hook(_to_common_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_common_names)  # type: ignore[no-untyped-call]

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        """Map (B, K, G) to (B, K, 2 * hidden_dim); steps from ``length`` (B,) on do not count and hold anything."""
        steps = torch.arange(values.shape[1], device=values.device)
        reverse = torch.where(steps < length[:, None], length[:, None] - 1 - steps, steps)[..., None]  # its own inverse
        ahead, _ = self.ahead(values)
        back, _ = self.back(values.gather(1, reverse.expand_as(values)))
        return torch.cat([ahead, back.gather(1, reverse.expand_as(back))], dim=-1)


def _to_common_names(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        direction, _, weight = name.removeprefix(prefix).partition(".")
        state[f"{prefix}{weight}{'_reverse' if direction == 'back' else ''}"] = state.pop(name)


def _from_common_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        weight = name.removeprefix(prefix)
        direction = "back" if weight.endswith("_reverse") else "ahead"
        state[f"{prefix}{direction}.{weight.removesuffix('_reverse')}"] = state.pop(name)
