"""The sum of what is given holds in every command, for a folder with files of every kind."""

import csv
import json
import re
from collections import Counter

import numpy as np
import pytest
from places import HELPERS, QUICK
from zoo import make_zoo

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.store.reader import Store

GOOD, BAD = 19, 5


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The folder, how many files it has, and where its store is to be."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "clips").mkdir()
    count = make_zoo(folder / "clips")
    return folder / "clips", count, folder / "store"


@pytest.fixture(scope="module")
def store(zoo):
    folder, _, store = zoo
    assert main(["prepare", str(folder), str(store), "--workers=2"]) == 1  # some are left out
    return store


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


def others(text):
    """Sum of the line of other files."""
    (line,) = [line for line in text.splitlines() if line.startswith("other files: ")]
    return sum(map(int, re.findall(r"(?:: |, )(\d+) ", line)))


def account(text):
    """Clips given, and the parts that they are the sum of."""
    total, parts = re.search(r"(\d+) clips given = ([^;\n]*)", text).groups()
    parts = list(map(int, re.findall(r"(?:^|\+ )(\d+) ", parts)))
    assert int(total) == sum(parts)
    return int(total), parts


def test_doctor(zoo, tmp_path, capsys):
    folder, count, _ = zoo
    assert main(["doctor", str(folder), f"--report={tmp_path / 'faults.json'}", "--workers=2"]) == 1
    told = capsys.readouterr().out
    total, (ok, degraded, left_out) = account(told)
    assert (ok + degraded, left_out) == (GOOD, BAD)
    assert total + others(told) == count
    report = json.loads((tmp_path / "faults.json").read_text())
    lost = [row for row in report["faults"] if row["outcome"] == "left out" and row["code"] != "duplicate-name"]
    assert len({row["clip"] for row in lost}) == report["left out"] == BAD
    assert sum(report["other files"].values()) + report["clips"] == count


def test_prepare(zoo, store, capsys):
    folder, count, _ = zoo
    assert main(["prepare", str(folder), str(store)]) == 1  # all is done
    told = capsys.readouterr().out
    total, (ok, degraded, left_out) = account(told)
    assert (ok + degraded, left_out) == (GOOD, BAD) and total + others(told) == count
    clips = Store.open(store).clips
    assert len(clips) == total and Counter(clip.status for clip in clips)["left out"] == BAD
    for clip in clips:
        if clip.status == "left out":
            assert any(FAULTS[fault.code].outcome == Outcome.LEFT_OUT for fault in clip.faults)


def test_score(zoo, chain, tmp_path, capsys):
    folder, count, _ = zoo
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", str(folder), f"--checkpoint={checkpoint}", f"--output={tmp_path / 's.csv'}"]) == 1
    told = capsys.readouterr().out
    scored, total = map(int, re.search(r"(\d+) of (\d+) clips scored", told).groups())
    assert (scored, total - scored) == (GOOD + 1, BAD)  # by path: the second of a name too
    assert total + others(told) == count
    with (tmp_path / "s.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == total and sum(bool(row["extraversion"]) for row in rows) == scored
    assert all(row["extraversion"] or row["notes"].split(":")[0] in FAULTS for row in rows)


def test_predict(store, chain, tmp_path, capsys):
    words = [f"--ckpt_path={chain / 'seed42' / 'stage4' / 'best.ckpt'}", f"--data.store={store}", *QUICK]
    assert main(["predict", *words, f"--run_dir={tmp_path}"]) == 0
    total, (predicted, left_out) = account(capsys.readouterr().out)
    assert (predicted, left_out, total) == (GOOD, BAD, len(Store.open(store)))
    with (tmp_path / "predictions_all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == GOOD and all(row["modalities"] for row in rows)
    sounds = [row["modalities"] for row in rows if row["clip"] in ("i.wav", "j.flac", "k.opus")]
    assert sounds == ["audio"] * 3


def test_encode(store, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    words = ["encode", str(store), "visual", "--encoder", "python:simple_encoder:Colour", "--name", "colour"]
    assert main([*words, "--workers=2"]) == 1
    told = capsys.readouterr().out
    assert main([*words, "--json=-"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["covered"], sum(found["left_out"].values()), found["clips"]) == (GOOD - 3, BAD + 3, GOOD + BAD)
    assert found["set"] == "colour" and found["left_out"]["no-video"] == found["faults"]["no-video"] == 3
    total, (encoded, left_out) = account(told)
    assert (encoded, left_out, total) == (GOOD - 3, BAD + 3, len(Store.open(store)))
    reasons = re.search(r"left out \((.*)\)", told)[1]
    assert sum(map(int, re.findall(r"(\d+) ", reasons))) == left_out and "3 no-video" in reasons


def test_evaluate(feature_run, tmp_path, capsys):
    """Every row of a file of predictions is judged, or said to be left out and why."""
    store = Store.open(feature_run.parent / "store")
    train, test = ([clip.name for clip in store.clips if clip.split == split] for split in ("train", "test"))
    rng = np.random.default_rng(0)
    lines = [[name, *rng.uniform(0.3, 0.7, 5).round(3).tolist()] for name in [*test[:-2], *train[:3]]]
    lines += [lines[0], ["nobody.000.mp4", *lines[0][1:]], [test[-1], "", *lines[0][2:]]]
    with (tmp_path / "theirs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["clip", *TRAITS], *lines])
    assert main(["evaluate", str(tmp_path / "theirs.csv"), f"--data={store.path}"]) == 0
    told = capsys.readouterr().out
    judged = number(r"covers (\d+) of the", told)
    unknown = number(r"(\d+) of its \d+ rows are of no clip", told)
    trained = number(r"holds (\d+) clips of the training", told)
    incomplete, twice = number(r"(\d+) clips lack a prediction", told), number(r"(\d+) rows repeat", told)
    assert (judged, unknown, trained, incomplete, twice) == (len(test) - 2, 1, 3, 1, 1)
    assert judged + unknown + trained + incomplete + twice == len(lines)
    assert f"of the {len(test)} labelled clips" in told
