"""Transcripts by a model in a store: marked, never mixed up with given ones, and each clip heard once."""

import json

import numpy as np
import pytest
from media import write_clip
from whisper import FakeTranscriber

from apt_lightning.cli import main
from apt_lightning.data.preparation import speech
from apt_lightning.data.store.reader import Store


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three clips, the first with a transcript, the last without sound; and a model that counts."""
    heard = []

    class Counting(FakeTranscriber):
        def transcribe(self, samples):
            heard.append(len(samples))
            return "happy words again" if len(samples) else ""

    monkeypatch.setattr(speech, "Transcriber", Counting)
    for name, sound in (("a", np.full(22050, 0.1)), ("b", np.full(22050, 0.2)), ("c", None)):
        write_clip(tmp_path / f"{name}.mp4", 10, sound=sound)
    (tmp_path / "clips.csv").write_text("clip,source,transcript\na.mp4,a,given words\nb.mp4,b,\nc.mp4,c,\n")
    return tmp_path, heard


def prepare(folder, *words):
    assert main(["prepare", str(folder / "clips.csv"), str(folder / "store"), "--workers=1", *words]) == 0
    return {clip.name: clip for clip in Store.open(folder / "store").clips}


MARK = {"model": "tiny", "sha256": "0" * 64}


def test_only_what_is_missing_is_written_down_and_marked(data):
    folder, heard = data
    clips = prepare(folder, "--transcribe=tiny", "--only=missing")
    assert [clips[name].transcript for name in ("a.mp4", "b.mp4", "c.mp4")] == ["given words", "happy words again", ""]
    assert [clips[name].transcribed for name in ("a.mp4", "b.mp4", "c.mp4")] == [None, MARK, MARK]
    assert len(heard) == 2
    assert [fault.code for fault in clips["b.mp4"].faults if "transcript" in fault.code] == []
    assert [fault.detail for fault in clips["c.mp4"].faults if "transcript" in fault.code] == [
        "tiny hears nobody speak"
    ]
    marked = [json.loads(line).get("transcribed") for line in (folder / "store" / "index.jsonl").open()]
    assert marked == [None, MARK, MARK]


def test_all_clips_without_only_and_none_without_a_model(data):
    folder, heard = data
    given = prepare(folder)
    fingerprint = Store.open(folder / "store").fingerprint
    clips = prepare(folder, "--transcribe=tiny")
    assert clips["a.mp4"].transcript == "happy words again" and clips["a.mp4"].transcribed == MARK
    assert Store.open(folder / "store").fingerprint != fingerprint
    assert prepare(folder) == given and len(heard) == 3
    assert Store.open(folder / "store").fingerprint == fingerprint


def test_no_clip_is_heard_twice_unless_it_or_the_model_changes(data):
    folder, heard = data
    prepare(folder, "--transcribe=tiny", "--only=missing")
    kept = folder / "store" / speech.TRANSCRIPTS
    kept.write_bytes(kept.read_bytes() + b'{"path": "half a li')  # a killed run
    prepare(folder, "--transcribe=tiny")
    assert len(heard) == 3
    write_clip(folder / "b.mp4", 12, sound=np.full(44100, 0.2))
    prepare(folder, "--transcribe=tiny")
    assert len(heard) == 4
    assert prepare(folder, "--transcribe=base")["a.mp4"].transcribed["model"] == "base"
    assert len(heard) == 7
    prepare(folder, "--transcribe=tiny")
    prepare(folder, "--transcribe=tiny", "--language=en")
    assert len(heard) == 10


def test_only_missing_needs_a_model(data, capsys):
    assert main(["prepare", str(data[0] / "clips.csv"), str(data[0] / "store"), "--only=missing"]) == 2
    assert "--transcribe MODEL" in capsys.readouterr().err
