"""Checkpoints that stand alone: reading them, checking what they claim, and taking networks from them."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import CheckpointError
from apt_lightning.common.files import replacing
from apt_lightning.common.traits import TRAITS

FORMAT = 1
"""Version of the ``apt`` entry of a checkpoint."""

COMMANDS = {
    "audio": "apt fit --config configs/stage1_audio.yaml",
    "visual": "apt fit --config configs/stage1_visual.yaml",
    "text": "apt fit --config configs/stage1_text.yaml",
    "fusion": "apt fit --config configs/stage2.yaml",
    "siamese": "apt fit --config configs/stage3.yaml",
    "final": "apt fit --config configs/stage4.yaml",
}
"""Stage name to the command that makes its checkpoint."""


class StageFile(NamedTuple):
    """What a checkpoint of ours holds."""

    path: str
    stage: str
    """A key of :data:`COMMANDS`."""
    networks: dict[str, Any]
    """Plain-data specifications of all networks in the file."""
    hparams: dict[str, Any]
    state: dict[str, Tensor]
    entry: dict[str, Any]
    """The whole ``apt`` entry: traits, versions, text source, conformal intervals."""

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """Entries of the state whose name starts with ``prefix.``, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.state.items() if name.startswith(start)}


def read_stage(path: str, *stages: str) -> StageFile:
    """Read a checkpoint, as plain data only, and check what it claims to be.

    Args:
        path: Checkpoint file.
        stages: Stage names that are allowed; any if none is given.

    Raises:
        CheckpointError: If the file is absent, damaged, not ours, of another stage, or of another trait order.
    """
    hint = " or ".join(f"`{COMMANDS[stage]}`" for stage in stages) or "`apt run`"
    if not Path(path).is_file():
        name = "/".join(stages) or "any"
        raise CheckpointError(f"no checkpoint of stage {name} at {path}; make it with {hint}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError,
            IndexError, AttributeError, OSError, OverflowError) as error:  # fmt: skip
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({first[:120]}); make it again with {hint}"
        ) from None
    entry = content.get("apt") if isinstance(content, dict) else None
    if not isinstance(entry, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path} is not a checkpoint of this program; make one with {hint}")
    if entry.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {entry.get('format')!r}, this program reads {FORMAT}")
    if entry.get("stage") not in COMMANDS or (stages and entry["stage"] not in stages):
        raise CheckpointError(
            f"{path} is a checkpoint of stage {entry.get('stage')!r}, but {' or '.join(stages)!r} is needed;"
            f" make it with {hint}"
        )
    if tuple(entry.get("traits", ())) != TRAITS:
        raise CheckpointError(f"{path} orders the traits {entry.get('traits')}, this program {list(TRAITS)}")
    for name, value in content["state_dict"].items():
        if isinstance(value, Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{path} holds NaN or infinite values in {name}; make it again with {hint}")
    hparams = content.get("hyper_parameters")
    if not isinstance(entry.get("networks"), dict) or not isinstance(hparams, dict):
        raise CheckpointError(f"{path} does not say what its networks are; make it again with {hint}")
    hparams = {k: v for k, v in hparams.items() if not str(k).startswith("_")}
    return StageFile(str(path), entry["stage"], entry["networks"], hparams, content["state_dict"], entry)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Load weights strictly.

    Raises:
        CheckpointError: If names or shapes do not fit.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the weights in {path} do not fit the network it describes: {reason}") from None


def write_atomically(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Save with ``torch.save`` to a temporary name beside ``path``, then rename."""
    with replacing(path) as part:
        torch.save(content, part)


def update_entry(path: str | os.PathLike[str], **values: Any) -> None:
    """Add plain data to the ``apt`` entry of a finished checkpoint, such as conformal intervals."""
    content = cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    content["apt"].update(values)
    write_atomically(content, path)
