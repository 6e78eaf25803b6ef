"""Unpack the official nested zips, which come from strangers: bounded, inside one folder, resumable."""

from __future__ import annotations

import errno
import getpass
import json
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from apt_lightning.common.console import bar
from apt_lightning.common.errors import DataError
from apt_lightning.common.files import TEMPORARY, replacing, write_bytes
from apt_lightning.common.names import shown as shown_name
from apt_lightning.data.collection.folder import RECORD
from apt_lightning.data.collection.zip_kinds import check_member, check_zip

KEYS = "APT_ZIP_KEY"
"""Each environment variable whose name begins so holds one key; the data set needs several."""

MAX_RATIO = 20
"""Unpacked to packed size of an archive with all in it; clips do not shrink, transcripts shrink to a third."""

MAX_BYTES = 200 * 2**30
"""Unpacked size of all archives; the whole data set has about 30 GiB."""

MAX_MEMBERS = 100_000
"""Files of all archives; the data set has 10,000."""
MAX_NAME = 240
"""Bytes of a file or folder name, so that the temporary name fits the file system too."""

_SLACK = 64 * 2**20
"""Unpacked bytes to which no ratio applies: small texts shrink much and harm nobody."""
_CHUNK = 2**20


class _Budget:
    """What may still be unpacked of archives of some bytes, and of the archives in them, in sum."""

    def __init__(self, packed: int) -> None:
        self.packed = packed
        self.files = 0
        self.bytes = 0

    def take(self, shown: str, files: int, size: int) -> None:
        """Count files about to be unpacked."""
        self.files += files
        self.bytes += size
        if self.files > MAX_MEMBERS:
            raise DataError(f"{shown}: holds {self.files} files; at most {MAX_MEMBERS} are unpacked")
        if self.bytes > min(MAX_BYTES, MAX_RATIO * self.packed + _SLACK):
            raise DataError(
                f"{shown}: would grow from {self.packed} to {self.bytes} bytes; at most {MAX_RATIO} times and "
                f"{MAX_BYTES >> 30} GiB are unpacked; is it a zip bomb?"
            )


def unpack_data(data: str | os.PathLike[str]) -> None:
    """Unpack the zips below a data set's folder where they lie; does nothing for a CSV."""
    if os.path.isdir(data):
        unpack(data, data)


