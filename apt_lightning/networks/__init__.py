"""The paper's networks as plain ``nn.Module`` classes (section 2 of the method)."""

from apt_lightning.networks.build import NETWORKS, build
from apt_lightning.networks.encoders import FrameEncoder, TokenEncoder, VectorEncoder
from apt_lightning.networks.fusion import FinalNet, FusionNet
from apt_lightning.networks.modality_encoders import ModalityEncoders
from apt_lightning.networks.sequences import SequenceEncoder
from apt_lightning.networks.siamese import SiameseNet

__all__ = [
    "NETWORKS",
    "FinalNet",
    "FrameEncoder",
    "FusionNet",
    "ModalityEncoders",
    "SequenceEncoder",
    "SiameseNet",
    "TokenEncoder",
    "VectorEncoder",
    "build",
]
