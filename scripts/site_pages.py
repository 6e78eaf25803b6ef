"""What the documentation site adds to docs/: the API page from the public names, and the roles of our docstrings."""

from __future__ import annotations

import re
from typing import Any

import griffe

import apt_lightning

NAMES = "<!-- public names -->"
"""Place in docs/api.md at which they are listed."""
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):`~?([\w.]+)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Hook of MkDocs: list the public names where a page asks for them."""
    names = [name for name in apt_lightning.__all__ if not name.startswith("__")]
    return markdown.replace(NAMES, "\n".join(f"::: apt_lightning.{name}" for name in names))


def target_of(obj: griffe.Object, name: str) -> str | None:
    """Path of what a role in an object's docstring names; ``None`` if there is no such thing."""
    root = obj.package
    places = [name, *(f"{scope.path}.{name}" for scope in (obj, obj.parent) if scope), f"{obj.module.path}.{name}"]
    for place in places:
        try:
            found = root.modules_collection[place]
            return str(found.final_target.path if found.is_alias else found.path)
        except (KeyError, ValueError, griffe.GriffeError):
            continue
    return None


class Roles(griffe.Extension):
    """Turns the roles of Sphinx, which editors read, into references of mkdocstrings."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite all docstrings of the package; a reference that leads nowhere is left and fails the build."""
        for obj in objects(pkg):
            if obj.docstring:
                text = ROLE.sub(lambda match, obj=obj: _reference(obj, match[1]), obj.docstring.value)
                obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", text)  # griffe's word for doctests


def _reference(obj: griffe.Object, name: str) -> str:
    target, label = target_of(obj, name), f"<code>{name.rpartition('.')[2]}</code>"
    if target is None:
        return f"[{label}][{name}]"
    return f'<autoref optional identifier="{target}">{label}</autoref>'  # a link where the site has it


def objects(parent: griffe.Object) -> list[griffe.Object]:
    """An object and everything that is defined in it."""
    below = [member for member in parent.members.values() if not member.is_alias]
    return [parent, *(found for member in below for found in objects(member))]  # type: ignore[arg-type]
