"""Read the pickles and the demographic tables of First Impressions V2 without trusting them.

``annotation_*.pkl`` is ``{trait: {clip: value}}`` with the five traits and ``interview``,
``transcription_*.pkl`` is ``{clip: text}``. Both were written by Python 2: protocol 2, byte strings, read as
latin1.
"""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.safe_pickle import Function, load_restricted
from apt_lightning.data.collection.signatures import LENGTH, kind_of
from apt_lightning.data.collection.tables import cell_error, read_table

ETHNICITY = {"1": "Asian", "2": "Caucasian", "3": "African-American"}
GENDER = {"1": "male", "2": "female"}
AGE = dict(zip("12345678", ("0-6", "7-13", "14-18", "19-24", "25-32", "33-45", "46-60", "61+"), strict=True))

MAX_BYTES = 16 * 2**20
"""Largest pickle that is opened, in bytes; the official ones have about 2 MB."""

MAX_INSTRUCTIONS = 1_000_000
"""Most instructions of a pickle that is opened; 6,000 clips with six NumPy scalars each need 330,000."""


class _DType:
    """Stands for ``numpy.dtype``: a little or big endian float of 4 or 8 bytes."""

    __slots__ = ("code",)

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if code not in ("f4", "f8"):
            raise pickle.UnpicklingError("it holds a NumPy scalar other than a float")
        self.code = "<f" if code == "f4" else "<d"

    def __setstate__(self, state: tuple[int, str]) -> None:
        self.code = (">" if state[1] == ">" else "<") + self.code[1]


class _Scalar(Function):
    """Stands for ``numpy.core.multiarray.scalar``: makes a Python float of the scalar's bytes."""

    __slots__ = ()

    def __call__(self, dtype: _DType, data: str | bytes) -> float:
        raw = data.encode("latin1") if isinstance(data, str) else data
        return float(struct.unpack(dtype.code, raw)[0])


class _Encode(Function):
    """Stands for ``_codecs.encode``, Python 3's way to write byte strings in protocol 2."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        return text.encode("latin1")


_KNOWN: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Encode(),
}


def load_pickle(path: str | os.PathLike[str]) -> object:
    """Read a pickle of nested dicts, strings and floats; nothing in it is ever run.

    Every global is refused but the NumPy float scalar, its dtype and ``_codecs.encode``, and these three are
    replaced by stand-ins of this module.

    Args:
        path: File of at most 16 MiB and a million instructions, any protocol; byte strings are read as latin1.

    Returns:
        Plain dicts, strings, floats and the like.

    Raises:
        DataError: If the file is too large, damaged, or asks for anything else.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MiB; no label or transcript file is")
    kind = kind_of(data[:LENGTH])
    if kind is not None:
        raise DataError(f"{path}: is {kind}, no pickle of labels or transcripts; fetch it again")
    try:
        return load_restricted(data, _KNOWN, MAX_INSTRUCTIONS)
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: refused as a pickle of labels or transcripts: {error}; fetch it again") from error


def read_annotations(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a label file ``{trait: {clip: value}}``.

    ``neuroticism`` holds *emotional stability*, as in the data set. A label that is out of [0, 1], NaN or
    missing for one trait is returned as it is: a fault of that clip, which
    :func:`apt_lightning.data.collection.collection.read_collection` names, and not of the file.

    Args:
        path: ``annotation_training.pkl`` or its like.

    Returns:
        The five traits, and ``interview`` if the file has it (the first round of the data set lacks it).

    Raises:
        DataError: If the file is no such dict; the message names file, trait and clip.
    """
    table = load_pickle(path)
    wanted = (*TRAITS, "interview")
    if not isinstance(table, dict) or not set(TRAITS) <= table.keys() <= set(wanted):
        raise DataError(f"{path}: expected a dict with the keys {', '.join(wanted)}, but got {_shape(table)}")
    columns: dict[str, dict[str, float]] = {}
    for trait, labels in table.items():
        if not isinstance(labels, dict):
            raise DataError(f"{path}: {trait}: expected a dict of clip and value, but got {_shape(labels)}")
        column = columns[trait] = {}
        for clip, value in labels.items():
            if not isinstance(clip, str):
                raise DataError(f"{path}: {trait}: expected clip names as keys, but got {_shape(clip)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"{path}: {trait}: {clip!r}: expected a number, but got {_shape(value)}")
            column[_decode(clip)] = _to_float(value)
    return columns


def read_transcripts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a transcript file ``{clip: text}``.

    Args:
        path: ``transcription_training.pkl`` or its like.

    Returns:
        Clip name to text; "" where the file has an empty one.

    Raises:
        DataError: If the file is no such dict; the message names file and clip.
    """
    table = load_pickle(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: expected a dict of clip and text, but got {_shape(table)}")
    for clip, text in table.items():
        if not isinstance(clip, str) or not isinstance(text, str):
            raise DataError(f"{path}: expected clip names and texts, but got {_shape(clip)} with {_shape(text)}")
    return {_decode(clip): _decode(text) for clip, text in table.items()}


def read_demographics(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Read ``eth_gender_annotations_*.csv`` or ``age_anno_*.csv``; columns are found by their names.

    Args:
        path: File with the column VideoName and any of Ethnicity, Gender and AgeGroup.

    Returns:
        Clip name to any of ``gender`` (male, female), ``ethnicity`` and ``age`` ("19-24"); empty cells left
        out.

    Raises:
        DataError: If a column is missing or holds an unknown code; the message names file, row and column.
    """
    codes = {"Ethnicity": ("ethnicity", ETHNICITY), "Gender": ("gender", GENDER), "AgeGroup": ("age", AGE)}
    people: dict[str, dict[str, str]] = {}
    for row in read_table(path, required=("VideoName",), optional=tuple(codes)):
        groups = people.setdefault(row.cells["VideoName"], {})
        for column, (group, names) in codes.items():
            code = row.cells.get(column, "")
            if code and code not in names:
                raise cell_error(path, row.line, column, f"expected a code of {', '.join(names)}, but got {code!r}")
            if code:
                groups[group] = names[code]
    return people


def _decode(text: str) -> str:
    """Undo the reading as latin1 where Python 2's bytes were UTF-8; nothing else passes for it by chance."""
    try:
        return text.encode("latin1").decode("utf-8")
    except UnicodeError:
        return text


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return float("inf")


def _shape(value: object) -> str:
    """Say what something is without printing its content, which may be anything."""
    if isinstance(value, dict):
        keys = sorted(str(key)[:20] for key in value if isinstance(key, str))[:6]
        return f"a dict with {len(value)} keys ({', '.join(keys)}, ...)"
    return f"a value of type {type(value).__name__}"
