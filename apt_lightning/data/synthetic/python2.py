"""Pickles as Python 2 wrote them: the label and transcript files of First Impressions.

Python 3's own pickler cannot write Python 2's byte strings, so the few opcodes that these files need are
written here.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping

import numpy as np

Value = str | float | np.float64 | Mapping[str, "Value"]
_BATCH = 1000
"""Items between two SETITEMS opcodes, as in Python's own pickler."""
_SCALAR = b"cnumpy.core.multiarray\nscalar\n"
_FLOAT64 = (  # dtype('f8', 0, 1) with the state (3, '<', None, None, None, -1, -1, 0)
    b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def dumps(value: Value) -> bytes:
    """Pickle nested dictionaries of strings and numbers with Python 2's protocol 2.

    Args:
        value: Strings become byte strings in UTF-8, ``float`` a float, ``numpy.float64`` a NumPy scalar.

    Returns:
        The pickle.

    Example:
        >>> pickle.loads(dumps({"openness": {"a.000.mp4": 0.5}}), encoding="latin1")
        {'openness': {'a.000.mp4': 0.5}}
    """
    return pickle.PROTO + b"\x02" + _encode(value) + pickle.STOP


def _encode(value: Value) -> bytes:
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 256:
            return pickle.SHORT_BINSTRING + bytes([len(data)]) + data
        return pickle.BINSTRING + struct.pack("<i", len(data)) + data
    if isinstance(value, np.float64):  # before float, whose subclass it is
        return _SCALAR + _FLOAT64 + b"U\x08" + struct.pack("<d", value) + b"\x86R"
    if isinstance(value, float):
        return pickle.BINFLOAT + struct.pack(">d", value)
    items = [_encode(key) + _encode(item) for key, item in value.items()]
    batches = (b"".join(items[i : i + _BATCH]) for i in range(0, len(items), _BATCH))
    return pickle.EMPTY_DICT + b"".join(pickle.MARK + batch + pickle.SETITEMS for batch in batches)
