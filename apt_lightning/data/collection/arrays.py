"""NumPy files of strangers: what their headers announce is compared with the file before anything is allocated."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.zip_kinds import check_zip

MAX_BYTES = 2**30
"""Largest content of an ``.npz`` or of an ``.npy`` that is not mapped into memory, in bytes."""


def check_arrays(path: str | os.PathLike[str]) -> None:
    """Refuse an ``.npy`` or ``.npz`` whose arrays are not wholly in it, or an ``.npz`` beyond :data:`MAX_BYTES`.

    Args:
        path: The file, told by its content.

    Raises:
        DataError: If so, or if it is no NumPy file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            if not zipped:
                file.seek(0)
                _check(path, file, path.stat().st_size)
                return
        check_zip(path, str(path))
        with zipfile.ZipFile(path) as archive:
            total = sum(info.file_size for info in archive.infolist())
            if total > MAX_BYTES:
                raise DataError(f"{path}: holds {total} bytes; of an .npz at most {MAX_BYTES} are read: give an .npy")
            for info in archive.infolist():
                with archive.open(info) as member:
                    _check(path, member, info.file_size)
    except DataError:
        raise
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged header or archive surfaces as almost any built-in error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: no readable NumPy file ({reason})") from error


def _check(path: Path, file: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"{path}: no readable NumPy file; pickled arrays are refused")
    wanted = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or wanted > size:
        raise DataError(f"{path}: announces an array of {wanted} bytes and has {size}: damaged; make it again")
