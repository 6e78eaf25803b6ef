"""Word vectors: from a GloVe or word2vec file, streamed, or trained on the training transcripts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.files import TEMPORARY, file_digest, replacing, write_bytes
from apt_lightning.data.text.vector_files import MAX_WORDS, open_vectors

TRAINED_SIZE = 50
"""Size of vectors trained on the transcripts; a few thousand short texts do not fill the paper's 300."""


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors."""

    words: list[str]
    """V words, each once."""
    vectors: npt.NDArray[np.float32]
    """(V, G), finite."""
    source: dict[str, Any]
    """Where they are from: ``path``, ``sha256`` and ``skipped``, the number of rows without a word, or ``trained``
    with the settings."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Word to row."""
        return {word: row for row, word in enumerate(self.words)}


def load_glove_memmap(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> WordVectors:
    """Map the vectors of a file from a copy that is made once, in about 12 s for GloVe 6B 300-d.

    Args:
        path: The file, in one of the formats of :func:`~apt_lightning.data.text.vector_files.open_vectors`.
        folder: Where the copy is kept (``words.txt``, ``vectors.npy``, ``source.json``); made if it is absent
            or the file has changed since.

    Returns:
        All words in the file's order, a word that stands twice at its first place, rows without a word left away;
        vectors memory-mapped.

    Raises:
        DataError: If the file is of another kind, a row is damaged, or rows are missing; the message names file and
            row.
    """
    path, folder = Path(path), Path(folder)
    stat = path.stat()
    stamp = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    try:
        source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        source = {}
    if source.get("stamp") != stamp:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "source.json").unlink(missing_ok=True)
        skipped = _copy(path, folder)
        source = {"path": stamp[0], "sha256": file_digest(path), "stamp": stamp, "skipped": skipped}
        write_bytes(folder / "source.json", json.dumps(source).encode())
    try:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        words = (folder / "words.txt").read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    except Exception as error:  # a damaged header surfaces as almost any built-in error
        raise DataError(f"{folder}: the copy of {path} is damaged ({error}); delete it and run again") from error
    about = {"path": source["path"], "sha256": source["sha256"], "skipped": source.get("skipped", 0)}
    return WordVectors(words, vectors, about)


def _copy(path: Path, folder: Path) -> int:
    """Write the words and vectors of a file; returns how many rows hold no word."""
    words: dict[bytes, None] = {}
    held = skipped = 0
    raw = folder / f"vectors.f4{TEMPORARY}"
    with open_vectors(path) as (size, announced, rows), raw.open("wb") as out:
        for number, word, values in rows:
            held += 1
            if not word.strip():
                skipped += 1
            elif word not in words:
                words[word] = None
                out.write(values.tobytes())
            if len(words) > MAX_WORDS:
                raise DataError(f"{path}: row {number}: more than {MAX_WORDS} words; keep the most frequent ones")
    if not words:
        raise DataError(f"{path}: row 1: holds no word")
    if announced is not None and held < announced:
        raise DataError(f"{path}: announces {announced} rows and holds {held}: cut short; download it again")
    vectors = np.memmap(raw, np.float32, "r", shape=(len(words), size))
    with replacing(folder / "vectors.npy") as part, part.open("wb") as out:
        np.save(out, vectors, allow_pickle=False)
    raw.unlink()
    write_bytes(folder / "words.txt", b"".join(word + b"\n" for word in words))
    return skipped


def load_word2vec() -> Any:
    """Gensim's ``Word2Vec``.

    Raises:
        UsageError: If gensim is not installed.
    """
    try:
        from gensim.models import Word2Vec
    except ModuleNotFoundError:
        raise UsageError(
            "training word vectors needs gensim, which has no wheel for Python 3.14 yet: use Python 3.11 to 3.13, or"
            " `apt prepare --vectors FILE` with GloVe or word2vec vectors, or `pip install gensim` where a compiler is"
        ) from None
    return Word2Vec


def train_word_vectors(texts: Sequence[Sequence[str]], size: int = TRAINED_SIZE, seed: int = 42) -> WordVectors:
    """Train skip-gram vectors (gensim) on the training transcripts; one thread, so the same result each time.

    Args:
        texts: Tokens of each *training* transcript.
        size: G.
        seed: Of the initial vectors and the sampling.

    Returns:
        A vector for each word of ``texts``.
    """
    filled = [list(text) for text in texts if text]
    # About two million words in all: a small set needs more passes than a large one.
    epochs = int(np.clip(2e6 // max(sum(map(len, filled)), 1), 5, 50))
    source = {
        "trained": f"on {len(filled)} training transcripts",
        "size": size,
        "seed": seed,
        "epochs": epochs,
    }
    if not filled:
        return WordVectors([], np.zeros((0, size), np.float32), source)
    word2vec = load_word2vec()
    model = word2vec(filled, vector_size=size, window=5, min_count=1, sg=1, seed=seed, workers=1, epochs=epochs)
    return WordVectors(list(model.wv.index_to_key), np.asarray(model.wv.vectors, np.float32), source)
