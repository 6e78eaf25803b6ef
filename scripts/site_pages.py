"""What the site adds to docs/: the API page from the public names, all errors from the code, roles of docstrings."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe

import apt_lightning
from apt_lightning.common import errors

NAMES = "<!-- public names -->"
"""Place in docs/api.md at which they are listed."""
ERRORS = "<!-- errors -->"
"""Place in docs/troubleshooting.md at which they are listed."""
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):`~?([\w.]+)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Hook of MkDocs: list the public names where a page asks for them."""
    names = [name for name in apt_lightning.__all__ if not name.startswith("__")]
    markdown = markdown.replace(NAMES, "\n".join(f"::: apt_lightning.{name}" for name in names))
    return markdown.replace(ERRORS, error_tables()) if ERRORS in markdown else markdown


def error_tables() -> str:
    """A section for each class of errors: what it is, and a row with cause and remedy for each place that raises it."""
    parts = []
    for name, messages in raised().items():
        about = (getattr(errors, name).__doc__ or "").split("\n")[0]
        rows = [f"| {_cell(cause)} | {_cell(remedy)} |" for cause, _, remedy in (m.partition("; ") for m in messages)]
        parts += [f"### {name}", about, "\n".join(["| cause | remedy |", "| --- | --- |", *dict.fromkeys(rows)])]
    return "\n\n".join(parts)


def raised() -> dict[str, list[str]]:
    """Class of error to the messages with which the code raises it, ``…`` for what is filled in."""
    found: dict[str, list[str]] = {name: [] for name, value in vars(errors).items() if isinstance(value, type)}
    for file in sorted(Path(apt_lightning.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            if node.func.id in found and (text := _text(node.args[-1])):
                found[node.func.id].append(text)
    return {name: sorted(messages) for name, messages in found.items() if messages}


def _text(node: ast.expr) -> str:
    """Text of a message; empty where it is made elsewhere."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _cell(text: str) -> str:
    """Text in a cell of a table: what is between backticks as code, nothing as markup."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*").split())


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
