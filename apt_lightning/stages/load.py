"""Any stage from its checkpoint."""

from __future__ import annotations

import os

from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import StageFile, read_stage
from apt_lightning.stages.export.hub import local_copy
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import STAGE2, STAGE3, STAGE4
from apt_lightning.stages.siamese import SiameseModule


def load(path: str | os.PathLike[str], allow_download: bool = False) -> BaseModule:
    """Load any stage's checkpoint, in eval mode; the files it was made from are not needed.

    Args:
        path: Checkpoint file; folder of ``apt export``; or ``hf://owner/name``, a model of the Hugging Face hub.
        allow_download: Fetch a model of the hub if its cache on this machine does not have it.

    Raises:
        CheckpointError: If the file is absent, damaged or not ours.
    """
    file = read_stage(local_copy(os.fspath(path), allow_download))
    return module_class(file).of_file(file).eval()


def module_class(file: StageFile) -> type[BaseModule]:
    """The class that a checkpoint is of; one of stage 4 may come from the joint training."""
    classes: dict[str, type[BaseModule]] = {
        STAGE2: FusionModule,
        STAGE3: SiameseModule,
        STAGE4: JointModule if "unimodal_weight" in file.hparams else FinalModule,
    }
    return classes.get(file.stage, ModalityModule)
