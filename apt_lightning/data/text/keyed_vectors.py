"""Read the file that gensim's ``KeyedVectors.save`` writes, a pickle, without running anything of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.arrays import check_arrays
from apt_lightning.data.collection.safe_pickle import Function, load_restricted

MAX_BYTES = 2**28
"""Largest pickle that is opened; gensim keeps vectors of more than 10 MB in a file of their own."""
MAX_INSTRUCTIONS = 8_000_000
"""Most instructions of a pickle that is opened; a word needs four or five."""


class _Keyed:
    """Stands for ``gensim.models.keyedvectors.KeyedVectors``."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.words: Any = state["index_to_key"]
        self.vectors: Any = state.get("vectors")
        self.apart = "vectors" in state.get("__numpys", ())


class _DType:
    """Stands for ``numpy.dtype``."""

    __slots__ = ("code",)

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.code = code

    def __setstate__(self, state: tuple[int, str]) -> None:
        if self.code == "f4" and state[1] == ">":
            self.code = ">f4"


class _Array:
    """Stands for a ``numpy.ndarray``."""

    def __setstate__(self, state: tuple[int, tuple[int, int], _DType, bool, bytes]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state


class _Type:
    """Stands for ``numpy.ndarray`` itself, an argument that tells nothing."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a class")


class _Reconstruct(Function):
    """Stands for ``numpy.core.multiarray._reconstruct``: an empty array."""

    __slots__ = ()

    def __call__(self, cls: object, shape: object, code: object) -> _Array:
        return _Array()


_KNOWN: dict[tuple[str, str], object] = {
    ("gensim.models.keyedvectors", "KeyedVectors"): _Keyed,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _DType,
}
_OPCODES = frozenset({"NEWOBJ", "EMPTY_LIST", "APPEND", "APPENDS", "FROZENSET", "BINBYTES8"})
_TUPLES = 1000


def read_keyed_vectors(path: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Read the words and vectors of a gensim file.

    Args:
        path: What ``KeyedVectors.save`` wrote; many vectors are in ``<path>.vectors.npy`` beside it.

    Returns:
        V words and (V, G) vectors; memory-mapped if they have a file of their own.

    Raises:
        DataError: If the file is damaged, or holds or asks for anything but arrays and lists.
    """
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB; save it with `save_word2vec_format`")
    try:
        keyed = load_restricted(path.read_bytes(), _KNOWN, MAX_INSTRUCTIONS, _OPCODES, _TUPLES)
        if not isinstance(keyed, _Keyed):
            raise pickle.UnpicklingError("it holds no KeyedVectors")
        if keyed.apart:
            check_arrays(f"{path}.vectors.npy")
            vectors = np.load(f"{path}.vectors.npy", mmap_mode="r", allow_pickle=False)
        else:
            vectors = _to_numpy(keyed.vectors)
        words = keyed.words
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise pickle.UnpicklingError("its words are no list of texts")
        if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) < len(words):
            raise pickle.UnpicklingError(f"{len(words)} words do not fit vectors of shape {vectors.shape}")
    except Exception as error:  # damage surfaces as almost any built-in error
        raise DataError(
            f"{path}: refused as gensim's KeyedVectors: {error}; save it in gensim with "
            "`vectors.save_word2vec_format('vectors.txt')` and give that file"
        ) from error
    return words, vectors[: len(words)]


def _to_numpy(array: _Array) -> npt.NDArray[np.float32]:
    if array.dtype.code not in ("f4", ">f4"):
        raise pickle.UnpicklingError("its vectors are not of float32")
    flat = np.frombuffer(array.data, "<f4" if array.dtype.code == "f4" else ">f4").astype(np.float32)
    rows, columns = array.shape
    return flat.reshape(columns, rows).T if array.fortran else flat.reshape(rows, columns)
