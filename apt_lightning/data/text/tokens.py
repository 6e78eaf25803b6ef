"""Tokens of transcripts, and the text part of a feature store (paper section 1, text row)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from apt_lightning.data.text.word_vectors import WordVectors

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
