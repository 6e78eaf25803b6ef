"""Feature sets of a modality as padded batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apt_lightning.common.errors import StoreError
from apt_lightning.data.store.reader import Store

FloatArray = npt.NDArray[np.float64]


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
        spans = self.spans[:, rows.numpy()]
        lengths = np.diff(spans, axis=-1)[..., 0].T
        widths = [int(np.prod(one.values.shape[1:])) for one in self.sets]
        values = np.zeros((len(rows), max(1, int(lengths.max(initial=0))), sum(widths)), np.float32)
        for one, ends, at, width in zip(self.sets, spans, np.cumsum([0, *widths]), widths, strict=False):
            for i, (start, end) in enumerate(ends):
                values[i, : end - start, at : at + width] = one.values[start:end].reshape(end - start, width)
        return torch.from_numpy(values), torch.from_numpy(np.ascontiguousarray(lengths))

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
