"""The set on disk: official layout, pickles, reproducibility, resuming."""

import csv
import hashlib
import io
import json
import pickle
import pickletools
import re
import warnings
import zipfile

import numpy as np
import pytest

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic import build, synthesize
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.data.synthetic.layout import clip_folder
from apt_lightning.data.synthetic.python2 import dumps

SMALL = {"seed": 2, "seconds": 0.6, "size": (64, 36), "fps": 10.0}
KEYS = ["extraversion", "neuroticism", "agreeableness", "conscientiousness", "interview", "openness"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "set"
    synthesize(out, 9, workers=1, **SMALL)
    return out


class _Reader(pickle.Unpickler):
    """Reads what the real files hold and refuses the rest."""

    def find_class(self, module, name):
        if (module, name) not in {("numpy.core.multiarray", "scalar"), ("numpy", "dtype")}:
            raise pickle.UnpicklingError(f"{module}.{name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().find_class(module, name)


def _load(data):
    return _Reader(io.BytesIO(data), encoding="latin1").load()


def _digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_folders_and_names_are_the_official_ones(made):
    clips = [path.relative_to(made) for path in made.rglob("*.mp4")]
    assert len(clips) == len(plan_clips(9, None, 2, 0.6)) > 9
    for clip in clips:
        assert re.fullmatch(r"(train|val|test)-1/(training|validation|test)80_01", clip.parent.as_posix())
        assert re.fullmatch(r"[\w-]{11}\.00[0-5]\.mp4", clip.name, re.ASCII)
    assert any(clip.name.startswith("-") for clip in clips)


def test_large_sets_use_the_official_number_of_folders():
    assert clip_folder("train", 5999) == "train-6/training80_75"
    assert clip_folder("validation", 1999) == "val-2/validation80_25"
    assert clip_folder("test", 80) == "test-1/test80_02"


def test_labels_and_transcripts_read_back(made):
    for split, folder in (("training", "train-1"), ("validation", "val-1"), ("test", "test-1")):
        annotation = _load((made / f"annotation_{split}.pkl").read_bytes())
        transcription = _load((made / f"transcription_{split}.pkl").read_bytes())
        assert list(annotation) == KEYS
        for values in annotation.values():
            assert list(values) == list(transcription)
            assert all(isinstance(value, float) and 0 <= value <= 1 for value in values.values())
        assert set(transcription) == {path.name for path in (made / folder).rglob("*.mp4")}
        assert all(type(text) is str for text in transcription.values())
    plans = {plan.name: plan for plan in plan_clips(9, None, 2, 0.6)}
    assert all(plans[clip].labels[4] == value for clip, value in annotation["openness"].items())
    assert all(plans[clip].transcript == text for clip, text in transcription.items())


def test_both_forms_of_numbers_occur(made):
    training = _load((made / "annotation_training.pkl").read_bytes())
    test = _load((made / "annotation_test.pkl").read_bytes())
    assert all(type(value) is np.float64 for value in training["interview"].values())
    assert all(type(value) is float for value in test["interview"].values())


def test_pickles_hold_byte_strings_of_protocol_2():
    content = {"k" * 300: {f"{i}": 0.25 for i in range(2500)}, "scalar": {"a": np.float64(0.1)}, "empty": {}}
    data = dumps(content)
    names = {opcode.name for opcode, _, _ in pickletools.genops(data)}
    assert names <= {
        *("PROTO", "EMPTY_DICT", "MARK", "SETITEMS", "STOP", "BINFLOAT", "SHORT_BINSTRING", "BINSTRING"),
        *("GLOBAL", "BININT", "BININT1", "NONE", "TUPLE", "TUPLE2", "TUPLE3", "REDUCE", "BUILD"),
    }
    assert next(iter(pickletools.genops(data)))[1] == 2
    assert _load(data) == content
    assert pickle.loads(dumps({"a": "b"}), encoding="bytes") == {b"a": b"b"}
    assert _load(dumps({"a": "caf\u00e9"})) == {
        "a": "caf\u00c3\u00a9"
    }  # UTF-8 bytes seen as latin1, as in the real files


def test_demographics_cover_every_clip(made):
    rows = []
    for file in ("dev", "test"):
        with open(made / f"eth_gender_annotations_{file}.csv", newline="") as stream:
            rows += csv.DictReader(stream, delimiter=";")
    ages = {}
    for file in made.glob("age_anno_*.csv"):
        with open(file, newline="") as stream:
            ages |= {row["VideoName"]: int(row["AgeGroup"]) for row in csv.DictReader(stream)}
    names = {path.name for path in made.rglob("*.mp4")}
    assert {row["VideoName"] for row in rows} == set(ages) == names
    assert all(row["VideoName"].rsplit(".", 2)[0] == row["YouTubeID"] for row in rows)
    assert {row["Ethnicity"] for row in rows} <= set("123") and {row["Gender"] for row in rows} <= set("12")
    assert all(1 <= age <= 8 for age in ages.values())


def test_bytes_do_not_depend_on_the_number_of_workers(made, tmp_path):
    synthesize(tmp_path / "again", 9, workers=2, **SMALL)
    assert _digests(tmp_path / "again") == _digests(made)


def test_an_interrupted_run_goes_on(made, tmp_path, monkeypatch):
    out, done = tmp_path / "set", []
    whole = build.make_clip

    def stop_at_the_fourth(plan, **kwargs):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(plan.name)
        whole(plan, **kwargs)

    monkeypatch.setattr(build, "make_clip", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        synthesize(out, 9, workers=1, **SMALL)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert len(kept) == 3
    monkeypatch.setattr(build, "make_clip", whole)
    synthesize(out, 9, workers=1, **SMALL)
    assert _digests(out) == _digests(made)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_other_settings_and_other_folders_are_refused(made, tmp_path):
    with pytest.raises(UsageError, match="other settings"):
        synthesize(made, 9, workers=1, **(SMALL | {"seed": 3}))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        synthesize(tmp_path, 9, workers=1, **SMALL)


@pytest.mark.parametrize(
    "change", [{"seconds": 0.1}, {"fps": 0.0}, {"size": (63, 36)}, {"size": (16, 16)}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(tmp_path, change):
    with pytest.raises(UsageError):
        synthesize(tmp_path / "set", 2, workers=1, **(SMALL | change))
    assert not (tmp_path / "set").exists()


def test_zipped_set_holds_the_same_clips(made, tmp_path):
    out = tmp_path / "zipped"
    synthesize(out, 9, workers=1, zipped=True, **SMALL)
    plain = {path.name: path.read_bytes() for path in made.rglob("*.mp4")}
    found = {}
    for outer in ("train-1", "val-1", "test-1"):
        with zipfile.ZipFile(out / f"{outer}.zip") as archive:
            for inner in archive.namelist():
                assert re.fullmatch(r"(training|validation|test)80_01\.zip", inner)
                with zipfile.ZipFile(io.BytesIO(archive.read(inner))) as clips:
                    found |= {name: clips.read(name) for name in clips.namelist()}
    assert found == plain
    assert not list(out.rglob("*.mp4"))
    with zipfile.ZipFile(out / "val-annotation.zip") as archive:
        assert archive.read("annotation_validation.pkl") == (made / "annotation_validation.pkl").read_bytes()
    before = _digests(out)
    synthesize(out, 9, workers=1, zipped=True, **SMALL)
    assert _digests(out) == before


def test_command_line(tmp_path, capsys):
    options = ["--clips=2", "--seconds=0.5", "--width=64", "--height=36", "--fps=5", "--workers=1"]
    assert main(["synthesize", str(tmp_path / "set"), *options]) == 0
    assert "no data about people" in capsys.readouterr().out
    assert json.loads((tmp_path / "set" / "synthetic.json").read_text())["clips"] == 2
    assert len(list((tmp_path / "set").rglob("*.mp4"))) == 2
    assert main(["synthesize", str(tmp_path / "set"), *options, "--seed", "1"]) == 2
    assert "apt: error:" in capsys.readouterr().err
