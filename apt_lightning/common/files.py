"""Files that are whole or absent: written under a temporary name and renamed, locked, and told apart by digests."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apt_lightning.common.errors import AptError, DataError, StoreError

try:
    import fcntl
except ModuleNotFoundError:
    raise ImportError("apt-lightning runs on Linux and macOS; on Windows use it in WSL") from None
from apt_lightning.common.names import ERRORS

TEMPORARY = ".part"
"""Suffix of files not yet renamed to their name; a following run removes those a killed one left."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path that takes the name ``path`` when the block ends, and vanishes if it raises.

    Readers see the old content or the new. The temporary name holds the process, so that two never share one.

    Args:
        path: The file to write; its folder is made if absent.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> with replacing(folder / "a.txt") as part:
        ...     _ = part.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file; see :func:`replacing`."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole text file as UTF-8, bytes of names that are none as escapes; see :func:`replacing`."""
    write_bytes(path, text.encode("utf-8", ERRORS))


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write a whole JSON file; see :func:`replacing`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a whole CSV file with a line of column names; see :func:`replacing`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def locked(path: Path, blocking: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file, released by the kernel if the process dies.

    Args:
        path: The file, made if absent.
        blocking: Wait while others hold it.
        shared: Hold it beside others who hold it shared; alone if not.

    Raises:
        StoreError: If ``blocking`` is false and another process holds it, or the place cannot be written or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be written ({error.strerror}); give a folder that can") from None
    try:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            raise StoreError(
                f"another process is writing {path.parent}; wait for it or end it. Several that share it, as under"
                " torchrun or srun, each need `--trainer.devices` and `--trainer.num_nodes`"
            ) from None
        except OSError as error:
            raise StoreError(
                f"the file system of {path.parent} has no locks ({error.strerror}), so two processes could write there"
                " at once; give a folder on another, such as a local disk"
            ) from None
        yield
    finally:
        os.close(file)


@contextmanager
def reading(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Turn whatever a damaged file of ours raises while it is read into one line.

    Args:
        path: The file.
        remedy: What to do, for the message.

    Raises:
        DataError: If the block raises anything but an error of ours.
    """
    try:
        yield
    except AptError:
        raise
    # Damage surfaces as almost any built-in error.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{os.fspath(path)} is damaged ({reason}); {remedy}") from None


def digest(value: Any) -> str:
    """16 hexadecimal digits that change when a JSON-like value changes.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
