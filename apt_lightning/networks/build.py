"""Any network of ours from its plain-data specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from apt_lightning.common.errors import UsageError
from apt_lightning.networks.encoders import FrameEncoder, TokenEncoder, VectorEncoder
from apt_lightning.networks.fusion import FinalNet, FusionNet
from apt_lightning.networks.sequences import SequenceEncoder
from apt_lightning.networks.siamese import SiameseNet

NETWORKS: Mapping[str, type[nn.Module]] = {
    "vector": VectorEncoder,
    "frames": FrameEncoder,
    "tokens": TokenEncoder,
    "sequences": SequenceEncoder,
    "fusion": FusionNet,
    "siamese": SiameseNet,
    "final": FinalNet,
}
"""Network of each kind; encoders go by the kind of their input."""


def build(specification: Mapping[str, Any]) -> Any:
    """Build the network that a specification names, with fresh weights.

    Args:
        specification: ``{"kind": ..., **arguments}``, plain data; ``kind`` is a key of :data:`NETWORKS`. Networks
            inside the network are given by their own specifications.

    Raises:
        UsageError: If there is no such kind.

    Example:
        >>> build({"kind": "vector", "dim": 88}).output_dim
        256
    """
    arguments = {
        name: build(value) if isinstance(value, Mapping) and "kind" in value else value
        for name, value in specification.items()
    }
    kind = arguments.pop("kind", None)
    if kind not in NETWORKS:
        raise UsageError(f"a network must be one of {', '.join(NETWORKS)}, got {kind!r:.60}")
    return NETWORKS[kind](**arguments)
