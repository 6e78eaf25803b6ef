"""Files of weights: found without a network, told apart by SHA-256, read without running anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import file_digest

KEPT = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files of a model folder that are read or fetched: weights, settings, vocabularies; never code or pickles."""


def weights_file(path: str | None, encoder: str) -> Path:
    """The file given by ``--weights``.

    Raises:
        UsageError: If none was given or it is not there.
    """
    if path is None:
        raise UsageError(f"{encoder} needs `--weights FILE` (.safetensors, or .pth of plain tensors)")
    if not Path(path).is_file():
        raise UsageError(f"no file of weights at {path}; give it by `--weights FILE`")
    return Path(path)


def model_folder(name: str, weights: str | None, allow_download: bool) -> Path:
    """A folder of config, safetensors and processor: the one given, or that of a hub's model in its local cache.

    Raises:
        UsageError: If it is not there.
    """
    folder = Path(weights or name)
    if folder.is_dir():
        return folder
    if weights is not None or name.startswith((".", "/", "~")):
        raise UsageError(f"no model folder at {folder}; it holds config.json, model.safetensors and the processor")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(KEPT), local_files_only=not allow_download))
    except Exception as error:  # the hub's client raises many kinds
        raise UsageError(
            f"{name} is no folder here and not in the local cache ({type(error).__name__}); copy its folder here and"
            " give it by `--weights FOLDER`, or fetch it with `--allow-download`"
        ) from error


def digests(*files: Path) -> dict[str, str]:
    """SHA-256 of files by their names."""
    return {file.name: file_digest(file) for file in sorted(files)}


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a model folder on which its values rest."""
    return digests(*(file for pattern in KEPT for file in folder.glob(pattern)))


def read_state(file: Path) -> dict[str, Any]:
    """Tensors of a ``.safetensors``, or of a file of ``torch.save`` that holds nothing but tensors.

    Raises:
        UsageError: If it is damaged or holds more.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{file} holds no plain tensors ({str(error).splitlines()[0].partition('. ')[0]}); save it as .safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"{file} holds no table of tensors; save the model's `state_dict()`")
    return state
