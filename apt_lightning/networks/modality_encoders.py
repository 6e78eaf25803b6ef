"""The encoders of several modalities side by side, to features of one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from apt_lightning.common.batch import Batch
from apt_lightning.common.errors import UsageError
from apt_lightning.networks.build import build
from apt_lightning.networks.encoders import TokenEncoder
from apt_lightning.networks.sequences import SequenceEncoder


class ModalityEncoders(nn.Module):
    """The encoders of several modalities side by side: the frozen part of stages 2 to 4.

    Args:
        specifications: Modality name to encoder specification, see :func:`apt_lightning.networks.build.build`.

    Raises:
        UsageError: If their features differ in size.
    """

    def __init__(self, specifications: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: build(spec) for name, spec in specifications.items()})
        sizes = {name: encoder.output_dim for name, encoder in self.encoders.items()}
        if len(set(sizes.values())) != 1:
            raise UsageError(f"the features of all modalities must have one size, got {sizes}")
        self.output_dim = int(next(iter(sizes.values())))  # type: ignore[arg-type]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in the order of the feature columns."""
        return tuple(self.encoders)

    @property
    def vocabulary(self) -> list[str] | None:
        """Words of the text encoder's table; None if no encoder reads words."""
        for encoder in self.encoders.values():
            if isinstance(encoder, TokenEncoder):
                return encoder.vocabulary
        return None

    @property
    def sets(self) -> dict[str, dict[str, str]]:
        """Name and key of the feature sets that encoders read, by modality."""
        encoders = self.encoders.items()
        return {name: encoder.sets for name, encoder in encoders if isinstance(encoder, SequenceEncoder)}

    def forward(self, batch: Batch) -> Tensor:
        """Encode a raw batch to (B, M, Q); rows of absent modalities hold numbers that no stage reads."""
        return torch.stack([encoder(*batch.inputs[name]) for name, encoder in self.encoders.items()], dim=1)
