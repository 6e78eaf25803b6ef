"""What a stage receives: a batch of clips."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """Raw input of one modality, for B clips."""

    values: Tensor
    """(B, N) vectors, (B, F, 3, H, W) frames, (B, K) word numbers, or (B, T, sum of L * D) steps of feature sets.
    Rows of absent clips are zero."""
    length: Tensor | None
    """(B,) frames or tokens that count, (B, S) steps of each set; None for vectors."""
    augment: bool = False
    """Whether the encoder may change crop and colours of the frames: in training."""


class Batch(NamedTuple):
    """B clips; either ``inputs`` or ``features`` is filled."""

    positions: Tensor
    """(B,) positions of the clips in the store."""
    traits: Tensor
    """(B, 5) labels in [0, 1]; NaN where a clip has none."""
    present: Tensor
    """(B, M) bool: which of the stage's M modalities a clip has."""
    inputs: dict[str, Inputs]
    """Raw input by modality name; empty where features are cached."""
    features: Tensor | None
    """(B, M, Q) features of the frozen encoders."""
