"""The clips that predictions are about: names, sources, splits and labels, of a store or a data set without media."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TraitStatistics, trait_statistics
from apt_lightning.data.collection.collection import SYNTHETIC, read_collection
from apt_lightning.data.store.reader import Store

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reference:
    """Labelled clips of all splits."""

    name: str
    """Where they are from, for people."""
    clips: list[str]
    sources: list[str]
    splits: list[str]
    labels: FloatArray
    """(N, 5) in [0, 1]; NaN where missing."""
    demographics: dict[str, dict[str, str]]
    synthetic: bool = False
    """Whether the clips are drawn; no score then says anything about people."""

    @cached_property
    def training(self) -> BoolArray:
        """(N,) fully labelled clips of the training split."""
        inside: BoolArray = np.array([split == "train" for split in self.splits], dtype=bool)
        return inside & ~np.isnan(self.labels).any(axis=1)

    @cached_property
    def seen(self) -> BoolArray:
        """(N,) whether the training split holds a clip of the same source."""
        known = {source for source, split in zip(self.sources, self.splits, strict=True) if split == "train"}
        return np.array([source in known for source in self.sources], dtype=bool)

    @property
    def statistics(self) -> TraitStatistics | None:
        """Of the training labels; None without any: then nothing can be said of low and high."""
        return trait_statistics(self.labels[self.training]) if self.training.any() else None


def read_reference(data: str | os.PathLike[str]) -> Reference:
    """Read the clips and labels of a store, of a folder with the official label files, or of a CSV.

    Args:
        data: As for ``apt prepare``, or a store. Media need not be there.

    Raises:
        DataError: If there is no clip, or none has a label.
        StoreError: If a store is damaged.
    """
    path = Path(data)
    if path.suffix == ".pkl":
        raise DataError(f"{path}: give the folder that holds it and annotation_training.pkl, which cuts low and high")
    if (path / "manifest.json").is_file():
        store = Store.open(path)
        clips, synthetic = store.clips, store.synthetic
        rows = [(clip.name, clip.source, clip.split, clip.traits) for clip in clips]
        demographics = {clip.name: clip.demographics for clip in clips if clip.demographics}
    else:
        found = read_collection(path)
        rows = [(clip.name, clip.source, clip.split, clip.traits) for clip in found.clips]
        demographics, synthetic = found.demographics, (path / SYNTHETIC).is_file()
    names, sources, splits, traits = (list(column) for column in zip(*rows, strict=True))
    labels = np.array(traits, dtype=np.float64).reshape(-1, 5)
    if np.isnan(labels).all():
        raise DataError(f"{path}: none of its {len(names)} clips has a label; predictions can be judged by labels only")
    return Reference(str(path), names, sources, splits, labels, demographics, synthetic)
