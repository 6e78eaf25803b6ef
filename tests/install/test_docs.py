"""Documentation: numbers are the code's, the site is built without a dead reference, docstrings name what there is."""

import importlib
import re
import subprocess
import sys

import pytest
from places import ROOT

NUMBER = re.compile(r"([\d.e-]+)<!-- = (?:(\S+) \* )?([\w.]+)\.(\w+) -->")


def marked():
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [(page.name, *found) for page in pages for found in NUMBER.findall(page.read_text())]


@pytest.mark.parametrize(("page", "written", "factor", "module", "name"), marked())
def test_numbers_in_the_pages_are_those_of_the_code(page, written, factor, module, name):
    value = getattr(importlib.import_module(f"apt_lightning.{module}"), name)
    assert float(written) == pytest.approx(value * (eval(factor) if factor else 1), rel=1e-9)


def test_every_marker_is_read():
    text = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert text.count("<!-- = ") == len(marked()) >= 8


@pytest.fixture(scope="module")
def package():
    griffe = pytest.importorskip("griffe")
    sys.path.insert(0, str(ROOT / "scripts"))
    return griffe.load("apt_lightning", search_paths=[ROOT])


def test_docstrings_name_only_what_there_is(package):
    from site_pages import ROLE, objects, target_of

    named = [(obj, name) for obj in objects(package) if obj.docstring for name in ROLE.findall(obj.docstring.value)]
    assert len(named) > 50
    assert not [f"{obj.path}: {name}" for obj, name in named if target_of(obj, name) is None]


def test_every_error_is_listed_with_its_cause(package):
    from site_pages import error_tables, raised

    from apt_lightning.common import errors

    found = raised()
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and value.__subclasses__() == []}
    assert kinds <= set(found)
    source = "".join(path.read_text() for path in (ROOT / "apt_lightning").rglob("*.py"))
    written = {name: len(re.findall(rf"(?<!class )\b{name}\(", source)) for name in kinds}
    assert all(len(found[name]) > 0.8 * written[name] for name in kinds), written  # the rest is made elsewhere
    text = error_tables()
    assert "has no finished stage | `apt run` goes on where it stopped |" in text
    assert all(line.count(" | ") == 1 for line in text.split("\n") if line.startswith("| "))


def test_site_is_built_and_lists_every_public_name(tmp_path):
    pytest.importorskip("mkdocs")
    import apt_lightning

    words = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text()
    public = [name for name in apt_lightning.__all__ if not name.startswith("__")]
    assert not [name for name in public if f">{name}</span>" not in page]
    trouble = (tmp_path / "site" / "troubleshooting" / "index.html").read_text()
    assert "no finished stage" in trouble and "<!-- errors -->" not in trouble
    assert ":class:`" not in page and ":func:`" not in page
