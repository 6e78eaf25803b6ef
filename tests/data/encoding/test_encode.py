"""`apt encode`: what is stored is what the encoder gives on a clip's true content, however often it is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import numpy as np
import pytest
from media import numbered, voice, write_clip
from places import HELPERS

from apt_lightning.cli import main
from apt_lightning.common.errors import StoreError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.encoding.encode import _beside
from apt_lightning.data.encoding.recipe import TAKE
from apt_lightning.data.media.material import Take, take_clip
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import run_pool
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.sequences import feature_sets, read_set

TEXTS = ("a calm person", "hello", "", "infinity", "banana talk")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of five clips: four seconds, one without sound, one gone after preparation."""
    folder = tmp_path_factory.mktemp("encode")
    lines = [f"clip,source,split,{','.join(TRAITS)},transcript"]
    for i, text in enumerate(TEXTS):
        sound = None if i == 1 else voice(2.0, 8000, seed=i)
        write_clip(
            folder / f"c{i}.mkv", count=20, rate=10, sound=sound, channels=1, sample_rate=8000, audio_codec="flac"
        )
        lines.append(f"c{i}.mkv,s{i},train,0.5,0.5,0.5,0.5,0.5,{text}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    assert prepare(folder / "clips.csv", folder / "store", Options(workers=2)) == 0
    (folder / "c2.mkv").rename(folder / "c2.gone")
    return folder / "store"


@pytest.fixture(autouse=True)
def _helpers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


def encode(store, modality, kind, name, *more):
    return main(["encode", str(store), modality, "--encoder", f"python:simple_encoder:{kind}", "--name", name, *more])


def test_sound_is_stored_as_the_encoder_gives_it(made, capsys):
    status = encode(made, "audio", "Loudness", "loud", "--segment", "0", "--dtype", "float32")
    assert status == 1, "a clip is gone"
    told = capsys.readouterr().out
    assert "audio loud: 3 of 5 clips, 60 steps of 1 x 2 float32" in told and "missing-file: 1" in told
    found = read_set(made / "sequences" / "audio" / "loud")
    assert np.diff(found.offsets).tolist() == [20, 0, 0, 20, 20]
    for i in (0, 3, 4):
        parts = voice(2.0, 8000, seed=i).reshape(-1, 800)
        values = found.values[found.offsets[i] : found.offsets[i + 1], 0]
        np.testing.assert_allclose(values[:, 1], parts.std(axis=1), atol=1e-4)
    codes = {row["name"]: [code for code, _ in row["faults"]] for row in found.clips}
    assert codes["c1.mkv"] == ["no-audio"] and codes["c2.mkv"] == ["missing-file"]


def test_numpy_alone_reads_it(made):
    encode(made, "audio", "Loudness", "pooled", "--segment", "1")
    folder = made / "sequences" / "audio" / "pooled"
    meta = json.loads((folder / "set.json").read_text())
    values, offsets, times = (np.load(folder / f"{p}-{meta['stem']}.npy") for p in ("values", "offsets", "times"))
    assert values.shape == (6, 1, 4) and values.dtype == np.float16
    assert offsets.tolist() == [0, 2, 2, 2, 4, 6] and times.tolist() == [0.5, 1.5] * 3
    assert meta["specification"]["take"] == {"sense": "sound", "rate": 8000}
    parts = voice(2.0, 8000, seed=0).reshape(2, 10, 800).std(axis=2)
    np.testing.assert_allclose(values[:2, 0, 1], parts.mean(axis=1), atol=1e-3)


def test_pictures_are_those_shown_at_their_times(made):
    encode(made, "visual", "Colour", "colour", "--frames", "4", "--dtype", "float32")
    found = read_set(made / "sequences" / "visual" / "colour")
    assert found.values.shape == (16, 2, 3) and found.times[:4].tolist() == [0.25, 0.75, 1.25, 1.75]
    for k, number in enumerate((2, 7, 12, 17)):
        left = numbered(number)[:, :160].mean(axis=(0, 1))
        np.testing.assert_allclose(found.values[k, 0], left, atol=4)


def test_words_need_no_media(made):
    assert encode(made, "text", "Words", "letters", "--tokens", "--dtype", "float32") == 0
    found = read_set(made / "sequences" / "text" / "letters")
    assert np.diff(found.offsets).tolist() == [3, 1, 0, 0, 2]
    assert found.values[:3, 0].tolist() == [[1, 1], [4, 1], [6, 0]] and np.isnan(found.times).all()


def test_batches_hold_transcripts_of_like_length(made, monkeypatch):
    import simple_encoder

    lengths = []
    own = simple_encoder.Words.encode

    def noted(self, batch):
        lengths.append([len(clip.words) for clip in batch])
        return own(self, batch)

    monkeypatch.setattr(simple_encoder.Words, "encode", noted)
    encode(made, "text", "Words", "alike", "--batch", "2")
    assert lengths == [[13, 11], [8, 5]]


def test_pictures_are_taken_without_decoding_the_sound(made, monkeypatch):
    def unheard(*_):
        raise AssertionError("the sound was decoded")

    monkeypatch.setattr("apt_lightning.data.media.packets.SoundTrack", unheard)
    clip = str(Store.open(made).clips[0].path)
    assert take_clip(clip, "c0.mkv", Take("pictures", side=32, frames=3)).pictures.shape[:2] == (3, 32)
    with pytest.raises(AssertionError, match="decoded"):
        take_clip(clip, "c0.mkv", Take("sound"))


@pytest.mark.parametrize("sense", ["sound", "pictures"])
def test_material_comes_through_the_pipe_unchanged(made, sense):
    take = Take(sense, side=224, frames=12)
    tasks = [Task(clip.name, str(clip.path), 1) for clip in Store.open(made).clips if clip.name != "c2.mkv"]
    job = PoolJob(asdict(take), extract=TAKE, deliver=True)
    found = {result.task.name: result.extraction for result in run_pool(tasks, job, 2, 60)}
    assert sum(extraction is not None for extraction in found.values()) == (3 if sense == "sound" else 4)
    for task in tasks:
        if found[task.name] is not None:
            here, there = take_clip(task.path, task.name, take).material, found[task.name].material
            assert np.array_equal(here.samples, there.samples) and np.array_equal(here.pictures, there.pictures)
            assert here.times == there.times


def test_values_that_are_no_numbers_are_a_fault(made):
    encode(made, "text", "Words", "mean")
    found = read_set(made / "sequences" / "text" / "mean")
    assert [code for code, _ in found.clips[3]["faults"]] == ["not-encoded"]
    assert found.values[0, 0].tolist() == [np.float16(11 / 3), np.float16(2 / 3)]


def test_second_run_does_what_is_missing_or_changed(made, monkeypatch):
    import simple_encoder

    encode(made, "audio", "Loudness", "again")
    before = read_set(made / "sequences" / "audio" / "again")
    calls = []
    own = simple_encoder.Loudness.encode
    monkeypatch.setattr(
        simple_encoder.Loudness, "encode", lambda self, batch: calls.append(len(batch)) or own(self, batch)
    )
    encode(made, "audio", "Loudness", "again")
    assert calls == [] and read_set(made / "sequences" / "audio" / "again").sha256 == before.sha256
    os.utime(made.parent / "c4.mkv")
    encode(made, "audio", "Loudness", "again")
    assert calls == [1], "one file has changed"
    np.testing.assert_array_equal(read_set(made / "sequences" / "audio" / "again").values, before.values)
    encode(made, "audio", "Loudness", "again", "--weights", "2")
    assert sum(calls) == 1 + 3, "other weights make other values"
    np.testing.assert_allclose(read_set(made / "sequences" / "audio" / "again").values, 2 * before.values, rtol=2e-3)


def test_sets_are_listed_and_absent_ones_named(made):
    encode(made, "text", "Words", "mean")
    assert ("text", "mean") in [(one.modality, one.name) for one in feature_sets(made)]
    with pytest.raises(StoreError, match=r"no feature set 'none' of text, only .*mean"):
        read_set(made / "sequences" / "text" / "none")


def test_modality_of_an_own_name_says_what_it_is_made_of(made, capsys):
    assert encode(made, "loudness", "Loudness", "loud") == 2
    assert "--reads sound" in capsys.readouterr().err
    encode(made, "loudness", "Loudness", "loud", "--reads", "sound")
    assert read_set(made / "sequences" / "loudness" / "loud").covered == 3


def test_slow_encoder_makes_no_clip_late(made, monkeypatch):
    import simple_encoder

    monkeypatch.setattr(
        simple_encoder.Slow, "encode", lambda self, batch: time.sleep(6) or simple_encoder.Loudness.encode(self, batch)
    )
    encode(made, "audio", "Slow", "slow", "--batch", "1", "--seconds", "5", "--workers", "2")
    assert read_set(made / "sequences" / "audio" / "slow").covered == 3


def test_next_batch_is_fetched_while_one_is_encoded():
    fetched = threading.Event()

    def batches():
        yield ["one"]
        fetched.set()
        yield ["two"]

    def make(batch):
        assert fetched.wait(20), "it waits for the encoder"
        return {name: len(name) for name in batch}

    assert list(_beside(batches(), make)) == [(["one"], {"one": 3}), (["two"], {"two": 3})]


def wait_for_a_row(folder, seconds=30):
    """Return when a process has committed a clip more, or all is done."""

    def size():
        return sum(file.stat().st_size for file in folder.glob("shards/*/rows.jsonl"))

    before, end = size(), time.monotonic() + seconds
    while size() == before and time.monotonic() < end:
        time.sleep(0.02)


SHARE = """
import sys
from apt_lightning.data.encoding.encode import Encoding, prepared, encode_share
from apt_lightning.data.encoding.encoder import Choice
from apt_lightning.data.media.material import Take
from apt_lightning.data.store.reader import Store
store = Store.open(sys.argv[1])
encoding = Encoding(Choice("python:simple_encoder:Slow"), "killed", Take("sound"), batch=1, workers=1)
for _ in encode_share(prepared(store, "audio", encoding), int(sys.argv[2]), 2):
    pass
"""


@pytest.mark.slow
def test_twenty_kills_over_two_processes_give_the_same_arrays(made):
    encode(made, "audio", "Slow", "whole")
    folder = made / "sequences" / "audio" / "killed"
    rng, quiet, between = np.random.default_rng(7), {"stderr": subprocess.DEVNULL}, 0
    for _ in range(20):
        command = [sys.executable, "-c", SHARE, str(made)]
        both = [subprocess.Popen([*command, str(rank)], process_group=0, **quiet) for rank in (0, 1)]
        wait_for_a_row(folder)
        time.sleep(float(rng.uniform(0, 0.7)))
        for process in both:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        done = sum(len(file.read_bytes().splitlines()) for file in folder.glob("shards/*/rows.jsonl"))
        between += 0 < done < len(TEXTS)
        if done == len(TEXTS):
            shutil.rmtree(folder)
    assert between, "no kill came between two clips"
    encode(made, "audio", "Slow", "killed")
    whole, killed = read_set(made / "sequences" / "audio" / "whole"), read_set(folder)
    assert killed.sha256 == whole.sha256 and Store.open(made).fingerprint
