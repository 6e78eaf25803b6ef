"""Clips of a store as batches: raw modality inputs, or cached features of frozen encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from apt_lightning.common.batch import Batch, Inputs
from apt_lightning.common.errors import StoreError
from apt_lightning.data.loading.consumer import Features
from apt_lightning.data.loading.pictures import decode_pictures
from apt_lightning.data.loading.sequences import SequenceReader
from apt_lightning.data.store.reader import Store
from apt_lightning.data.text.tokens import N_SPECIAL, encode
from apt_lightning.data.text.word_vectors import WordVectors

NONE: Mapping[str, Mapping[str, str]] = {}
"""No feature sets."""


class ClipDataset(Dataset[Batch]):
    """Maps a tensor of store positions to a :class:`Batch`; one call a batch, no per-clip Python but for frames.

    Args:
        store: An open feature store.
        modalities: Columns of ``present``, and of ``features`` or ``inputs``.
        features: Cached features for every clip of the store; raw inputs are read if not given.
        vocabulary: Words that the reader's word numbers stand for, row 2 onwards; the store's own if not given.
            Words outside it become the unknown word, and a clip without any other has no text.
        augment: Let the encoder change crop and colours of the frames.
        sets: Name and key of the feature sets to read in place of a modality's own content, by modality; all that
            there are for a modality that has nothing else.
    """

    def __init__(
        self,
        store: Store,
        modalities: Sequence[str],
        features: Features | None = None,
        vocabulary: Sequence[str] | None = None,
        augment: bool = False,
        sets: Mapping[str, Mapping[str, str]] = NONE,
    ) -> None:
        self.store = store
        self.augment = augment
        self.modalities = tuple(modalities)
        self.features = features
        self.present = torch.from_numpy(np.ascontiguousarray(store.present[:, store.columns(self.modalities)]))
        self.traits = torch.tensor([clip.traits for clip in store.clips], dtype=torch.float32).view(-1, 5)
        self.arrays: dict[str, Tensor] = {}
        self.sequences: dict[str, SequenceReader] = {}
        for name in self.modalities:
            keys = sets.get(name) or store.sets(name)
            if name in sets or store.kinds[name] == "sequences":
                self.sequences[name] = SequenceReader(store, name, keys)
                present = torch.from_numpy(self.sequences[name].present)
                self.present[:, self.modalities.index(name)] = present
            elif store.kinds[name] == "tokens":
                self._add_words(name, vocabulary)
            elif store.kinds[name] != "frames" and features is None:
                self.arrays[name] = torch.from_numpy(np.asarray(store.vectors(name)))

    def _add_words(self, modality: str, vocabulary: Sequence[str] | None) -> None:
        """Take the store's word numbers, or number the words of its transcripts anew by the reader's vocabulary."""
        text = self.store.text
        ids, lengths = text.ids, text.lengths
        if vocabulary is not None and list(vocabulary) != list(text.words):
            known = WordVectors(list(vocabulary), np.zeros((len(vocabulary), 1), np.float32), {})
            ids, lengths = encode([clip.transcript for clip in self.store.clips], known, ids.shape[1])
            used = np.array([clip.status != "left out" for clip in self.store.clips])
            self.present[:, self.modalities.index(modality)] = torch.from_numpy((ids >= N_SPECIAL).any(axis=1) & used)
        if self.features is None:
            self.arrays[modality] = torch.from_numpy(np.asarray(ids, dtype=np.int64))
            self.lengths = torch.from_numpy(np.asarray(lengths, dtype=np.int64))

    @property
    def reads_frames(self) -> bool:
        """Whether batches decode pictures, which is worth worker processes."""
        return self.features is None and any(
            self.store.kinds[name] == "frames" and name not in self.sequences for name in self.modalities
        )

    def __getitem__(self, rows: Tensor) -> Batch:
        inputs: dict[str, Inputs] = {}
        features = None
        if self.features is not None:
            features = self.features[rows]
        else:
            inputs = {name: self._inputs(name, rows) for name in self.modalities}
        return Batch(rows, self.traits[rows], self.present[rows], inputs, features)

    def _inputs(self, name: str, rows: Tensor) -> Inputs:
        if name in self.sequences:
            return Inputs(*self.sequences[name].read(rows))
        if self.store.kinds[name] == "frames":
            return self._frames(rows)
        values = self.arrays[name][rows]
        if self.store.kinds[name] == "tokens":
            length = self.lengths[rows]
            return Inputs(values[:, : max(1, int(length.max()))], length)
        return Inputs(values, None)

    def _frames(self, rows: Tensor) -> Inputs:
        settings = self.store.manifest["settings"]
        n_frames, (height, width) = settings["n_frames"], settings["frame_size"]
        frames = torch.zeros(len(rows), n_frames, 3, height, width, dtype=torch.uint8)
        length = torch.zeros(len(rows), dtype=torch.int64)
        for i, row in enumerate(rows.tolist()):
            pictures = self.store.frames(row)
            length[i] = len(pictures)
            try:
                if pictures:
                    frames[i, : len(pictures)] = decode_pictures(pictures)
            # Damaged JPEGs surface as almost any built-in error.
            except Exception as error:
                raise StoreError(
                    f"the frames of {self.store.clips[row].name} in {self.store.path} are damaged"
                    f" ({type(error).__name__}); `apt doctor {self.store.path}` names all that are"
                ) from None
        return Inputs(frames, length, self.augment)
