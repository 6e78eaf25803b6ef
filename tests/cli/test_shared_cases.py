"""The shared cases as a user meets them: `apt doctor`, `apt prepare` and `apt score` say the right value of each.

Inputs of the same kinds, made by code, are in `data/media/test_layouts.py`, `data/collection/test_archives.py`,
`data/collection/test_annotations.py` and `data/text/test_vector_files.py`.
"""

import json
import shutil
import time

import pytest
from places import CASES

from apt_lightning.cli import main
from apt_lightning.data.store.reader import Store

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
MEDIA = {
    "av1_svt_false_damage.mp4": {"no-audio"},
    "h264_bframes_numbered.avi": set(),
    "iphone_apac.mov": set(),
    "mediarecorder.webm": set(),
    "obs_two_audio.mkv": set(),
    "offset20.webm": set(),
    "phone.3gp": {"wrong-aspect"},
}
"""Clip to its faults."""
WORDS = "the people like it and i like the people"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Folder of the media, and a CSV beside it that gives all of them words."""
    folder = tmp_path_factory.mktemp("cases")
    (folder / "media").mkdir()
    for name in MEDIA:
        shutil.copy(CASES / name, folder / "media")
    (folder / "words.csv").write_text("clip,transcript\n" + "".join(f"media/{name},{WORDS}\n" for name in MEDIA))
    return folder


def codes(faults):
    found = {name: set() for name in MEDIA}
    for fault in faults:
        if fault["code"] not in ("no-transcript", "no-known-word"):
            found[fault["clip"].removeprefix("media/")].add(fault["code"])
    return found


def test_media(media, tmp_path, capsys):
    for data in ("media", "words.csv"):
        assert main(["doctor", str(media / data), f"--report={tmp_path / 'faults.json'}"]) == 1
        report = json.loads((tmp_path / "faults.json").read_text())
        assert codes(report["faults"]) == MEDIA and report["clips"] == len(MEDIA) and not report["other files"]
        assert main(["prepare", str(media / data), str(tmp_path / data)]) == 0
        store = Store.open(tmp_path / data)
        assert codes({"clip": clip.name, "code": f.code} for clip in store.clips for f in clip.faults) == MEDIA
        assert [bool(store.present[i, 0]) for i in range(7)] == ["no-audio" not in MEDIA[n] for n in sorted(MEDIA)]
        assert store.present[:, 1].all() and all(len(store.frames(i)) == 6 for i in range(7))


def test_media_are_scored(media, chain, capsys):
    words = [str(media / "media"), f"--checkpoint={chain / 'seed42' / 'stage4' / 'best.ckpt'}", "--json"]
    assert main(["score", *words]) == 0
    scored = {result["clip"].rsplit("/", 1)[1]: result for result in json.loads(capsys.readouterr().out)}
    assert {name: set(result["faults"]) for name, result in scored.items()} == MEDIA
    for name, result in scored.items():
        assert result["modalities"] == (["visual"] if "no-audio" in MEDIA[name] else ["audio", "visual"])


@pytest.mark.parametrize("command", ["doctor", "prepare"])
def test_zips(command, tmp_path, capsys):
    for name in ("mac_nested", "nested_amplify"):
        (tmp_path / name).mkdir()
        shutil.copy(CASES / f"{name}.zip", tmp_path / name)
    words = {name: [command, str(tmp_path / name)] for name in ("mac_nested", "nested_amplify")}
    for name, more in words.items():
        more += [str(tmp_path / f"{name}-store")] if command == "prepare" else []
    assert main(words["mac_nested"]) in (0, 1)
    assert "7 clips given = 0 ok + 7 degraded + 0 left out" in capsys.readouterr().out
    assert main(words["nested_amplify"]) == 2
    assert "is it a zip bomb?" in capsys.readouterr().err
    written = sum(file.stat().st_size for file in (tmp_path / "nested_amplify").rglob("*") if file.is_file())
    assert written < 20 * 8262 + 64 * 2**20 + 2**20


@pytest.mark.parametrize("command", ["doctor", "prepare"])
def test_keys_that_collide(command, tmp_path, capsys):
    shutil.copy(CASES / "offset20.webm", tmp_path)
    shutil.copy(CASES / "hash_collision.pkl", tmp_path / "annotation_training.pkl")
    start = time.process_time()
    assert main([command, str(tmp_path), *[str(tmp_path / "store")] * (command == "prepare")]) == 2
    assert time.process_time() - start < 3  # the command starts, too; it was 9 s
    assert "keys that are no texts" in capsys.readouterr().err


def test_word_vectors(media, tmp_path, capsys):
    for name, skipped in (("bom_header", 0), ("empty_token", 1)):
        words = [str(media / "words.csv"), str(tmp_path / name), f"--vectors={CASES / f'{name}.txt'}"]
        assert main(["prepare", *words]) == 0
        told = capsys.readouterr().out
        assert ("1 rows of" in told and "hold no word and are skipped" in told) == bool(skipped)
        store = Store.open(tmp_path / name)
        assert set(store.text.words) == {"the", "people", "like", "and", "i"} | ({"it"} & set(store.text.words))
        assert store.present[:, 2].all() and store.text_source["skipped"] == skipped
        assert len((tmp_path / name / "words" / "words.txt").read_text().splitlines()) == 20
        assert not any(fault.code == "no-known-word" for clip in store.clips for fault in clip.faults)
