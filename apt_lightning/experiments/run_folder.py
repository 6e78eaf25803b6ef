"""The folder of ``apt run``: where each stage of each seed and fold lies, and its prediction tables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from apt_lightning.common.errors import UsageError
from apt_lightning.evaluation.predictions import Predictions, read_predictions
from apt_lightning.stages.names import PART


class Part(NamedTuple):
    """What was trained of one seed and split."""

    path: Path
    """Holds a folder a unit."""
    seed: str
    """As ``seed42``."""


@dataclass(frozen=True)
class RunFolder:
    """``seed42/stage2/`` and the like; with folds ``seed42_fold1/stage2/``."""

    path: Path

    def part(self, seed: int, fold: int | None = None) -> Path:
        """Folder of one seed and fold, which counts from 1; None for the official split."""
        return self.path / (f"seed{seed}" if fold is None else f"seed{seed}_fold{fold}")

    @property
    def parts(self) -> list[Part]:
        """All that are there, in the order of their numbers."""
        found = [(folder, match) for folder in self.path.glob("seed*") if (match := PART.fullmatch(folder.name))]
        found.sort(key=lambda pair: (int(pair[1][2]), int(pair[1][3] or 0)))
        return [Part(folder, match[1]) for folder, match in found]

    def folders(self, unit: str) -> list[Path]:
        """Folders of a unit that are there, in the order of the parts."""
        return [folder for part in self.parts if (folder := part.path / unit).is_dir()]

    def files(self, unit: str, name: str) -> list[Path]:
        """Files of a unit, or of all with ``*``, in the order of the parts."""
        return [file for part in self.parts for file in sorted(part.path.glob(f"{unit}/{name}"))]


def find_predictions(
    path: str | os.PathLike[str], split: str = "test", stage: str = "stage4"
) -> dict[str, Predictions]:
    """Read the predictions of a stage.

    Args:
        path: A prediction table, a stage's folder, or the folder of ``apt run``.
        split: ``test`` or ``validation``.
        stage: Which stage of a run; not used for a table or a stage's folder.

    Returns:
        Seed, as ``seed42``, to its predictions; the empty string where ``path`` is not a run.

    Raises:
        UsageError: If there are none, or a seed lacks a fold that others have.
        DataError: If a table is damaged.
    """
    path, name = Path(path), f"predictions_{split}.csv"
    if path.is_file():
        return {"": read_predictions(path)}
    if (path / name).is_file():
        return {"": read_predictions(path / name)}
    run = RunFolder(path).parts
    missing = [file for part in run if not (file := part.path / stage / name).is_file()]
    if not run:
        raise UsageError(
            f"{path} holds no {name}; give a prediction table, a stage's folder or the folder of `apt run`"
        )
    if missing:
        raise UsageError(f"no {missing[0]}; `apt run` goes on where it stopped, or give another stage")
    parts: dict[str, list[Predictions]] = {}
    for part in run:
        parts.setdefault(part.seed, []).append(read_predictions(part.path / stage / name))
    return {seed: Predictions.join(tables) for seed, tables in parts.items()}
