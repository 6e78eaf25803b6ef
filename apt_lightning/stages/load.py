"""Any stage from its checkpoint."""

from __future__ import annotations

import os

from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import STAGE2, STAGE3, STAGE4
from apt_lightning.stages.siamese import SiameseModule


def load(path: str | os.PathLike[str]) -> BaseModule:
    """Load any stage's checkpoint, in eval mode; the files it was made from are not needed.

    Raises:
        CheckpointError: If the file is absent, damaged or not ours.
    """
    file = read_stage(path)
    return module_class(file.stage).of_file(file).eval()


def module_class(stage: str) -> type[BaseModule]:
    """The class of a stage."""
    classes: dict[str, type[BaseModule]] = {
        STAGE2: FusionModule,
        STAGE3: SiameseModule,
        STAGE4: FinalModule,
    }
    return classes.get(stage, ModalityModule)
