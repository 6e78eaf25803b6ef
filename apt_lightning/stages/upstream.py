"""Earlier stages as frozen parts of a later one, from their files or from the later stage's own checkpoint."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.networks import FusionNet, ModalityEncoders, SiameseNet
from apt_lightning.stages.checkpoint import StageFile, read_stage, restore
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
    specifications: dict[str, Any] = {}
    weights: dict[str, Tensor] = {}
    entry: dict[str, Any] = {}
    for name, file in files.items():
        specifications |= stage_part(file, "encoders")
        weights |= {f"encoders.{name}.{key}": value for key, value in file.weights("encoder").items()}
        entry |= {key: value for key, value in file.entry.items() if key == "text_source"}
    paths = " and ".join(file.path for file in files.values())
    return specifications, restore(lambda: ModalityEncoders(specifications), weights, paths), entry


def stage_part(file: StageFile, name: str) -> dict[str, Any]:
    """The specification of one of the networks in a file.

    Raises:
        CheckpointError: If there is none.
    """
    found = file.networks.get(name)
    if not isinstance(found, dict):
        raise CheckpointError(f"{file.path} is damaged: it does not say what its {name} network is")
    return found


def stage_encoders(file: StageFile) -> ModalityEncoders:
    """Read the encoders that a stage-2 or stage-3 checkpoint carries."""
    return restore(lambda: ModalityEncoders(stage_part(file, "encoders")), file.weights("encoders"), file.path)


def stage_fusion(file: StageFile) -> FusionNet:
    """Read M1 from a stage-2 checkpoint."""
    return restore(lambda: FusionNet(**stage_part(file, "fusion")), file.weights("network"), file.path)


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
    return restore(lambda: SiameseNet(**stage_part(file, "siamese")), file.weights("network"), file.path)
