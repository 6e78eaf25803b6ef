"""Word vectors: from a GloVe or word2vec file, streamed, or trained on the training transcripts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.common.files import TEMPORARY, file_digest, replacing, write_bytes
from apt_lightning.data.text.keyed_vectors import read_keyed_vectors

TRAINED_SIZE = 50
"""Size of vectors trained on the transcripts; a few thousand short texts do not fill the paper's 300."""

MAX_SIZE = 4096
"""Largest vector that is accepted."""

_MAX_LINE = 2**17
"""Longest line in bytes: a word and :data:`MAX_SIZE` numbers."""

_MAX_WORD = 1000
"""Longest word in bytes."""


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors."""

    words: list[str]
    """V words, each once."""
    vectors: npt.NDArray[np.float32]
    """(V, G), finite."""
    source: dict[str, Any]
    """Where they are from: ``path`` and ``sha256``, or ``trained`` with the settings."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Word to row."""
        return {word: row for row, word in enumerate(self.words)}


def load_glove_memmap(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> WordVectors:
    """Map the vectors of a file from a copy that is made once, in about 12 s for GloVe 6B 300-d.

    Formats: GloVe text; word2vec text, which has a header line; word2vec binary, if the name ends in ".bin";
    what gensim's ``KeyedVectors.save`` writes.

    Args:
        path: The file.
        folder: Where the copy is kept (``words.txt``, ``vectors.npy``, ``source.json``); made if it is absent
            or the file has changed since.

    Returns:
        All words in the file's order, a word that stands twice at its first place; vectors memory-mapped.

    Raises:
        DataError: If the file is of another kind or a row is damaged; the message names file and row.
    """
    path, folder = Path(path), Path(folder)
    stat = path.stat()
    stamp = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    try:
        source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        source = {}
    if source.get("stamp") != stamp:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "source.json").unlink(missing_ok=True)
        _copy(path, folder)
        source = {"path": stamp[0], "sha256": file_digest(path), "stamp": stamp}
        write_bytes(folder / "source.json", json.dumps(source).encode())
    try:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        words = (folder / "words.txt").read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    except Exception as error:  # a damaged header surfaces as almost any built-in error
        raise DataError(f"{folder}: the copy of {path} is damaged ({error}); delete it and run again") from error
    return WordVectors(words, vectors, {"path": source["path"], "sha256": source["sha256"]})


def _copy(path: Path, folder: Path) -> None:
    words: dict[bytes, None] = {}
    raw = folder / f"vectors.f4{TEMPORARY}"
    with path.open("rb") as file, raw.open("wb") as out:
        size, rows = _open(path, file)
        for number, word, values in rows:
            if len(values) != size or not np.isfinite(values).all():
                raise DataError(f"{path}: row {number}: expected a word and {size} finite numbers")
            if not word or b"\n" in word:
                raise DataError(f"{path}: row {number}: {word[:40]!r} is no word")
            if word not in words:
                words[word] = None
                out.write(values.tobytes())
    if not words:
        raise DataError(f"{path}: row 1: holds no word")
    vectors = np.memmap(raw, np.float32, "r", shape=(len(words), size))
    with replacing(folder / "vectors.npy") as part, part.open("wb") as out:
        np.save(out, vectors, allow_pickle=False)
    raw.unlink()
    write_bytes(folder / "words.txt", b"".join(word + b"\n" for word in words))


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
    from gensim.models import Word2Vec

    model = Word2Vec(filled, vector_size=size, window=5, min_count=1, sg=1, seed=seed, workers=1, epochs=epochs)
    return WordVectors(list(model.wv.index_to_key), np.asarray(model.wv.vectors, np.float32), source)


Rows = Iterator[tuple[int, bytes, npt.NDArray[np.float32]]]
"""Row number from 1, word, values."""


def _open(path: Path, file: BinaryIO) -> tuple[int, Rows]:
    """Find the format and the vector size, and start to read."""
    first = file.readline(_MAX_LINE)
    if first[:1] == b"\x80":
        words, vectors = read_keyed_vectors(path)
        return vectors.shape[1], ((i, w.encode(), v) for i, (w, v) in enumerate(zip(words, vectors, strict=True), 1))
    fields = first.split()
    header = len(fields) == 2 and all(field.isdigit() and len(field) < 10 for field in fields)
    size = int(fields[1]) if header else len(first.rstrip().split(b" ")) - 1
    if not 1 <= size <= MAX_SIZE:
        raise DataError(f"{path}: row 1: expected a word and 1 to {MAX_SIZE} numbers, as in glove.6B.300d.txt")
    if path.suffix.lower() == ".bin":
        return size, _binary_rows(file, size, int(fields[0]) if header else 0)
    if not header:
        file.seek(0)
    return size, _text_rows(file, size, 1 + header)


def _text_rows(file: BinaryIO, size: int, start: int) -> Rows:
    lines = iter(lambda: file.readline(_MAX_LINE), b"")
    for number, line in enumerate(lines, start):
        # From the right: tokens of GloVe 840B hold blanks.
        word, *texts = line.rstrip().rsplit(b" ", size)
        try:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused
                values = np.array([float(text) for text in texts], np.float32)
        except ValueError:
            values = np.zeros(0, np.float32)
        yield number, word, values


def _binary_rows(file: BinaryIO, size: int, count: int) -> Rows:
    for number in range(1, count + 1):
        letters = iter(lambda: file.read(1).rstrip(b" "), b"")
        word = b"".join(islice(letters, _MAX_WORD)).lstrip(b"\n")
        values = file.read(4 * size)
        yield (
            number,
            word,
            np.frombuffer(values[: len(values) // 4 * 4], "<f4").astype(np.float32, copy=False),
        )
