"""Feature sets of a modality as padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apt_lightning.common.errors import StoreError
from apt_lightning.data.store.reader import Store

FloatArray = npt.NDArray[np.float64]


def padded(clips: Sequence[Sequence[npt.NDArray[Any]]], widths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Put the sets of B clips side by side.

    Args:
        clips: (T, L, D) of each of the S sets of each clip; T may be 0.
        widths: L * D of each set.

    Returns:
        Values (B, T, sum of widths) as float32, padded by zeros, and lengths (B, S).
    """
    lengths = np.array([[len(steps) for steps in clip] for clip in clips], np.int64).reshape(-1, len(widths))
    values = np.zeros((len(clips), max(1, int(lengths.max(initial=0))), sum(widths)), np.float32)
    starts = np.cumsum([0, *widths[:-1]])
    for row, clip in zip(values, clips, strict=True):
        for steps, at, width in zip(clip, starts, widths, strict=True):
            row[: len(steps), at : at + width] = steps.reshape(len(steps), width)
    return torch.from_numpy(values), torch.from_numpy(lengths)


class SequenceReader:
    """Reads the steps of one or more feature sets of a modality, memory-mapped.

    Args:
        store: An open store.
        modality: Whose sets.
        keys: Name of each set to the digest of its specification; an empty one accepts any.

    Raises:
        StoreError: If a set is absent, or made by another encoder than the one asked for.
    """

    def __init__(self, store: Store, modality: str, keys: Mapping[str, str]) -> None:
        self.sets = [store.feature_set(modality, name) for name in keys]
        for found, key in zip(self.sets, keys.values(), strict=True):
            if key and found.key != key:
                raise StoreError(
                    f"{found.path} is of another encoder, or other settings of it, than the one trained on;"
                    " `apt encode` with those of the checkpoint makes it under another name or anew"
                )
        names = [clip.name for clip in store.clips]
        self.spans = np.stack([one.spans(names) for one in self.sets])
        """(S, N, 2) first and end step of each set for each clip."""
        used = np.array([clip.status != "left out" for clip in store.clips], bool)
        self.present = (np.diff(self.spans, axis=-1)[..., 0] > 0).any(axis=0) & used
        """(N,) whether a clip has a step of any set."""

    @property
    def sums(self) -> list[str]:
        """Digest of the content of each set."""
        return [one.sha256 for one in self.sets]

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, T, sum of L * D) as float32, padded by zeros, and lengths (B, S)."""
        spans = self.spans[:, rows.numpy()].transpose(1, 0, 2)
        widths = [int(np.prod(one.values.shape[1:])) for one in self.sets]
        steps = [[one.values[slice(*ends)] for one, ends in zip(self.sets, clip, strict=True)] for clip in spans]
        return padded(steps, widths)

    def moments(self, rows: Tensor) -> tuple[FloatArray, FloatArray]:
        """Mean and population standard deviation, (sum of L * D,), over all steps of some clips; 1 where it is 0."""
        means, deviations = [], []
        for one, ends in zip(self.sets, self.spans[:, rows.numpy()], strict=True):
            width = int(np.prod(one.values.shape[1:]))
            total, squares, count = np.zeros(width), np.zeros(width), 0
            for start, end in ends:
                steps = one.values[start:end].reshape(end - start, width).astype(np.float64)
                total, squares, count = total + steps.sum(axis=0), squares + (steps**2).sum(axis=0), count + len(steps)
            mean = total / max(1, count)
            sd = np.sqrt(np.maximum(squares / max(1, count) - mean**2, 0))
            means.append(mean)
            deviations.append(np.where(sd > 1e-8, sd, 1.0))
        return np.concatenate(means), np.concatenate(deviations)