def unpack(data: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Unpack every zip below a folder, and the zips in these, each to a folder of its own name.

    ``train-1.zip`` with ``training80_01.zip`` in it becomes ``train-1/training80_01/<clip>.mp4``. Files that
    are there with the right size and checksum are kept, and an archive that has not changed since it was
    unpacked is not opened again (``unpacked.json``). Keys are taken from environment variables that begin
    with :data:`KEYS`, or asked for on a terminal; decryption takes 0.4 s a MB (Python's own).

    Args:
        data: Folder with ``*.zip`` anywhere below it.
        out: Folder to unpack to; may be the same.

    Raises:
        DataError: If an archive is damaged, needs a key that is not given, or holds what no archive of the
            data set holds: names that lead elsewhere, links, too many or too large files.
    """
    data, out = Path(data), Path(out)
    record = out / RECORD
    done = _read_record(record)
    keys = [value.encode() for name, value in sorted(os.environ.items()) if name.startswith(KEYS) and value]
    zips = (path for path in sorted(data.rglob("*")) if path.suffix.lower() == ".zip" and path.is_file())
    stamps = {path: _stamp(path) for path in zips if not _hidden(path.relative_to(data).parts)}
    names = {path: path.relative_to(data).as_posix() for path in stamps}
    todo = [path for path, stamp in stamps.items() if not _complete(out, done.get(names[path]), stamp)]
    if not todo:
        return
    packed = sum(stamps[path][0] for path in todo)
    whole = _Budget(packed)
    with bar(packed, "unpack", "B", unit_scale=True) as unpacked:
        for path in todo:
            budgets = (_Budget(stamps[path][0]), whole)
            files = _unpack(path, str(path), (out / names[path]).with_suffix(""), keys, budgets, unpacked)
            sizes = {file.relative_to(out).as_posix(): file.stat().st_size for file in files}
            done[names[path]] = {"stamp": stamps[path], "files": sizes}
            write_bytes(record, json.dumps(done).encode())


def _hidden(parts: tuple[str, ...]) -> bool:
    """Whether a file is hidden, as those are that macOS adds to archives beside each file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _stamp(path: Path) -> list[int]:
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _read_record(record: Path) -> dict[str, Any]:
    try:
        done = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return done if isinstance(done, dict) else {}


def _complete(out: Path, known: Any, stamp: list[int]) -> bool:
    """Whether an archive is unchanged since it was unpacked and all its files are still there."""
    if not isinstance(known, dict) or known.get("stamp") != stamp or not isinstance(known.get("files"), dict):
        return False
    files = ((out / name, size) for name, size in known["files"].items())
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def _unpack(
    path: Path, shown: str, folder: Path, keys: list[bytes], budgets: tuple[_Budget, ...], unpacked: tqdm | None
) -> list[Path]:
    """Unpack an archive and, if it is one with a progress bar, the archives in it; returns its files."""
    files: list[Path] = []
    check_zip(path, shown)
    with _readable(shown), zipfile.ZipFile(path) as archive:
        members = _checked_members(shown, archive, folder)
        for budget in budgets:
            budget.take(shown, len(members), sum(info.file_size for info, _ in members))
        key = _find_key(shown, archive, [info for info, _ in members if info.flag_bits & 1], keys)
        for info, target in members:
            if target.suffix.lower() != ".zip":
                _extract(archive, info, target, key)
                files.append(target)
            elif unpacked is None:
                raise DataError(f"{shown}: holds {info.filename!r}, an archive in an archive in an archive")
            else:
                inner = target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY}")
                try:
                    _extract(archive, info, inner, key)
                    name = f"{shown}/{info.filename}"
                    files += _unpack(inner, name, target.with_suffix(""), keys, budgets, None)
                finally:
                    inner.unlink(missing_ok=True)
            if unpacked is not None:
                unpacked.update(info.compress_size)
    return files


def _checked_members(shown: str, archive: zipfile.ZipFile, folder: Path) -> list[tuple[zipfile.ZipInfo, Path]]:
    """The files of an archive and where they go, hidden ones left away, all checked before the first is written."""
    targets: dict[Path, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"{shown}: {info.filename!r} is a link or a device; only plain files are unpacked")
        inside = name.parts and not name.is_absolute() and ".." not in name.parts and ":" not in name.parts[0]
        short = all(len(os.fsencode(part)) <= MAX_NAME for part in name.parts)
        if not inside or not short or shown_name(str(name)) != str(name):
            raise DataError(f"{shown}: {info.filename!r} is no name inside the archive's own folder")
        if _hidden(name.parts):
            continue
        check_member(shown, info)
        # An archive made from a folder of its own name does not get that folder twice.
        parts = name.parts[1:] if len(name.parts) > 1 and name.parts[0] == folder.name else name.parts
        if targets.setdefault(folder.joinpath(*parts), info) is not info:
            raise DataError(f"{shown}: holds {info.filename!r} twice")
    for target, info in targets.items():
        if any(parent in targets for parent in target.parents):
            raise DataError(f"{shown}: {info.filename!r} lies in a file as if it were a folder")
    return [(info, target) for target, info in targets.items()]


def _find_key(
    shown: str, archive: zipfile.ZipFile, encrypted: list[zipfile.ZipInfo], keys: list[bytes]
) -> bytes | None:
    """The key of an archive's encrypted files, tried on the smallest; asked for on a terminal, then kept."""
    if not encrypted:
        return None
    smallest = min(encrypted, key=lambda info: info.file_size)
    for key in keys:
        if _opens(archive, smallest, key):
            return key
    if not os.isatty(0):
        state = f"none of the {len(keys)} keys given opens it" if keys else "encrypted"
        raise DataError(f"{shown}: {state}; set its key in an environment variable such as {KEYS} or {KEYS}_TEST")
    key = getpass.getpass(f"Key of {shown_name(shown)} (not shown): ").encode()
    if not _opens(archive, smallest, key):
        raise DataError(f"{shown}: this key does not open it; the keys stand on the data set's page")
    keys.append(key)
    return key


def _opens(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: bytes) -> bool:
    """Whether a key fits; read to the end, since one wrong key in 256 passes the format's own test."""
    try:
        with archive.open(info, pwd=key) as file:
            while file.read(_CHUNK):
                pass
    except (RuntimeError, zipfile.BadZipFile, zlib.error, EOFError):
        return False
    return True


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, key: bytes | None) -> None:
    if target.is_file() and target.stat().st_size == info.file_size and _crc(target) == info.CRC:
        return
    with replacing(target) as part, archive.open(info, pwd=key) as source, part.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


@contextmanager
def _readable(shown: str) -> Iterator[None]:
    """Turn what a damaged archive makes the readers raise into one typed error."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a true error of the disk
            raise
        raise _damaged(shown, error) from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ArithmeticError, LookupError) as error:
        raise _damaged(shown, error) from error
    except (RuntimeError, ValueError, MemoryError) as error:
        raise _damaged(shown, error) from error


def _damaged(shown: str, error: Exception) -> DataError:
    reason = str(error)[:200]  # zipfile quotes what it found, which can be much
    return DataError(f"{shown}: damaged, or of a kind that cannot be read ({reason}); download it again")
