"""Lists of clip names, one a line, as quarantine lists are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from apt_lightning.common.files import write_text
from apt_lightning.common.names import name_form, raw_name
from apt_lightning.data.collection.tables import read_text_file


def write_names(path: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Write clip names so that :func:`read_names` finds each of them; a ``#`` at the begin is an escape.

    The first line is a comment, so that no name, as ``%PDF-1``, makes the file look like one of another kind.
    """
    lines = [r"\x23" + name[1:] if name.startswith("#") else name for name in names]
    write_text(path, "".join(f"{line}\n" for line in ["# clips, one a line", *lines]))


def read_names(path: str | os.PathLike[str], names: Collection[str]) -> tuple[set[str], list[str]]:
    """Read which of some clips a file lists.

    Blank lines and lines that begin with ``#`` are skipped, unless a clip has that name. A line holds a clip's name
    or, as in files of earlier versions and those written by hand, its file name.

    Args:
        path: Text file.
        names: Clips that it can list.

    Returns:
        The clips listed, and the lines that name none.

    Raises:
        DataError: If the file is not text.
    """
    known = set(names)
    found, unknown = set(), []
    for line in read_text_file(path).split("\n"):
        line = line.removesuffix("\r")
        forms = (line, line.strip(), name_form(raw_name(line.strip())), name_form(line))
        name = next((form for form in forms if form in known), None)
        if name is not None:
            found.add(name)
        elif line.strip() and not line.lstrip().startswith("#"):
            unknown.append(line.strip())
    return found, unknown
