"""Names of strangers: one reversible form for files, and nothing raw on a terminal."""

import ast
import json
import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from places import ROOT

from apt_lightning.cli import main
from apt_lightning.common.files import write_csv, write_json, write_text
from apt_lightning.common.names import name_form, raw_name, shown
from apt_lightning.data.collection.collection import read_collection
from apt_lightning.data.collection.name_lists import read_names, write_names
from apt_lightning.evaluation.tables import render

HOSTILE = ["\x1b[2J\x1b[1;1Hok.mp4", "a\rb.mp4", "a\nb.mp4", "\u202egpj.mp4", "a\x9b31mb.mp4", "a\u2028b.mp4", "\x00"]
raw = st.text(st.characters(), max_size=20) | st.binary(max_size=20).map(os.fsdecode)


def lines_and_controls(text):
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(c) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")]  # fmt: skip


@given(raw)
def test_the_form_is_reversible_and_fits_any_file(name):
    form = name_form(name)
    assert raw_name(form) == name
    assert form.encode() and form == form.strip() if name else form == ""
    assert not lines_and_controls(form) and len(form.splitlines()) <= 1
    assert shown(form) == form


@given(raw)
def test_what_is_shown_holds_no_control(text):
    assert not lines_and_controls(shown(text)) and shown(shown(text)) == shown(text)


@pytest.mark.parametrize(
    "name", ["a b.mp4", "caf\u00e9.mp4", "C:\\x\\u.mp4", "\U0001f468\u200d\U0001f469.mp4", "\u4f60\u202f1"]
)
def test_ordinary_names_are_their_own_form(name):
    assert name_form(name) == name


@given(st.lists(raw.filter(bool), unique=True, max_size=8))
@example(["%PDF-", "BZh91AY&SY"])  # begins of other kinds of files
@example(["BZh91AY&SY", "<html>"])
@example(["<html>"])
def test_a_list_holds_any_name(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "names.txt"
    forms = [name_form(name) for name in names]
    write_names(path, forms)
    assert read_names(path, forms) == (set(forms), [])


def test_lists_of_earlier_versions_and_by_hand_are_read(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(b" padded.mp4\r\n#1.mp4\n# a comment\n\na\\x41.mp4\nx\x1b.mp4\nnobody.mp4\n")
    forms = [name_form(name) for name in (" padded.mp4", "#1.mp4", "a\\x41.mp4", "x\x1b.mp4", "aA.mp4")]
    found, unknown = read_names(path, forms)
    assert found >= {forms[0], forms[1], forms[3]} and unknown == ["nobody.mp4"]
    assert found & {forms[2], forms[4]}


def test_writers_take_bytes_that_are_no_utf_8(tmp_path):
    write_text(tmp_path / "a", "x\udce9")
    write_csv(tmp_path / "b", ["c"], [["x\udce9"]])
    write_json(tmp_path / "c", ["x\udce9"])
    assert (tmp_path / "a").read_text() == "x\\xe9" and (tmp_path / "b").read_text() == "c\nx\\xe9\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_tables_and_error_lines_show_no_control(name, capsys):
    assert not lines_and_controls(render(["clip"], [[name]]).replace("\n", ""))
    assert len(render(["clip"], [[name]]).splitlines()) == 3
    assert main(["audit", f"/nowhere/{name}"]) == 2
    assert main([name]) == 2
    printed = capsys.readouterr().err
    assert not lines_and_controls(printed.replace("\n", "")) and printed.count("\n") == 2


def test_nothing_is_printed_but_by_say():
    alone = "standalone.py"  # goes with an exported model, and imports nothing of ours
    for file in (file for file in (ROOT / "apt_lightning").rglob("*.py") if file.name != alone):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert any(word.arg == "file" for word in node.keywords), f"{file}:{node.lineno}: use console.say"


def odd_folder(root):
    """A folder of files that are no media, with names of every kind; the names' forms."""
    names = [b"caf\xe9.mp4", b"a\nb.mp4", "\u202egpj.mp4".encode(), b"#1.mp4", b" x.mp4", b"-d.mp4", b"\xff\xfe.MP4"]
    for number, name in enumerate(names):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(b"no media %d" % number)
    return {name_form(os.fsdecode(name)) for name in names}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_doctor_finishes_with_every_name_and_any_terminal(tmp_path, encoding):
    (tmp_path / "data").mkdir()
    forms = odd_folder(tmp_path / "data")
    words = [
        "doctor",
        tmp_path / "data",
        "--report",
        tmp_path / "r.json",
        "--quarantine",
        tmp_path / "q",
        "--workers=2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "apt_lightning", *map(str, words)],
        env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    out = done.stdout.decode(encoding)
    assert "7 clips given = 0 ok + 0 degraded + 7 left out" in out
    assert not lines_and_controls(out.replace("\n", ""))
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert {fault["clip"] for fault in report["faults"]} == forms
    assert read_names(tmp_path / "q", forms) == (forms, [])
    # A report's names lead back to the files.
    table = tmp_path / "data" / "clips.csv"
    write_csv(table, ["clip"], [[form] for form in sorted(forms)])
    found = read_collection(table)
    assert {clip.name for clip in found.clips} == forms and all(clip.path for clip in found.clips)
