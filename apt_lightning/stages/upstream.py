"""Networks of earlier stages from their files: the frozen parts of a later one, and all that a score needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.networks import FinalNet, FusionNet, ModalityEncoders, build
from apt_lightning.stages.checkpoint import StageFile, read_stage, restore
from apt_lightning.stages.frozen import weights_hash
from apt_lightning.stages.names import STAGE1, STAGE2, STAGE3, STAGE4, command_of, stage1


def modality_encoders(checkpoints: Mapping[str, str] | None) -> tuple[dict[str, Any], ModalityEncoders, dict[str, Any]]:
    """Read the encoders of stage-1 checkpoints.

    Args:
        checkpoints: Modality to checkpoint path, in the order of the feature columns.

    Returns:
        Their specifications, the encoders, and what the checkpoints say of their text vectors.

    Raises:
        UsageError: If none is given.
        CheckpointError: If a file is absent, damaged or of another stage, or their features differ in size.
    """
    if not checkpoints:
        raise UsageError(
            "`model.checkpoints` is needed: a stage-1 checkpoint a modality, such as"
            ' `--model.checkpoints=\'{"audio": "runs/paper/stage1_audio/best.ckpt", "text": ...}\'`'
        )
    specifications: dict[str, Any] = {}
    weights: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for modality, path in checkpoints.items():
        file = read_stage(path, stage1(modality))
        specifications[modality] = part(part(file.networks, "encoders", file.path), modality, file.path)
        weights |= {f"encoders.{modality}.{key}": value for key, value in file.weights("encoder").items()}
        metadata |= text_source(file)
    paths = " and ".join(checkpoints.values())
    return specifications, restore(lambda: ModalityEncoders(specifications), weights, paths), metadata


def text_source(file: StageFile) -> dict[str, Any]:
    """What a checkpoint says of its word vectors, for the metadata of a later one."""
    return {key: value for key, value in file.metadata.items() if key == "text_source"}


def part(whole: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    """One of the specifications in a file.

    Raises:
        CheckpointError: If there is none.
    """
    specification = whole.get(name)
    if not isinstance(specification, dict):
        raise CheckpointError(f"{path} is damaged: it does not say what its {name} network is")
    return specification


def stage_encoders(file: StageFile) -> ModalityEncoders:
    """Read the encoders that a checkpoint of stages 2 to 4 carries."""
    return restore(
        lambda: ModalityEncoders(part(file.networks, "encoders", file.path)), file.weights("encoders"), file.path
    )


def stage_network(file: StageFile) -> Any:
    """Read the network that a checkpoint of stages 2 to 4 trained: M1, S, or M2 with both."""
    return restore(lambda: build(part(file.networks, "network", file.path)), file.weights("network"), file.path)


def check_same_encoders(third: StageFile, encoders: ModalityEncoders) -> None:
    """Refuse a stage 3 that was trained on other modality encoders than stage 2.

    Raises:
        CheckpointError: If it was.
    """
    if weights_hash(stage_encoders(third)) != weights_hash(encoders):
        raise CheckpointError(
            f"{third.path} was trained on other modality checkpoints than stage 2;"
            f" train stage 3 again with `{command_of(STAGE3)}`"
        )


def scoring_networks(
    file: StageFile, device: torch.device
) -> tuple[ModalityEncoders, FusionNet | FinalNet | None, nn.Linear]:
    """Rebuild encoders, joining net and head of a checkpoint, in eval mode."""
    network: FusionNet | FinalNet | None = None
    if file.stage in (STAGE2, STAGE4):
        encoders = stage_encoders(file)
        network = stage_network(file).to(device).eval()
    else:
        modality = file.stage.removeprefix(f"{STAGE1}_")
        weights = {f"encoders.{modality}.{name}": value for name, value in file.weights("encoder").items()}
        encoders = restore(lambda: ModalityEncoders(file.networks["encoders"]), weights, file.path)
    width = network.output_dim if network else encoders.output_dim
    head = restore(lambda: nn.Linear(width, len(TRAITS)), file.weights("head"), file.path)
    return encoders.to(device).eval(), network, head.to(device).eval()
