"""The house: nothing imports upwards or in a circle, and the page about it shows every file."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
import tree
from places import ROOT

PACKAGE = ROOT / "apt_lightning"
FLOORS = (
    ("common",),
    ("data", "networks", "losses"),
    ("evaluation",),
    ("stages",),
    ("training",),
    ("experiments",),
    ("cli",),
)
"""From the ground up: a folder imports from those of lower floors only, neighbours on a floor not from each other."""
DATA = ("faults", "collection", "media", "text", "store", "preparation", "encoding", "loading", "synthetic")
"""The same within ``data``."""
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}


def imports(name):
    """Modules of the package that a module imports anywhere in it: lazily, for type checking, or by a relative name."""
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {f"{module}.{alias.name}" if f"{module}.{alias.name}" in FILES else module for alias in node.names}
    return {other for other in found if other in FILES and other != name}


@cache
def graph():
    return {name: imports(name) for name in FILES}


def test_no_module_is_part_of_a_circle():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def floor(name):
    part = name.split(".")[1]
    return next(level for level, parts in enumerate(FLOORS) if part in parts)


def upward(name, other):
    """Whether an import breaks the order of the folders."""
    here, there = name.split("."), other.split(".")
    if len(here) == 1 or here[1] == "__main__" or len(there) == 1:
        return False  # the package's own page names what is below it
    if here[1] != there[1]:
        return floor(other) >= floor(name)
    if here[1] == "data" and len(here) > 2 and len(there) > 2 and here[2] != there[2]:
        return DATA.index(there[2]) > DATA.index(here[2])
    return False


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_imports_upwards(name):
    assert not [other for other in graph()[name] if upward(name, other)]


def test_the_package_has_at_most_ten_entries():
    entries = [
        entry.name for entry in PACKAGE.iterdir() if not entry.name.startswith("__") and entry.name != "py.typed"
    ]
    assert len(entries) <= 10
    assert {entry for entry in entries if "." not in entry} == {
        "configs",
        *(part for parts in FLOORS for part in parts),
    }


def test_the_page_shows_every_file():
    assert tree.PAGE.read_text(encoding="utf-8") == tree.page(), "run tests/helpers/tree.py"
