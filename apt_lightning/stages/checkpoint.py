"""Checkpoints that stand alone: reading them, checking what they claim, and taking networks from them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from apt_lightning.common.errors import CheckpointError
from apt_lightning.common.files import replacing
from apt_lightning.common.traits import TRAITS
from apt_lightning.evaluation.training_clips import TrainingClips
from apt_lightning.stages.export.folder import CONFIG, read_model
from apt_lightning.stages.find import find_checkpoint
from apt_lightning.stages.names import command_of, fits, is_stage
from apt_lightning.stages.plain_file import PlainFileError, read_plain
from apt_lightning.stages.upgrade import drop_settings, upgrade

M = TypeVar("M", bound=nn.Module)

FORMAT = 2
"""Version of the ``apt`` metadata of a checkpoint; of version 1, see :mod:`apt_lightning.stages.upgrade`."""
PATHS = ("checkpoints", "fusion_ckpt", "siamese_ckpt", "start_ckpt")
"""Settings that name earlier stages' files: where a stage was made from, never followed."""
MAX_WEIGHTS = 10_000
"""Weights and buffers; three ResNet-152 have 2 800."""
MAX_SETTINGS, MAX_TEXT, MAX_NUMBER = 64, 4096, 1e9
"""Entries of a container of settings, letters of a text, and the bound of a number."""


