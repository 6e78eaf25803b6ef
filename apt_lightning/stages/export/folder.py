"""The weights of a checkpoint as safetensors, everything else as JSON: a folder that any program can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import replacing, write_json
from apt_lightning.stages.plain_file import DTYPES, MAX_FILE, MAX_PICKLE, PlainFileError, check_size

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""Files of the folder, of which the second is the last written."""
ENTRIES = ("apt", "hyper_parameters", "pytorch-lightning_version")
"""What ``config.json`` holds of a checkpoint; its optimizer and loops stay behind."""
CLIPS = "training_clips"
"""Tensors beside the weights: what the training clips were like."""


def write_model(folder: Path, content: dict[str, Any]) -> None:
    """Write weights and description.

    Args:
        folder: Made if absent.
        content: As :func:`apt_lightning.stages.checkpoint.read_checkpoint` gives it.

    Raises:
        UsageError: If the extra ``export`` is not installed.
    """
    clips = {f"{CLIPS}.{name}": value for name, value in content.get(CLIPS, {}).items()}
    state = {name: value.contiguous().clone() for name, value in (content["state_dict"] | clips).items()}
    save = _safetensors().save_file
    with replacing(folder / WEIGHTS) as part:
        save(state, part, metadata={"format": "pt"})
    told = {name: content[name] for name in ENTRIES if name in content}
    if words := told["apt"].get("text_source"):
        of_file = {"path": Path(words["path"]).name} if "path" in words else {}
        told["apt"] = told["apt"] | {"text_source": words | of_file}  # where it lay is nobody's business
    write_json(folder / CONFIG, _without_places(told))


def _without_places(told: Any, of_set: bool = False) -> Any:
    """The same, without the folders in which the weights and sources of feature sets lay."""
    if isinstance(told, dict):
        return {
            key: _without_places(value, of_set or key in ("origin", "from") or "origin" in told)
            for key, value in told.items()
        }
    if isinstance(told, list):
        return [_without_places(value, of_set) for value in told]
    if of_set and isinstance(told, str):
        kind, colon, name = told.rpartition(":")
        return f"{kind}{colon}{Path(name).name}" if name.startswith("/") else told
    return told


def read_model(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_model` wrote, as plain data and tensors that no larger file stands behind.

    What it claims is checked by :func:`apt_lightning.stages.checkpoint.read_checkpoint`, as of any checkpoint.

    Raises:
        PlainFileError: If it is damaged, or would cost more than a checkpoint may.
        UsageError: If safetensors is not installed.
    """
    config, weights = Path(folder, CONFIG), Path(folder, WEIGHTS)
    for file, most in ((config, MAX_PICKLE), (weights, MAX_FILE)):
        if not file.is_file():
            raise PlainFileError(f"it holds no {file.name}")
        if file.stat().st_size > most:
            raise PlainFileError(f"its {file.name} is larger than {most >> 20} MiB")
    load = _safetensors().load_file
    try:
        content = json.loads(config.read_bytes())
        state: dict[str, Tensor] = load(weights)
    # A damaged file surfaces as ValueError, RecursionError, or an error of safetensors' own.
    except Exception as error:
        raise PlainFileError(ascii(" ".join(str(error).split()))[1:-1][:200]) from None
    if not isinstance(content, dict):
        raise PlainFileError(f"its {CONFIG} is no description")
    if strange := [name for name, value in state.items() if value.dtype not in DTYPES]:
        raise PlainFileError(f"{ascii(strange[0])[:80]} is of a type that no checkpoint has")
    check_size(content)
    clips = {name.removeprefix(f"{CLIPS}."): state.pop(name) for name in [*state] if name.startswith(f"{CLIPS}.")}
    told = {name: content[name] for name in ENTRIES if name in content}
    return told | {"state_dict": state} | ({CLIPS: clips} if clips else {})


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError:
        raise UsageError("safetensors is not installed: pip install 'apt-lightning[export]'") from None
    return safetensors.torch
