"""A checkpoint as a folder for others."""

from __future__ import annotations

import os
import tempfile
from importlib.resources import files
from pathlib import Path

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import write_text
from apt_lightning.stages.checkpoint import read_checkpoint
from apt_lightning.stages.export.card import model_card
from apt_lightning.stages.export.folder import write_model
from apt_lightning.stages.find import find_checkpoint


def export(
    checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str], onnx: bool = False
) -> tuple[list[Path], float | None]:
    """Write a trained model as a folder, whole or not at all.

    Args:
        checkpoint: Of any stage; the files of earlier stages are not needed.
        folder: A new or empty folder; its name is the model's.
        onnx: Add the networks as ``model.onnx`` and a ``score.py`` that needs nothing of ours; not for stage 3.

    Returns:
        The files: ``model.safetensors``, ``config.json`` and ``README.md``, the model card, and those of ONNX; and the
        largest difference of the ONNX graph from the checkpoint
        (:func:`apt_lightning.stages.export.graph.write_onnx`).

    Raises:
        CheckpointError: If the checkpoint cannot be read, has no traits, or the graph is not the same model.
        UsageError: If the folder holds something, or the extra ``export`` is not installed.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is there already; give a new folder, or remove it")
    checkpoint = find_checkpoint(checkpoint)
    content = read_checkpoint(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch, target.name)
        write_model(part, content)
        difference = _write_onnx(checkpoint, part) if onnx else None
        card = model_card(target.name, content, Path(checkpoint).parent, difference)
        write_text(part / "README.md", card)
        part.replace(target)
    return sorted(target.iterdir()), difference


def _write_onnx(checkpoint: str, folder: Path) -> float:
    from apt_lightning.stages.export.graph import write_onnx
    from apt_lightning.stages.scorer import Scorer

    scorer = Scorer(checkpoint)
    write_text(folder / "words.txt", "".join(f"{word}\n" for word in scorer.encoders.vocabulary or ()))
    write_text(folder / "score.py", (files(__package__) / "standalone.py").read_text(encoding="utf-8"))
    return write_onnx(scorer, folder / "model.onnx")
