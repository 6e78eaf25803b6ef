"""The text part of a feature store: word ids of every clip and the vectors that they stand for."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import StoreError
from apt_lightning.common.files import write_bytes, write_json, write_text
from apt_lightning.data.text.tokens import MAX_TOKENS, N_SPECIAL, encode
from apt_lightning.data.text.word_vectors import WordVectors


class TextTable(NamedTuple):
    """The text part of a store; arrays are memory-mapped when read from one."""

    ids: npt.NDArray[np.int32]
    """(N, K) word ids: 0 padding, 1 unknown, i + 2 for the i-th word."""
    lengths: npt.NDArray[np.int32]
    """(N,) tokens kept; 0 for a clip without words."""
    words: list[str]
    """V words."""
    vectors: npt.NDArray[np.float32]
    """(V + 2, G); rows 0 and 1 are zero."""


def text_table(transcripts: Sequence[str | None], vectors: WordVectors, max_tokens: int = MAX_TOKENS) -> TextTable:
    """Encode transcripts and put the two special rows before the vectors; see :func:`encode`."""
    ids, lengths = encode(transcripts, vectors, max_tokens)
    special = np.zeros((N_SPECIAL, vectors.vectors.shape[1]), np.float32)
    return TextTable(ids, lengths, vectors.words, np.concatenate([special, vectors.vectors]))


def write_text_table(folder: str | os.PathLike[str], table: TextTable, source: dict[str, object]) -> None:
    """Write the text part of a store.

    Writes ``ids.npy``, ``lengths.npy``, ``vectors.npy``, ``words.txt`` and ``source.json``.

    Args:
        folder: The store's ``text`` folder; made if absent.
        table: What to write.
        source: Where the vectors are from, :attr:`WordVectors.source`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ids", "lengths", "vectors"):
        data = io.BytesIO()
        np.save(data, getattr(table, name), allow_pickle=False)
        write_bytes(folder / f"{name}.npy", data.getvalue())
    write_text(folder / "words.txt", "".join(f"{word}\n" for word in table.words))
    write_json(folder / "source.json", source)


def read_text_table(folder: str | os.PathLike[str]) -> TextTable:
    """Map the text part of a store.

    Args:
        folder: The store's ``text`` folder.

    Returns:
        The table; its arrays are read from disk as they are used.

    Raises:
        StoreError: If a file is absent or damaged, or the files do not fit each other.
    """
    folder = Path(folder)
    again = "run `apt prepare` again"
    arrays = {}
    for name, kind, ndim in (("ids", np.int32, 2), ("lengths", np.int32, 1), ("vectors", np.float32, 2)):
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        # A damaged header surfaces as almost any built-in error.
        except Exception as error:
            raise StoreError(f"{path}: cannot be read ({error}); {again}") from error
        if array.dtype != kind or array.ndim != ndim:
            raise StoreError(f"{path}: expected {ndim}-D {np.dtype(kind)}, got {array.shape} {array.dtype}; {again}")
        arrays[name] = array
    try:
        words = (folder / "words.txt").read_bytes().decode("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{folder / 'words.txt'}: cannot be read ({error}); {again}") from error
    table = TextTable(arrays["ids"], arrays["lengths"], words, arrays["vectors"])
    n, k = table.ids.shape
    if len(table.lengths) != n or len(table.vectors) != len(words) + N_SPECIAL:
        raise StoreError(
            f"{folder}: {n} rows of ids, {len(table.lengths)} lengths, {len(words)} words and "
            f"{len(table.vectors)} vectors do not fit each other; {again}"
        )
    inside = not n or (table.lengths.min() >= 0 and table.lengths.max() <= k)
    if not inside or (n and k and (table.ids.min() < 0 or table.ids.max() >= len(table.vectors))):
        raise StoreError(f"{folder}: an id or a length is out of range; {again}")
    if not np.isfinite(table.vectors).all():
        raise StoreError(f"{folder / 'vectors.npy'}: holds NaN or infinite values; {again}")
    return table
