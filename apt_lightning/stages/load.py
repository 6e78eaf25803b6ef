"""Earlier stages as frozen parts of a later one, from their files or from the later stage's own checkpoint."""

from __future__ import annotations

from typing import Any

from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.networks import FusionNet, ModalityEncoders, SiameseNet
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import StageFile, load_weights, read_stage
from apt_lightning.stages.frozen import weights_hash


def modality_encoders(
    checkpoints: dict[str, str | None],
) -> tuple[dict[str, Any], ModalityEncoders, dict[str, Any]]:
    """Read the encoders of stage-1 checkpoints.

    Args:
        checkpoints: Modality name to checkpoint path.

    Returns:
        Their specifications, the encoders, and what the checkpoints say of their text vectors.

    Raises:
        UsageError: If no path is given for a modality.
        CheckpointError: If a file is absent, damaged or of another stage.
    """
    files: dict[str, StageFile] = {}
    for name, path in checkpoints.items():
        if path is None:
            raise UsageError(f"`model.{name}_ckpt` is needed: the path of a {name} checkpoint of stage 1")
        files[name] = read_stage(path, name)
    specifications = {name: file.networks["encoders"][name] for name, file in files.items()}
    encoders = ModalityEncoders(specifications)
    entry: dict[str, Any] = {}
    for name, file in files.items():
        load_weights(encoders.encoders[name], file.weights("encoder"), file.path)
        entry |= {key: value for key, value in file.entry.items() if key == "text_source"}
    return specifications, encoders, entry


def stage_encoders(file: StageFile) -> ModalityEncoders:
    """Read the encoders that a stage-2 or stage-3 checkpoint carries."""
    encoders = ModalityEncoders(file.networks["encoders"])
    load_weights(encoders, file.weights("encoders"), file.path)
    return encoders


def stage_fusion(file: StageFile) -> FusionNet:
    """Read M1 from a stage-2 checkpoint."""
    fusion = FusionNet(**file.networks["fusion"])
    load_weights(fusion, file.weights("network"), file.path)
    return fusion


def stage_siamese(file: StageFile, encoders: ModalityEncoders) -> SiameseNet:
    """Read S from a stage-3 checkpoint.

    Raises:
        CheckpointError: If it was trained on other modality encoders than ``encoders``.
    """
    if weights_hash(stage_encoders(file)) != weights_hash(encoders):
        raise CheckpointError(
            f"{file.path} was trained on other modality checkpoints than stage 2;"
            " train stage 3 again with `apt fit --config configs/stage3.yaml`"
        )
    siamese = SiameseNet(**file.networks["siamese"])
    load_weights(siamese, file.weights("network"), file.path)
    return siamese


def load_module(path: str) -> BaseModule:
    """Load any stage's checkpoint, in eval mode; the files it was made from are not needed.

    Raises:
        CheckpointError: If the file is absent, damaged or not ours.
    """
    from apt_lightning.stages.fusion import FusionModule
    from apt_lightning.stages.modality import ModalityModule
    from apt_lightning.stages.siamese import SiameseModule

    file = read_stage(path)
    classes: dict[str, type[BaseModule]] = {
        "fusion": FusionModule,
        "final": FusionModule,
        "siamese": SiameseModule,
    }
    try:
        module = classes.get(file.stage, ModalityModule)(**file.hparams)
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} describes no network of this program: {error}") from None
    load_weights(module, file.state, path)
    module.entry = file.entry
    return module.eval()
