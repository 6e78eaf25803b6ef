"""Training clips that lie nearest to a scored clip: "scored like these".

Nearest in the space that the scores are read from, which the last layer maps to the traits. A checkpoint holds nothing
of any single clip: the clips are those of a store at hand, and who may not see them shall not get a result with them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import by_trait
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.neighbours import nearest
from apt_lightning.evaluation.training_clips import GRID, TrainingClips
from apt_lightning.networks import ModalityEncoders
from apt_lightning.stages.frozen import frozen_features

FloatArray = npt.NDArray[np.float64]

NEAREST = 5
"""Clips that are named."""


class TrainingExamples:
    """The labelled training clips of a store as a model sees them.

    Features of frozen encoders that the training has left beside the store are read; others are computed and kept.

    Args:
        path: Feature store.
        encoders: Of the model, in eval mode.
        space: Maps features (B, M, Q) and which are present (B, M) to (B, D), without gradients.
        device: Where these run.

    Raises:
        StoreError: If the store cannot be read, lacks a modality, or cannot keep features that it lacks.
        DataError: If it has no training clips with all labels of two sources.
    """

    def __init__(
        self, path: str, encoders: ModalityEncoders, space: Callable[[Tensor, Tensor], Tensor], device: torch.device
    ) -> None:
        store = Store.open(path)
        words, sets = encoders.vocabulary, encoders.sets
        features = frozen_features(
            encoders,
            lambda name: ClipDataset(store, [name], vocabulary=words, sets=sets),
            store.path / "frozen",
            f"{store.fingerprint} 32-true",  # as a training in single precision
            device,
            nullcontext,
        )
        present = ClipDataset(store, encoders.modalities, features, words, sets=sets).present
        labels = np.array([clip.traits for clip in store.clips], dtype=np.float64).reshape(-1, 5)
        training = np.array([clip.split == "train" for clip in store.clips])
        labelled = training & store.present.any(axis=1) & ~np.isnan(labels).any(axis=1)
        rows = np.flatnonzero(labelled & present.any(dim=1).numpy())
        self.clips = [store.clips[i] for i in rows]
        sources = np.array([clip.source for clip in self.clips])
        if len(set(sources)) < 2:
            raise DataError(f"{path} has no labelled training clips of two sources; give the store of the training")
        self.labels = labels[rows]
        """(N, 5)."""
        self._ratings = np.quantile(labels[labelled], GRID, axis=0)
        chosen = torch.from_numpy(rows)
        self._keys: FloatArray = space(features[chosen].to(device), present[chosen].to(device)).double().cpu().numpy()
        every = np.arange(len(rows))
        apart, _ = nearest(self._keys, sources, every, every, other_sources=True)
        self._usual = float(np.median(apart[:, 0]))

    def are_rated_as(self, training_clips: TrainingClips) -> bool:
        """Whether a checkpoint's training clips had these labels."""
        return np.allclose(self._ratings, training_clips.ratings)

    def like(self, place: FloatArray) -> dict[str, Any]:
        """Name the nearest training clips.

        Args:
            place: (D,) of a clip in the space.

        Returns:
            Plain data: ``clips``, from the nearest on, each with ``clip``, ``source``, ``distance`` and its labels
            ``traits``; ``traits``, the mean of these labels; ``sources``, how many sources the clips are of; and
            ``usual_distance``, the median over the training clips of the distance to the nearest of other sources.
        """
        distances = np.linalg.norm(self._keys - place, axis=1)
        rows = np.argsort(distances, kind="stable")[:NEAREST]
        clips = [
            {
                "clip": self.clips[i].name,
                "source": self.clips[i].source,
                "distance": round(float(distances[i]), 3),
                "traits": by_trait(self.labels[i]),
            }
            for i in rows
        ]
        return {
            "clips": clips,
            "traits": by_trait(self.labels[rows].mean(axis=0)),
            "sources": len({self.clips[i].source for i in rows}),
            "usual_distance": round(self._usual, 3),
        }
