"""What a name that leads to no file may have meant."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from apt_lightning.common.names import name_form


def alike(name: str) -> str:
    """What names have in common that differ in Unicode form (NFC, NFD) or case only; as a key of a dict.

    Example:
        >>> alike("Cafe\u0301.MP4") == alike("caf\u00e9.mp4")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def difference(name: str, other: str) -> str:
    """Say in what two names that are :func:`alike` differ.

    Example:
        >>> difference("a.MP4", "a.mp4")
        'upper and lower case'
    """
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return "the Unicode form of its letters (NFC or NFD)"
    return "upper and lower case"


def hint(folder: Path, name: str, listings: dict[Path, dict[str, str]]) -> str:
    """Say what a CSV may have meant by a file that is not there; empty if nothing is like it.

    Args:
        folder: Of the CSV.
        name: Path of the file as written.
        listings: Kept between calls: what each folder holds, by :func:`alike`.
    """
    if "\\" in name:
        if re.match(r"[A-Za-z]:|\\\\", name):
            return "; a path of another machine: write it relative to the CSV, with / for \\"
        if os.path.isfile(folder / name.replace("\\", "/")):
            return "; write / for \\"
    file = folder / name
    if file.parent not in listings:
        listings[file.parent] = {alike(other): other for other in _names(file.parent)}
    other = listings[file.parent].get(alike(file.name))
    if other is None:
        return ""
    return f"; {name_form(other)!r} is there, which differs in {difference(file.name, other)}"


def _names(folder: Path) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError):  # ValueError: a NUL in its name
        return ()
