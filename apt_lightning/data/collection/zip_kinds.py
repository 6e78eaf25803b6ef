"""What a file that is called a zip is, told before it is opened: the reader of zips takes its size on trust."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.signatures import LENGTH, kind_of

MAX_DIRECTORY = 32 * 2**20
"""Bytes of an archive's table of contents; one of 100,000 clips has 10 MB, and takes 20 times that when read."""

_UNZIP = "unpack it with 7-Zip (`7z x`) into the folder"
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 99: "AES"}
"""Of PKWARE's APPNOTE 4.4.5; 99 is WinZip's mark of AES encryption."""
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def check_zip(path: Path, shown: str) -> None:
    """Refuse what is no whole zip, or has a table of contents that memory does not hold.

    Args:
        path: The file.
        shown: What to call it.

    Raises:
        DataError: It names what the file is, and what to do.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LENGTH)
        file.seek(max(0, size - 2**16 - 22 - 20))
        tail = file.read()
        kind = kind_of(head)
        if not head:
            raise DataError(f"{shown}: an empty file; download it again")
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            if kind is not None and not head.startswith(b"PK"):
                raise DataError(f"{shown}: is {kind}, no zip; download it in a browser that is logged in, or unpack it")
            if head.startswith((b"PK\x03\x04", b"PK\x07\x08")):
                parts = sorted(other.name for other in path.parent.glob(f"{path.stem}.z*") if other != path)
                of = f" with {parts[0]}" if parts else ""
                raise DataError(
                    f"{shown}: its end is missing: cut short{of}, or the first part of a split archive; download it"
                    f" again, or {_UNZIP}"
                )
            raise DataError(f"{shown}: damaged, or of a kind that cannot be read (no zip); download it again")
        disk, first, _, _, directory = struct.unpack("<4HI", tail[at + 4 : at + 16])
        locator = tail[at - 20 : at] if at >= 20 else b""
        if locator.startswith(_LOCATOR64):
            disk, first = struct.unpack("<I", locator[4:8])[0], 0
            file.seek(min(struct.unpack("<Q", locator[8:16])[0], size))
            end = file.read(56)
            if end.startswith(_END64) and len(end) == 56:
                disk, first, _, _, directory = struct.unpack("<IIQQQ", end[16:48])
    if disk or first:
        raise DataError(f"{shown}: the last part of an archive split in {disk + 1}; {_UNZIP}, all parts side by side")
    if directory > MAX_DIRECTORY:
        raise DataError(f"{shown}: its table of contents has {directory} bytes; at most {MAX_DIRECTORY} are read")


def check_member(shown: str, info: zipfile.ZipInfo) -> None:
    """Refuse a file of an archive that Python does not unpack.

    Raises:
        DataError: It names how the file is packed, and what to do.
    """
    name = os.path.basename(info.filename)
    if info.compress_type == 99 or info.flag_bits & 0x40:
        raise DataError(f"{shown}: {name!r} is encrypted by AES; only the classic cipher is read: {_UNZIP}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(info.compress_type, "unknown")
        raise DataError(f"{shown}: {name!r} is packed by method {info.compress_type} ({method}); {_UNZIP}")
