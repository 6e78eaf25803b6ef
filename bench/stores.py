"""Feature stores of random content at the real set's sizes, made by the product's own preparation."""

from __future__ import annotations

import csv
import hashlib
import io
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.index import PREPARED
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store

WORDS = ["".join(letters) for letters in islice(product("abcdefghijklmnopqrstuvwxyz", repeat=3), 13_000)]
"""A vocabulary of the real set's size."""


def feature_store(folder: Path, n_train: int, n_validation: int) -> Path:
    """A store of a random (256,) vector a clip and modality, and labels of the real set's spread."""
    names = _index(folder, n_train, n_validation)
    store = folder / "store"
    prepare(folder / "clips.csv", store)
    rng = np.random.default_rng(0)
    for modality in PREPARED:
        np.savez(folder / f"{modality}.npz", features=rng.random((len(names), 256), dtype=np.float32), names=names)
        put_features(Store.open(store), modality, str(folder / f"{modality}.npz"), None)
    return store


def media_store(folder: Path, n_train: int, n_validation: int) -> Path:
    """A store of random functionals, JPEGs and transcripts, as of clips that were decoded."""
    rng = np.random.default_rng(1)
    transcripts = [" ".join(rng.choice(WORDS, size=rng.integers(20, 81))) for _ in range(n_train + n_validation)]
    for name in _index(folder, n_train, n_validation, transcripts):
        (folder / name).write_text(name)
    rows = zip(WORDS, rng.standard_normal((len(WORDS), 300)), strict=True)
    lines = (" ".join([word, *(f"{x:.4f}" for x in row)]) for word, row in rows)
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    store = folder / "store"
    options = Options(extract="bench.stores:random_clip", vectors=str(folder / "vectors.txt"))
    prepare(folder / "clips.csv", store, options)
    return store


def random_clip(path: str, name: str, settings: Any, functionals: bool = True) -> Extraction:
    """Stand in for the decoder."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:8], 16))
    pictures = []
    for _ in range(6):
        stream = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (18, 31, 3), dtype=np.uint8))
        coarse.resize((248, 140), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=95)
        pictures.append(stream.getvalue())
    times = [2.5 * i + 1.25 for i in range(6)]
    return Extraction(rng.random(88, dtype=np.float32), pictures, times, 15.0, [], digest)


def _index(folder: Path, n_train: int, n_validation: int, transcripts: list[str] | None = None) -> list[str]:
    rng = np.random.default_rng(2)
    labels = np.clip(rng.normal(0.52, 0.15, (n_train + n_validation, 5)), 0, 1)
    names = [f"{i:06d}.000.mp4" for i in range(len(labels))]
    splits = ["train"] * n_train + ["validation"] * n_validation
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "split", *TRAITS, "transcript"])
        lines = zip(names, splits, labels.tolist(), transcripts or [""] * len(names), strict=True)
        writer.writerows([name, split, *row, words] for name, split, row, words in lines)
    return names
