"""What is asked for beside what a checkpoint holds: the file is obeyed, and a contradiction is an error."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jsonargparse import Namespace

from apt_lightning.common.errors import UsageError
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import PATHS, StageFile
from apt_lightning.stages.load import module_class


def import_class(path: str) -> type[BaseModule]:
    """The class that the command line or its YAML names."""
    module, _, name = path.rpartition(".")
    found: type[BaseModule] = getattr(import_module(module), name)
    return found


def model_class(file: StageFile, asked: Namespace | None, imported: type[BaseModule] | None) -> type[BaseModule]:
    """The class that a checkpoint is to be loaded as, if all that is asked for agrees with it.

    Args:
        file: The checkpoint.
        asked: ``class_path`` and ``init_args`` that were given, without defaults; None if none were.
        imported: The class that the command line or its YAML names.

    Raises:
        UsageError: If stage or a setting is another one.
    """
    if asked is None or imported is None:
        return module_class(file)
    settings: dict[str, Any] = vars(asked["init_args"]) if asked.get("init_args") else {}
    modality = settings.get("modality", file.hparams.get("modality"))
    if not issubclass(imported, module_class(file)) or modality != file.hparams.get("modality"):
        asked_for = imported.__name__ if modality is None else f"{imported.__name__} of {modality}"
        raise UsageError(
            f"{file.path} is a checkpoint of stage {file.stage!r}, but {asked_for} is asked for; give the stage's own"
            " `--config`, or none: the file says what it is"
        )
    for name, value in settings.items():
        if name in PATHS or (name == "hidden_dims" and file.hparams.get("embeddings") == "none"):
            continue  # the file carries the earlier stages; the width of that control follows from them
        held = file.hparams.get(name)
        if isinstance(value, Namespace) and isinstance(held, dict):
            value = held | vars(value)
        if value != held:
            raise UsageError(
                f"`--model.{name}` is {value} here and {held} in {file.path}; drop it, for the file is obeyed, or train"
                " anew in another `--run_dir`"
            )
    return imported
