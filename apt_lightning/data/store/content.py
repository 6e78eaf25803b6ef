"""What the clips of a store hold, as plain numbers without a network: functionals, colour and layout, words."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apt_lightning.common.console import progress
from apt_lightning.data.store.reader import Store
from apt_lightning.data.text.tokens import UNKNOWN

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ROWS, COLUMNS = 6, 10
"""Cells into which a frame is cut."""
HASH_BITS = ROWS * COLUMNS - 1
"""Bits of a frame's hash."""


@dataclass(frozen=True)
class Content:
    """Plain features of the N clips of a store, in index order."""

    features: dict[str, FloatArray]
    """Modality to (N, D); rows of NaN where the clip lacks it. Functionals and features made elsewhere as they
    are; feature sets as the mean over their steps; frames as the mean colour of each cell, over all frames of the
    clip; words as the mean and the standard deviation of their vectors."""
    hashes: dict[str, BoolArray]
    """Modality of frames to (N, F * :data:`HASH_BITS`): the hashes of a clip's frames, one after the other."""
    kinds: dict[str, str]
    """Modality to what the store serves of it; see :class:`Store`."""

    @property
    def joined(self) -> FloatArray:
        """(N, sum of D) all modalities side by side."""
        return np.concatenate(list(self.features.values()), axis=1)


def read_content(store: Store) -> Content:
    """Describe every clip of a store; frames are decoded at an eighth of their size, about 1 ms a clip.

    Args:
        store: A finished store.
    """
    features, hashes = {}, {}
    for column, (modality, kind) in enumerate(store.kinds.items()):
        present = store.present[:, column]
        if kind == "frames":
            cells = _cells(store, present)
            with np.errstate(invalid="ignore"):
                values = np.nansum(cells, axis=1) / (~np.isnan(cells)).sum(axis=1)
            values, hashes[modality] = values.reshape(len(cells), -1), frame_hashes(cells)
        elif kind == "sequences":
            values = _means(store, modality)
        else:
            values = _words(store) if kind == "tokens" else np.array(store.vectors(modality), dtype=np.float64)
        values[~present] = np.nan
        features[modality] = values
    return Content(features, hashes, dict(store.kinds))


def frame_hashes(cells: FloatArray) -> BoolArray:
    """Hash frames: the signs of the cosine transform of their brightness, but for its mean.

    Coding a picture anew, at another size or brightness, changes few of the bits.

    Args:
        cells: (N, F, rows, columns, 3) mean colours of the cells; NaN where the clip has no such frame.

    Returns:
        (N, F * (rows * columns - 1)); false where there is no frame.
    """
    from scipy.fft import dctn

    waves = dctn(np.nan_to_num(cells).mean(axis=-1), axes=(-2, -1))
    clips, frames = waves.shape[:2]
    bits = waves.reshape(clips, frames, ROWS * COLUMNS)[..., 1:] > 0
    return np.asarray(bits.reshape(clips, frames * HASH_BITS))


def _cells(store: Store, present: BoolArray) -> FloatArray:
    """(N, F, rows, columns, 3) mean colours in 0 to 255; NaN where there is no frame."""
    from PIL import Image

    cells = np.full((len(store), store.n_frames, ROWS, COLUMNS, 3), np.nan)
    for i in progress(np.flatnonzero(present).tolist(), "looking at frames", "clip"):
        for k, data in enumerate(store.frames(i)):
            picture = Image.open(io.BytesIO(data))
            picture.draft("RGB", (COLUMNS, ROWS))
            small = picture.convert("RGB").resize((COLUMNS, ROWS), Image.Resampling.BOX)
            cells[i, k] = np.asarray(small)
    return cells


def _words(store: Store) -> FloatArray:
    """(N, 2 * G) mean and standard deviation of the vectors of a clip's known words; 0 without one."""
    text = store.text
    known = text.ids > UNKNOWN
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    sums, squares = (np.zeros((len(text.ids), text.vectors.shape[1])) for _ in range(2))
    for column in range(text.ids.shape[1]):  # (N, K, G) at once is gigabytes on the real set
        vectors = np.where(known[:, [column]], text.vectors[text.ids[:, column]].astype(np.float64), 0)
        sums += vectors
        squares += vectors**2
    mean = sums / counts
    return np.concatenate([mean, np.sqrt(np.maximum(squares / counts - mean**2, 0))], axis=1)


def _means(store: Store, modality: str) -> FloatArray:
    """(N, sum of L * D) mean over the steps of each set of a clip; 0 without one."""
    means = [np.nan_to_num(set_means(store, modality, name)) for name in store.sets(modality)]
    return np.concatenate(means, axis=1)


def set_means(store: Store, modality: str, name: str) -> FloatArray:
    """(N, L * D) mean over the steps of a feature set of each clip of a store; NaN where a clip lacks it."""
    found = store.feature_set(modality, name)
    rows = np.full((len(store), int(np.prod(found.values.shape[1:]))), np.nan)
    for i, (start, end) in enumerate(found.spans([clip.name for clip in store.clips])):
        if end > start:
            rows[i] = found.values[start:end].mean(axis=0, dtype=np.float64).ravel()
    return rows
