"""Clips as people name them: files, folders, patterns, tables, standard input."""

import io
import os
import sys
from types import SimpleNamespace

import pytest

from apt_lightning.common.errors import UsageError
from apt_lightning.data.collection.given import given_clips


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.webm", "a.wav", "notes.txt", "deep/c.mov", ".hidden/d.mp4"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "clips"


def names(given):
    return [os.path.basename(clip) for clip in given.clips]


def test_a_folder_stands_for_the_clips_below_it_but_not_for_sounds_of_films(folder):
    assert names(given_clips([str(folder)])) == ["a.webm", "b.mp4", "c.mov"]


def test_patterns_are_for_shells_that_leave_them(folder):
    assert names(given_clips([f"{folder}/*.mp4"])) == ["b.mp4"]
    assert sorted(names(given_clips([f"{folder}/**/*.mo*"]))) == ["c.mov"]
    odd = folder / "take[1].mp4"
    odd.write_bytes(b"x")
    assert names(given_clips([str(odd)])) == ["take[1].mp4"]  # it is there, so it is no pattern


def test_each_clip_is_named_once_in_the_order_given(folder):
    given = given_clips([str(folder / "b.mp4"), str(folder), str(folder / "absent.mp4"), str(folder / "b.mp4")])
    assert names(given) == ["b.mp4", "a.webm", "c.mov", "absent.mp4"]


def test_names_come_from_the_standard_input_as_bytes(folder, monkeypatch):
    odd = os.fsencode(folder) + b"/caf\xe9.mp4"
    with open(odd, "wb"):
        pass
    lines = odd + b"\n\n" + os.fsencode(folder / "b.mp4") + b"\r\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    assert [os.fsencode(clip) for clip in given_clips(["-"]).clips] == [odd, os.fsencode(folder / "b.mp4")]


def test_a_table_gives_clips_and_words(folder, tmp_path, monkeypatch):
    table = tmp_path / "list.csv"
    table.write_text("Transcript,clip,label\nhello there,clips/b.mp4,1\n,clips/a.webm,2\nbye,gone.mp4,3\n")
    given = given_clips([str(table)])
    assert names(given) == ["b.mp4", "a.webm", "gone.mp4"]
    assert given.transcripts == {given.clips[0]: "hello there", given.clips[2]: "bye"}
    monkeypatch.chdir(folder)
    table.write_text("clip\nb.mp4\n")
    assert given_clips([str(table)]).clips == ["b.mp4"]  # relative to where one is, if not to the table


@pytest.mark.parametrize("word", ["empty", "empty/*.mp4", "empty.csv"])
def test_what_holds_no_clip_is_an_error(word, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("clip\n")
    with pytest.raises(UsageError, match="holds no clip"):
        given_clips([str(tmp_path / word)])
