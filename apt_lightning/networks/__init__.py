"""The paper's networks as plain ``nn.Module`` classes (section 2 of the method)."""

from apt_lightning.networks.encoders import (
    ENCODERS,
    FrameEncoder,
    ModalityEncoders,
    TokenEncoder,
    VectorEncoder,
)
from apt_lightning.networks.fusion import FinalNet, FusionNet
from apt_lightning.networks.siamese import SiameseNet

__all__ = [
    "ENCODERS",
    "FinalNet",
    "FrameEncoder",
    "FusionNet",
    "ModalityEncoders",
    "SiameseNet",
    "TokenEncoder",
    "VectorEncoder",
]
