import math
import os
import pickle
import subprocess
import sys

import pytest

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.collection import read_collection, source_of
from apt_lightning.data.faults import FAULTS, Fault

A, B, C, D = "AbCdEfGhIjK.000.mp4", "-bCdEfGhIjK.005.mp4", "zzzzzzzzzzz.001.mp4", "zzzzzzzzzzz.002.mp4"


def official(root, files, labels, texts=None):
    """Write empty clips at paths, and label files {name: {clip: value or five values}}."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for name, clips in labels.items():
        table = {t: {} for t in (*TRAITS, "interview")}
        for clip, values in clips.items():
            values = values if isinstance(values, tuple) else (values,) * 5
            for trait, value in zip(TRAITS, values, strict=True):
                if value is not None:
                    table[trait][clip] = value
            table["interview"][clip] = 0.5
        (root / f"annotation_{name}.pkl").write_bytes(pickle.dumps(table, protocol=2))
    for name, table in (texts or {}).items():
        (root / f"transcription_{name}.pkl").write_bytes(pickle.dumps(table, protocol=2))


def codes(collection, without="no-transcript"):
    assert {fault.code for fault in collection.faults} <= FAULTS.keys()
    return sorted((fault.clip, fault.code) for fault in collection.faults if fault.code != without)


def test_official_layout(tmp_path):
    files = [f"train-1/training80_01/{A}", f"train-2/training80_14/{D}", f"val-1/validation80_01/{C}"]
    files += [f"test-1/test80_01/{B}", "train-1/training80_01/._" + A, ".Trash/x.mp4", "train-1/notes.txt"]
    labels = {"training": {A: (0.1, 0.2, 0.3, 0.4, 0.5), D: 0.5}, "validation": {C: 1}, "test": {B: 0.0}}
    texts = {"training": {A: "Hello there", D: "x"}, "validation": {C: "y"}, "test": {B: "z"}}
    official(tmp_path, files, labels, texts)
    found = read_collection(tmp_path)
    assert found.kind == "official" and [clip.name for clip in found.clips] == [A, D, C, B]
    first = found.clips[0]
    assert first.traits == (0.1, 0.2, 0.3, 0.4, 0.5) and first.transcript == "Hello there"
    assert first.source == "AbCdEfGhIjK" and first.path == str(tmp_path / files[0])
    assert [clip.split for clip in found.clips] == ["train", "train", "validation", "test"]
    assert codes(found) == [(B, "leading-dash")]


def test_nothing_is_lost_between_labels_and_clips(tmp_path):
    official(tmp_path, [f"train-1/a/{A}", f"val-1/b/{C}"], {"training": {A: 0.5, D: 0.5}}, {"training": {A: " \n"}})
    found = read_collection(tmp_path)
    assert {clip.name: (clip.split, clip.path is None) for clip in found.clips} == {
        A: ("train", False), D: ("train", True), C: ("validation", False),
    }  # fmt: skip
    assert codes(found, without=None) == [
        (A, "empty-transcript"), (C, "clip-without-label"), (C, "no-transcript"),
        (D, "label-without-clip"), (D, "no-transcript"),
    ]  # fmt: skip


def test_the_split_is_the_label_files_before_the_folders(tmp_path):
    official(tmp_path, [f"all/{A}", f"train-1/{C}"], {"test": {A: 0.5, C: 0.5}})
    assert [clip.split for clip in read_collection(tmp_path).clips] == ["test", "test"]


@pytest.mark.parametrize(
    ("values", "code", "left"),
    [
        ((0.5, 0.5, None, 0.5, 0.5), "label-missing", 4),
        ((0.5, 0.5, math.nan, 0.5, 0.5), "label-missing", 4),
        ((0.5, 1.2, -0.1, 0.5, math.inf), "label-out-of-range", 2),
        ((math.nan,) * 5, "clip-without-label", 0),
    ],
)
def test_bad_labels_are_faults_and_become_missing(tmp_path, values, code, left):
    official(tmp_path, [f"train-1/{A}", f"train-1/{C}"], {"training": {A: values, C: 0.5}})
    found = read_collection(tmp_path)
    assert codes(found) == [(A, code)]
    assert sum(not math.isnan(value) for value in found.clips[0].traits) == left


def test_names(tmp_path):
    names = ["abc.mp4", "Abc.mp4", "caf\u00e9.mp4", "-x.mp4"]
    official(tmp_path, [f"train/{name}" for name in names], {"training": dict.fromkeys(names, 0.5)})
    assert codes(read_collection(tmp_path)) == [
        ("-x.mp4", "leading-dash"),
        ("Abc.mp4", "case-collision"),
        ("abc.mp4", "case-collision"),
        ("caf\u00e9.mp4", "non-ascii-name"),
    ]


def test_one_name_at_two_places(tmp_path):
    official(tmp_path, [f"train-1/{A}", f"train-2/{A}"], {"training": {A: 0.5}})
    found = read_collection(tmp_path)
    assert [clip.path for clip in found.clips] == [str(tmp_path / "train-1" / A)]
    assert codes(found) == [(f"train-2/{A}", "duplicate-name")]


def test_a_clip_in_two_splits_stops(tmp_path):
    official(tmp_path, [f"train-1/{A}"], {"training": {A: 0.5}, "test": {A: 0.5}})
    with pytest.raises(DataError, match=r"is in a file of the .* split too; keep one"):
        read_collection(tmp_path)


def test_copies_of_a_label_file_must_agree(tmp_path):
    official(tmp_path, [f"train-1/{A}"], {"training": {A: 0.5}})
    copy = tmp_path / "train-annotation" / "annotation_training.pkl"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "annotation_training.pkl").read_bytes())
    assert codes(read_collection(tmp_path)) == []
    official(copy.parent, [], {"training": {A: 0.6}})
    with pytest.raises(DataError, match=r"differs from .*; keep one"):
        read_collection(tmp_path)


def test_demographics_are_joined(tmp_path):
    official(tmp_path, [f"train-1/{A}"], {"training": {A: 0.5}})
    (tmp_path / "eth_gender_annotations_dev.csv").write_text(f"VideoName;Ethnicity;Gender\n{A};1;2\n")
    (tmp_path / "fi_age_labels").mkdir()
    (tmp_path / "fi_age_labels" / "age_anno_dev.csv").write_text(f"VideoName,AgeGroup\n{A},5\n")
    assert read_collection(tmp_path).demographics == {A: {"ethnicity": "Asian", "gender": "female", "age": "25-32"}}


def test_links_are_followed_once(tmp_path):
    official(tmp_path / "disk", [f"training80_01/{A}"], {})
    data = tmp_path / "data"
    data.mkdir()
    (data / "train-1").symlink_to(tmp_path / "disk")
    (data / "train-1" / "loop").symlink_to(data)
    assert [(clip.name, clip.split) for clip in read_collection(data).clips] == [(A, "train")]


def test_the_order_is_the_same_in_another_process(tmp_path):
    official(tmp_path, [], {"training": {f"{i}.mp4": 0.5 for i in range(30)}})
    code = (
        "import sys; from apt_lightning.data.collection.collection import read_collection as r; print(r(sys.argv[1]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        ).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(outputs) == 1


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    official(tmp_path, [f"train-1/{i}.mp4" for i in range(30)], {})
    forward = read_collection(tmp_path)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((f, d, n[::-1]) for f, d, n in walk(*a, **k)))
    assert read_collection(tmp_path) == forward


def test_a_plain_folder_is_unlabelled(tmp_path):
    official(tmp_path, ["valentina/one.mov", "testimonials/two.MP4", "readme.txt"], {})
    found = read_collection(tmp_path)
    assert (found.kind, codes(found)) == ("folder", [])
    assert [(clip.name, clip.split, clip.transcript) for clip in found.clips] == [
        ("one.mov", "unlabelled", None), ("two.MP4", "unlabelled", None),
    ]  # fmt: skip


def csv(tmp_path, text, files=("a.mp4", "b.x.mp4")):
    for file in files:
        (tmp_path / file).touch()
    (tmp_path / "clips.csv").write_text(text, encoding="utf-8")
    return tmp_path / "clips.csv"


def test_csv_with_everything(tmp_path):
    head = "clip,source,split," + ",".join(TRAITS) + ",transcript,gender"
    text = f'{head}\nb.x.mp4,s1,Train,.1,.2,.3,.4,.5,"Hello, you",female\na.mp4,,val,1,1,1,1,,,\n'
    found = read_collection(csv(tmp_path, text))
    assert found.kind == "csv" and found.demographics == {"b.x.mp4": {"gender": "female"}}
    first, second = found.clips
    assert (first.name, first.source, first.split) == ("b.x.mp4", "s1", "train")
    assert first.traits == (0.1, 0.2, 0.3, 0.4, 0.5) and first.transcript == "Hello, you"
    assert (second.source, second.split, second.transcript) == ("a", "validation", "")
    assert first.path == str(tmp_path / "b.x.mp4")
    assert codes(found) == [("a.mp4", "empty-transcript"), ("a.mp4", "label-missing")]


def test_csv_with_names_only(tmp_path):
    found = read_collection(csv(tmp_path, "\ufeffclip\na.mp4\nb.x.mp4\ngone.mp4\n"))
    assert [(c.source, c.split, c.transcript) for c in found.clips] == [
        ("a", "unlabelled", None), ("b", "unlabelled", None), ("gone", "unlabelled", None),
    ]  # fmt: skip
    assert found.clips[2].path is None and codes(found) == [("gone.mp4", "missing-file")]


def test_csv_labels_without_a_split_are_for_testing(tmp_path):
    found = read_collection(csv(tmp_path, "clip,openness\na.mp4,0.5\nb.x.mp4,\n"))
    assert [clip.split for clip in found.clips] == ["test", "unlabelled"]


def test_csv_labels_on_another_scale(tmp_path):
    found = read_collection(csv(tmp_path, "clip,openness,scale\na.mp4,1,1-7\nb.x.mp4,0,-2..2\n"))
    assert [clip.traits[4] for clip in found.clips] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("clip\n", "holds no clip"),
        ("name\na.mp4\n", "row 1: column clip is missing"),
        ("clip\na.mp4\na.mp4\n", "row 3, column clip: 'a.mp4' stands in row 2 already"),
        ("clip,split\n,train\n", "row 2, column clip: empty"),
        (
            "clip,split\na.mp4,holdout\n",
            "row 2, column split: expected one of train, validation, test, unlabelled",
        ),
        ("clip,openness\na.mp4,high\n", "row 2, column openness: expected a number"),
        ("clip,openness,scale\na.mp4,1,7-1\n", "row 2, column scale: expected the least and the greatest"),
        ("clip,openness,scale\na.mp4,1,x\n", "row 2, column scale"),
    ],
)
def test_csv_defects_name_row_and_column(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        read_collection(csv(tmp_path, text))


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="holds no clip"):
        read_collection(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_collection(tmp_path / "x")


def test_sources():
    assert source_of("J4GQm9j0JZ0.003.mp4") == "J4GQm9j0JZ0"
    assert source_of(".hidden") == ".hidden"


def test_faults_are_of_the_public_kind(tmp_path):
    found = read_collection(csv(tmp_path, "clip\ngone.mp4\n", files=()))
    assert found.faults[0] == Fault("missing-file", "gone.mp4", f"row 2: no file {tmp_path / 'gone.mp4'}")