class StageFile(NamedTuple):
    """What a checkpoint of ours holds."""

    path: str
    stage: str
    """As in :mod:`apt_lightning.stages.names`."""
    networks: dict[str, Any]
    """Plain-data specifications of all networks in the file."""
    hparams: dict[str, Any]
    state: dict[str, Tensor]
    metadata: dict[str, Any]
    """The whole ``apt`` metadata: traits, versions, text source, conformal intervals."""
    training_clips: TrainingClips | None
    """What the training clips were like; None in files of earlier versions."""

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """Entries of the state whose name starts with ``prefix.``, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.state.items() if name.startswith(start)}


def read_stage(path: str | os.PathLike[str], *stages: str) -> StageFile:
    """Read a checkpoint and check what it claims to be, see :func:`read_checkpoint`.

    Args:
        path: Checkpoint file; folder of a stage, run or ``apt export``, see
            :func:`~apt_lightning.stages.find.find_checkpoint`; or ``hf://owner/name``, if the hub's cache has it.
        stages: Stage names that are allowed; any if none is given.

    Raises:
        CheckpointError: If the file is absent, damaged, not ours, of another stage, or of another trait order.
    """
    path = find_checkpoint(path)
    content = read_checkpoint(path, *stages)
    metadata = content["apt"]
    return StageFile(
        str(path),
        metadata["stage"],
        metadata["networks"],
        content["hyper_parameters"],
        content["state_dict"],
        metadata,
        _training_clips(content),
    )


def read_checkpoint(path: str | os.PathLike[str], *stages: str) -> dict[str, Any]:
    """Read a whole checkpoint, as plain data only, and check all of it that is used anywhere.

    The one place where checkpoints enter. Nothing in the file names what is imported, and no path in it is followed:
    the settings come without those that name classes, and with None for earlier stages' files.

    Args:
        path: As of :func:`read_stage`.
        stages: Stage names that are allowed; any if none is given.

    Raises:
        CheckpointError: If the file is absent, damaged, not ours, of another stage, or of another trait order.
    """
    path = find_checkpoint(path)
    hint = " or ".join(f"`{command_of(stage)}`" for stage in stages) or "`apt run`"
    if not Path(path).is_file() and not Path(path, CONFIG).is_file():
        name = f"stage {'/'.join(stages)}" if stages else "any stage"
        raise CheckpointError(f"no checkpoint of {name} at {path}; make it with {hint}")
    try:
        content = read_model(path) if Path(path).is_dir() else read_plain(path)
    except PlainFileError as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({error}); make it again with {hint}") from None
    metadata = content.get("apt") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path} is not a checkpoint of this program; make one with {hint}")
    version = metadata.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise CheckpointError(f"{path} has format {_short(version)}, this program reads 1 to {FORMAT}")
    if version == 1:
        upgrade(content)
    stage = metadata.get("stage")
    if not isinstance(stage, str) or not is_stage(stage) or (stages and not fits(stage, *stages)):
        raise CheckpointError(
            f"{path} is a checkpoint of stage {_short(stage)}, but {' or '.join(stages) or 'one of 1 to 4'} is needed;"
            f" make it with {hint}"
        )
    if not isinstance(metadata.get("traits"), list) or metadata["traits"] != list(TRAITS):
        raise CheckpointError(f"{path} orders the traits {_short(metadata.get('traits'))}, this program {list(TRAITS)}")
    hparams = content.get("hyper_parameters")
    if not isinstance(metadata.get("networks"), dict) or not isinstance(hparams, dict):
        raise CheckpointError(f"{path} does not say what its networks are; make it again with {hint}")
    drop_settings(hparams)
    hparams = {str(key): value for key, value in hparams.items() if not str(key).startswith("_")}
    content["hyper_parameters"] = {k: None if k in PATHS else value for k, value in hparams.items()}
    try:
        made_by = content.get("pytorch-lightning_version", "2.0")
        if not isinstance(made_by, str) or not re.fullmatch(r"2\.[0-9a-z.+]{1,30}", made_by):
            raise CheckpointError(f"it is of Lightning {_short(made_by)}, not 2")
        _check_state(content["state_dict"])
        _check_settings(metadata["networks"], "networks")
        _check_settings(hparams, "settings")
        _check_settings({key: value for key, value in metadata.items() if key != "networks"}, "description")
        if "conformal" in metadata:
            from apt_lightning.evaluation.conformal import Conformal

            Conformal.from_dict(metadata["conformal"])
        _training_clips(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}; make it again with {hint}") from None
    return cast(dict[str, Any], content)


def _short(value: object) -> str:
    return ascii(value)[:80]


def _check_state(state: dict[Any, Any]) -> None:
    """Names and types of weights and buffers, finite numbers, five traits, and a word for each word vector."""
    if len(state) > MAX_WEIGHTS:
        raise CheckpointError(f"it holds {len(state)} weights, at most {MAX_WEIGHTS} are read")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{_short(name)} is no tensor")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"it holds NaN or infinite values in {_short(name)}")
        if name in ("trait_mean", "trait_sd", "head.bias") and value.shape != (len(TRAITS),):
            raise CheckpointError(f"{name} has the shape {list(value.shape)}, not one number a trait")
        if name.endswith(".words") and value.dtype == torch.uint8:
            table = state.get(f"{name.removesuffix('words')}table")
            try:
                words = bytes(value.flatten().numpy()).decode("utf-8").split("\n") if value.numel() else []
            except UnicodeDecodeError:
                raise CheckpointError(f"{_short(name)} is not UTF-8") from None
            if not isinstance(table, Tensor) or table.ndim != 2 or len(table) != len(words) + 2:
                raise CheckpointError(f"{_short(name)} does not hold one word for each word vector")


def _training_clips(content: dict[str, Any]) -> TrainingClips | None:
    arrays = content.get("training_clips")
    if arrays is None:
        return None
    if not isinstance(arrays, dict) or not all(isinstance(value, Tensor) for value in arrays.values()):
        raise CheckpointError("its description of the training clips is no set of tensors")
    if not all(isinstance(name, str) and torch.isfinite(value).all() for name, value in arrays.items()):
        raise CheckpointError("its description of the training clips holds NaN or infinite values")
    try:
        return TrainingClips.from_arrays({name: value.double().numpy() for name, value in arrays.items()})
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _check_settings(value: Any, name: str, depth: int = 0) -> None:
    """Few and small numbers, so that nothing built from them takes long to find out that the weights do not fit."""
    if isinstance(value, dict | list | tuple):
        if len(value) > MAX_SETTINGS or depth > 12:
            raise CheckpointError(f"{_short(name)} has {len(value)} entries, or parts nested too deep")
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_settings(part, f"{name}.{key}", depth + 1)
    elif isinstance(value, Tensor) or (isinstance(value, str) and len(value) > MAX_TEXT):
        raise CheckpointError(f"{_short(name)} is no setting")
    elif isinstance(value, int | float) and not abs(value) < MAX_NUMBER:  # NaN among them
        raise CheckpointError(f"{_short(name)} is {value}, no setting")


def restore(build: Callable[[], M], weights: Mapping[str, Tensor], path: str) -> M:
    """Build a network that a checkpoint describes, and load its weights strictly.

    It is first built on the meta device: sizes that the weights do not have never become memory.

    Args:
        build: Makes the network from the checkpoint's settings.
        weights: What it must hold.
        path: Of the checkpoint, for the message.

    Raises:
        CheckpointError: If the settings describe no network, or names or shapes do not fit.
    """
    try:
        with torch.device("meta"):
            expected = {name: value.shape for name, value in build().state_dict().items()}
    # Settings of wrong types surface as almost any built-in error.
    except Exception as error:
        reason = ascii(" ".join(str(error).split()))[1:-1][:200]
        raise CheckpointError(f"{path} describes no network of this program: {reason}") from None
    found = {name: value.shape for name, value in weights.items()}
    if found != expected:
        name = next(n for n in [*expected, *found] if found.get(n) != expected.get(n))
        here, there = (_shape(shapes.get(name)) for shapes in (found, expected))
        raise CheckpointError(
            f"the weights in {path} do not fit the network it describes: {_short(name)} is {here}, not {there}"
        )
    network = build()
    network.load_state_dict(weights)
    return network


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def write_atomically(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Save with ``torch.save`` to a temporary name beside ``path``, then rename."""
    with replacing(path) as part:
        torch.save(content, part)


def update_metadata(path: str | os.PathLike[str], training_clips: TrainingClips, **values: Any) -> None:
    """Add to a finished checkpoint what the training clips were like, and plain data to its ``apt`` metadata."""
    content = read_checkpoint(path)
    content["apt"].update(values)
    arrays = training_clips.to_arrays()
    content["training_clips"] = {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}
    write_atomically(content, path)
