"""Tokens of transcripts, and the text part of a feature store (paper section 1, text row)."""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.data.shards import write_atomic
from apt_lightning.data.word_vectors import WordVectors
from apt_lightning.errors import StoreError

MAX_TOKENS = 80
"""K of the paper; a clip has 43 words on average."""

PADDING, UNKNOWN, N_SPECIAL = 0, 1, 2
"""Ids of padding and of a word without a vector; the id of the i-th word of a table is i + 2."""

# \x92 is the curly apostrophe of Windows in transcripts read as latin1.
_APOSTROPHES = re.compile("[\x92\u2018\u2019\u02bc\uff07`\u00b4]")
_MARK = re.compile(r"\[[^\[\]]{0,80}?\d{1,2}:\d{2}[^\[\]]{0,80}\]")
_DOMAIN = r"(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|tv|co\.uk)\b"
_URL = re.compile(rf"(?:https?://|www\.)\S+|{_DOMAIN}\S*")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_DIGITS = re.compile(r"(?<!\w)\w*\d\w*")
_JOINED = re.compile(r"\b(can(?=not\b)|gon(?=na\b)|got(?=ta\b))")
_CLITIC = re.compile(r"(?<=[^\W\d_])(n't|'(?:s|m|d|ll|re|ve))(?![^\W\d_])")
_TOKEN = re.compile(r"(?:n't|'(?:s|m|d|ll|re|ve))(?![^\W\d_])|[^\W\d_]+(?:'[^\W\d_]+)*")


def tokenize(text: str) -> list[str]:
    """Split a transcript into lower-case words.

    In this order: marks in square brackets that hold a time are removed, then e-mail addresses, URLs and each
    word that holds a digit; contractions are split as spaCy and the GloVe corpora do; what is left besides
    letters and inner apostrophes is removed. Running it over its own result changes nothing.

    Args:
        text: A transcript.

    Returns:
        Its words.

    Example:
        >>> tokenize("Don't call 911 [inaudible 00:00:07]; it's O'Brien's e-mail: a.b@c.org!")
        ['do', "n't", 'call', 'it', "'s", "o'brien", "'s", 'e', 'mail']
    """
    text = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text).lower())
    for pattern in (_MARK, _EMAIL, _URL, _DIGITS):
        text = pattern.sub(" ", text)
    return _TOKEN.findall(_CLITIC.sub(r" \1", _JOINED.sub(r"\1 ", text)))


def encode(
    transcripts: Sequence[str | None], vectors: WordVectors, max_tokens: int = MAX_TOKENS
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Turn transcripts into rows of word ids.

    Args:
        transcripts: N texts; ``None`` where a clip has none.
        vectors: Words that have a vector.
        max_tokens: K; longer transcripts are cut, shorter ones padded at the end.

    Returns:
        ``ids`` of shape (N, K), 0 padding, 1 a word without a vector, i + 2 the i-th of ``vectors.words``;
        ``lengths`` of shape (N,), the number of tokens kept, 0 to K.

    Example:
        >>> known = WordVectors(["hello"], np.ones((1, 3), np.float32), {})
        >>> encode(["Hello there", None], known, max_tokens=3)[0]
        array([[2, 1, 0],
               [0, 0, 0]], dtype=int32)
    """
    ids = np.full((len(transcripts), max_tokens), PADDING, np.int32)
    lengths = np.zeros(len(transcripts), np.int32)
    for row, text in enumerate(transcripts):
        tokens = tokenize(text or "")[:max_tokens]
        lengths[row] = len(tokens)
        ids[row, : len(tokens)] = [vectors.index.get(token, UNKNOWN - N_SPECIAL) + N_SPECIAL for token in tokens]
    return ids, lengths


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


def write_text(folder: str | os.PathLike[str], table: TextTable, source: dict[str, object]) -> None:
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
        write_atomic(folder / f"{name}.npy", data.getvalue())
    write_atomic(folder / "words.txt", "".join(f"{word}\n" for word in table.words).encode())
    write_atomic(folder / "source.json", json.dumps(source, indent=2).encode() + b"\n")


def read_text(folder: str | os.PathLike[str]) -> TextTable:
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
