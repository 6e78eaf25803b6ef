"""Entries of the leaderboard: a small JSON a system, which says what a reader must know to believe a score."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAIT_CODES

PROTOCOLS = ("synthetic", "first-impressions")
"""The synthetic set of :func:`~apt_lightning.evaluation.leaderboard.page.synthetic_reference`, or the official split of
First Impressions V2."""
TEXTS = {
    "name": "what the system is called",
    "how": "the command or link that makes its predictions",
    "pretrained": "what its weights were pretrained on, or none",
    "other_data": "what else it was trained on, or none",
    "selected_on": "train, validation or test: where epoch, settings and system were chosen",
    "protocol": f"{' or '.join(PROTOCOLS)}",
}
"""Keys that must hold a text."""
SELECTED_ON = ("train", "validation", "test")


@dataclass(frozen=True)
class Entry:
    """One system."""

    path: Path
    name: str
    how: str
    pretrained: str
    other_data: str
    selected_on: str
    protocol: str
    paper: str | None
    seeds: list[int]
    predictions: list[Path]
    """A file a seed, or one of their mean, beside the entry; empty for data whose predictions stay with their owner."""
    metrics: dict[str, float]
    """Claimed 1-MAE by trait and ``mean``, where predictions are not here."""
    sha256: list[str]
    """Of the owner's files of predictions, one a seed."""


def read_entry(path: str | os.PathLike[str]) -> Entry:
    """Read and check an entry.

    Args:
        path: JSON file.

    Raises:
        DataError: If a key is missing or wrong, or predictions of real people lie beside it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; docs/evaluation.md shows an entry") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: an entry is a JSON object; docs/evaluation.md shows one")
    known = {*TEXTS, "paper", "seeds", "predictions", "metrics", "sha256"}
    unknown = sorted(content.keys() - known)
    if unknown:
        raise DataError(f"{path}: unknown key {unknown[0]!r}; an entry has {', '.join(sorted(known))}")
    for key, meaning in TEXTS.items():
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise DataError(f"{path}: {key} must say {meaning}")
    for key, allowed in (("selected_on", SELECTED_ON), ("protocol", PROTOCOLS)):
        if content[key] not in allowed:
            raise DataError(f"{path}: {key} is {content[key][:40]!r}; it is one of {', '.join(allowed)}")
    seeds = content.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise DataError(f"{path}: seeds must list the training seeds, as [42]")
    if not isinstance(content.get("paper"), str | None):
        raise DataError(f"{path}: paper must be a text or null")
    files, sums = _texts(path, content, "predictions"), _texts(path, content, "sha256")
    metrics = _metrics(path, content.get("metrics", {}))
    if content["protocol"] == "synthetic" and len(files) not in (1, len(seeds)):
        raise DataError(
            f"{path}: {len(files)} files of predictions for {len(seeds)} seeds; give one a seed, or their mean"
        )
    if content["protocol"] == "first-impressions" and files:
        raise DataError(f"{path}: predictions of real people stay with their owner; give their sha256 and metrics")
    return Entry(
        path,
        **{key: content[key] for key in TEXTS},
        paper=content.get("paper"),
        seeds=seeds,
        predictions=[path.parent / file for file in files],
        metrics=metrics,
        sha256=sums,
    )


def _texts(path: Path, content: dict[str, Any], key: str) -> list[str]:
    values = content.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise DataError(f"{path}: {key} must be a list of texts, one a seed")
    if key == "predictions" and any(Path(value).name != value for value in values):
        raise DataError(f"{path}: predictions must be names of files beside the entry")
    return values


def _metrics(path: Path, values: Any) -> dict[str, float]:
    allowed = (*TRAIT_CODES, "mean")
    right = isinstance(values, dict) and all(
        key in allowed and isinstance(value, int | float) and 0 <= value <= 1 for key, value in values.items()
    )
    if not right:
        raise DataError(f"{path}: metrics must hold 1-MAE under any of {', '.join(allowed)}")
    return dict(values)
