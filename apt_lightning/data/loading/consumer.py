"""What a loader must know of the stage that reads its batches."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from apt_lightning.data.store.reader import Store


class Features(Protocol):
    """Features of all clips of a store, computed before."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, M, Q) features of the clips at ``rows`` (B,)."""


class Consumer(Protocol):
    """A stage, as the loaders see it."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that it reads, in the order of the columns of its batches."""

    @property
    def vocabulary(self) -> list[str] | None:
        """Words that its word numbers stand for; the store's own if None."""

    @property
    def sets(self) -> dict[str, dict[str, str]]:
        """Name and key of the feature sets that it reads in place of a modality's own content, by modality."""

    def features(self, store: Store) -> Features | None:
        """Cached features to read in place of raw inputs; None if it has none."""


class RawConsumer:
    """Reads everything that a store holds, as it is: the data module without a Trainer."""

    vocabulary = None

    def __init__(self, modalities: tuple[str, ...]) -> None:
        self.modalities = modalities
        self.sets: dict[str, dict[str, str]] = {}

    def features(self, store: Store) -> None:
        """No cached features."""
