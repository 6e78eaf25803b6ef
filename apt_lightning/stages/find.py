"""The checkpoint that a path means."""

from __future__ import annotations

import os
import re
from pathlib import Path

from apt_lightning.common.errors import CheckpointError
from apt_lightning.stages.names import BEST


def find_checkpoint(path: str | os.PathLike[str]) -> str:
    """The file itself; of a stage's folder its ``best.ckpt``; of a run, or a seed of it, that of the last stage.

    Args:
        path: File or folder. Of several seeds or folds the first is taken.

    Raises:
        CheckpointError: If a folder holds none.
    """
    folder = Path(path)
    if not folder.is_dir():
        return os.fspath(path)
    for pattern in (BEST, f"stage*/{BEST}", f"seed*/stage*/{BEST}"):
        if found := list(folder.glob(pattern)):
            return str(min(found, key=_order))
    raise CheckpointError(f"{folder} holds no {BEST}; give a checkpoint, or the folder of a stage or of an `apt run`")


def _order(file: Path) -> tuple[object, ...]:
    """Stage 4 before stage 2, all modalities (``stage2``) before some (``stage2_av``), seed 9 before seed 10."""
    stage = file.parent.name
    number = next(iter(re.findall(r"\d+", stage)), "0")
    return -int(number), len(stage), [int(n) for n in re.findall(r"\d+", file.parent.parent.name)], str(file)
