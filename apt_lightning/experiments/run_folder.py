"""Finds the prediction tables of a run: one set of clips a seed, the folds of a seed put together."""

from __future__ import annotations

import os
import re
from pathlib import Path

from apt_lightning.common.errors import UsageError
from apt_lightning.evaluation.predictions import Predictions, read_predictions

_RUN = re.compile(r"(seed\d+)(_fold\d+)?")


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
    folders = {folder: match for folder in sorted(path.glob("seed*")) if (match := _RUN.fullmatch(folder.name))}
    files = {folder: folder / stage / name for folder in folders}
    missing = [file for file in files.values() if not file.is_file()]
    if not files:
        raise UsageError(
            f"{path} holds no {name}; give a prediction table, a stage's folder or the folder of `apt run`"
        )
    if missing:
        raise UsageError(f"no {missing[0]}; `apt run` goes on where it stopped, or give another stage")
    parts: dict[str, list[Predictions]] = {}
    for folder, match in folders.items():
        parts.setdefault(match[1], []).append(read_predictions(files[folder]))
    return {seed: Predictions.join(tables) for seed, tables in parts.items()}
