"""Checks an entry whose labels and predictions are of real people: they stay where they are, the metrics are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import file_digest
from apt_lightning.evaluation.external.match import read_submission
from apt_lightning.evaluation.external.reference import read_reference
from apt_lightning.evaluation.leaderboard.entries import read_entry
from apt_lightning.evaluation.metrics import TRAIT_COLUMNS, score_by_seen, score_table
from apt_lightning.evaluation.tables import number

TOLERANCE = 0.00005
"""Half of the last of four digits."""


class Check(NamedTuple):
    """What was found of an entry."""

    text: str
    """As it is printed."""
    wrong: list[str]
    """What is; empty where metrics and sums are right."""
    must: dict[str, object]
    """What the entry must hold."""


def check_entry(
    path: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str],
    columns: str | None = None,
) -> Check:
    """Compare an entry with its predictions.

    Args:
        path: The entry.
        predictions: Its owner's files, one a seed.
        data: The labels.
        columns: As for ``apt evaluate``.

    Raises:
        DataError: If a file cannot be read.
        UsageError: If the numbers of files and seeds differ, or a file is a folder, which has no sum.
    """
    entry = read_entry(path)
    if len(predictions) != len(entry.seeds):
        raise UsageError(f"{len(predictions)} files for the {len(entry.seeds)} seeds of {path}; give one a seed")
    folder = next((file for file in predictions if Path(file).is_dir()), None)
    if folder is not None:
        raise UsageError(f"{folder} is a folder; join its files into one, whose sum the entry can hold")
    reference = read_reference(data)
    found = [read_submission(file, reference, columns=columns) for file in predictions]
    sums = [file_digest(Path(file)) for file in predictions]
    blocks, wrong = [], []
    for one in found:
        wrong += [f"{one.name}: {remark}" for remark in one.remarks]
        blocks += [score_table(scores, f"{one.name}, {part}") for part, scores in score_by_seen(one.test).items()]
    values = np.mean([score_by_seen(one.test, resamples=0)["all"].values["1-MAE"] for one in found], axis=0)
    metrics = {column: round(float(value), 4) for column, value in zip(TRAIT_COLUMNS, values, strict=True)}
    for column, value in zip(TRAIT_COLUMNS, values.tolist(), strict=True):
        claimed = entry.metrics.get(column)
        if claimed is None:
            wrong.append(f"the entry has no metric for {column}")
        elif not abs(claimed - value) <= TOLERANCE + 1e-9:
            wrong.append(f"{column} is {number(value)}, the entry says {number(claimed)}")
    if entry.sha256 != sums:
        wrong.append("the entry's sha256 are not those of the files")
    must: dict[str, object] = {"metrics": metrics, "sha256": sums}
    form = json.dumps(must, indent=1)
    verdict = "wrong:\n" + "\n".join(f"- {line}" for line in wrong) if wrong else "right: metrics and sums agree."
    return Check("\n\n".join([*blocks, f"What the entry must hold:\n{form}", f"{path}: {verdict}"]), wrong, must)
