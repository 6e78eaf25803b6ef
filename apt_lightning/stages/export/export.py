"""A checkpoint as a folder for others."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from apt_lightning.common.errors import UsageError
from apt_lightning.stages.checkpoint import read_checkpoint
from apt_lightning.stages.export.folder import write_model


def export(checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Path]:
    """Write a trained model as a folder, whole or not at all.

    Args:
        checkpoint: Of any stage; the files of earlier stages are not needed.
        folder: A new or empty folder.

    Returns:
        The files: ``model.safetensors``, ``config.json`` and ``README.md``, the model card.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        UsageError: If the folder holds something, or the extra ``export`` is not installed.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is there already; give a new folder, or remove it")
    content = read_checkpoint(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch, target.name)
        write_model(part, content)
        part.replace(target)
    return sorted(target.iterdir())
