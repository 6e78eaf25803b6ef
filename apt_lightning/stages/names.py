"""Names of the stages: of their configurations, run folders and checkpoints."""

from __future__ import annotations

import re

BEST, LAST = "best.ckpt", "last.ckpt"
"""Files of a run folder: the best epoch by validation, and the newest."""
PART = re.compile(r"(seed(\d+))(?:_fold(\d+))?")
"""Folder of one seed and split in the folder of a whole run: ``seed42``, or with folds ``seed42_fold1``."""
LOCK = "run.lock"
"""Held by the process that writes a run folder."""
STAGE1, STAGE2, STAGE3, STAGE4 = "stage1", "stage2", "stage3", "stage4"
_STAGE = re.compile(r"stage1_[a-z][a-z0-9_]{0,31}|stage[234]")


def stage1(modality: str) -> str:
    """Name of stage 1 for a modality."""
    return f"{STAGE1}_{modality}"


def is_stage(name: str) -> bool:
    """Whether there can be such a stage.

    Example:
        >>> is_stage("stage1_audio"), is_stage("stage4"), is_stage("audio")
        (True, True, False)
    """
    return _STAGE.fullmatch(name) is not None


def fits(stage: str, *allowed: str) -> bool:
    """Whether a stage is one of those allowed; ``stage1`` stands for that of any modality."""
    return stage in allowed or (STAGE1 in allowed and stage.startswith(f"{STAGE1}_"))


def command_of(stage: str) -> str:
    """The command that makes the checkpoint of a stage."""
    return f"apt fit --config {stage}.yaml" if stage != STAGE1 else "apt fit --config stage1_audio.yaml"
