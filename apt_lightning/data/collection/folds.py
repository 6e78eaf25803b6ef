"""Source-disjoint folds, kept as a small file of source ids so that others can use the same ones."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.files import write_json

FORMAT = "apt-lightning folds 1"


@dataclass(frozen=True)
class Folds:
    """k groups of source ids. Fold i tests on group i, validates on the next group and trains on the rest.

    Raises:
        DataError: If there are fewer than three groups, one is empty, or a source is in two.
    """

    seed: int
    """Seed that made the groups."""
    groups: tuple[tuple[str, ...], ...]
    """Source ids of each group, sorted."""

    def __post_init__(self) -> None:
        if len(self.groups) < 3 or not all(self.groups):
            raise DataError(f"folds need three groups or more, none empty; got sizes {[len(g) for g in self.groups]}")
        source, times = Counter(s for group in self.groups for s in group).most_common(1)[0]
        if times > 1:
            raise DataError(f"source {source!r} is in {times} groups of the folds; it may be in one only")

    def __len__(self) -> int:
        return len(self.groups)

    def splits(self, sources: Sequence[str], fold: int) -> list[str]:
        """Say which split each clip is in.

        Args:
            sources: Source id of each clip.
            fold: 1 to the number of folds.

        Returns:
            "train", "validation" or "test" for each clip.

        Raises:
            UsageError: If there is no such fold.
            DataError: If a source is in no group.
        """
        if not 1 <= fold <= len(self):
            raise UsageError(f"there is no fold {fold}: folds are numbered 1 to {len(self)}")
        group_of = {source: i for i, group in enumerate(self.groups) for source in group}
        unknown = sorted({source for source in sources if source not in group_of})
        if unknown:
            raise DataError(f"{len(unknown)} sources are in no fold, as {unknown[0]!r}; make the folds from this data")
        names = {fold - 1: "test", fold % len(self): "validation"}
        return [names.get(group_of[source], "train") for source in sources]


def grouped_folds(sources: Sequence[str], k: int = 5, seed: int = 0) -> Folds:
    """Cut the sources of a data set into k groups of about as many clips each.

    Depends on the set of sources, their clip counts and the seed, not on the order of the clips.

    Args:
        sources: Source id of each clip.
        k: Number of groups, at least 3: a fold needs a test, a validation and a training part.
        seed: Seed of the order in which sources are dealt out.

    Raises:
        UsageError: If k is below 3 or above the number of sources.

    Example:
        >>> folds = grouped_folds(["a", "a", "b", "c"], k=3)
        >>> sorted(folds.splits(["a", "b", "c"], fold=1))
        ['test', 'train', 'validation']
    """
    clips = Counter(sources)
    if not 3 <= k <= len(clips):
        raise UsageError(f"the number of folds must lie between 3 and {len(clips)}, the number of sources; got {k}")
    names = sorted(clips)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    groups: list[list[str]] = [[] for _ in range(k)]
    sizes = [0] * k
    for source in sorted(shuffled, key=lambda s: -clips[s]):  # stable: equal sizes stay shuffled
        smallest = sizes.index(min(sizes))
        groups[smallest].append(source)
        sizes[smallest] += clips[source]
    return Folds(seed, tuple(tuple(sorted(group)) for group in groups))


def write_folds(path: str | os.PathLike[str], folds: Folds) -> None:
    """Write folds as JSON.

    Args:
        path: File to write.
        folds: What to write.
    """
    write_json(path, {"format": FORMAT, "seed": folds.seed, "groups": folds.groups})


def read_folds(path: str | os.PathLike[str]) -> Folds:
    """Read folds.

    Args:
        path: File from :func:`write_folds`.

    Raises:
        DataError: If the file is of another kind or breaks a rule of :class:`Folds`.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        groups = tuple(tuple(str(source) for source in group) for group in content["groups"])
        seed = int(content["seed"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is no folds file ({error}); expected the format {FORMAT!r}") from None
    return Folds(seed, groups)
