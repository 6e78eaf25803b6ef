"""Cards: the data card is read by Croissant's own library, and each line of the checklist is a command of ours."""

import json
import re
import shlex

import numpy as np
import pytest
from fake_run import make_run, make_store

from apt_lightning.cli import LIGHTNING, command_parser, main
from apt_lightning.data.collection.collection import SYNTHETIC
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.cards.croissant import data_card
from apt_lightning.experiments.cards.statements import DRAWN

GIVEN = {
    "license": "https://creativecommons.org/licenses/by-nc/4.0/",
    "url": "https://example.org/set",
    "creator": "A group",
    "published": "2016-07-01",
    "cite": "A group, A set, 2016",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("cards") / "data")


def test_croissant_reads_the_card_and_finds_the_clips_of_the_store(store, capsys):
    croissant = pytest.importorskip("mlcroissant")
    words = [f"--{option}={value}" for option, value in GIVEN.items()]
    assert main(["card", str(store), "--name", "somewhere", *words]) == 0
    assert "asks for" not in capsys.readouterr().out
    found = croissant.Dataset(jsonld=store / "croissant.json")
    assert not found.metadata.issues.errors and not found.metadata.issues.warnings
    clips = Store.open(store).clips
    records = list(found.records("clips"))
    assert [record["clips/name"].decode() for record in records] == [clip.name for clip in clips]
    assert [record["clips/split"].decode() for record in records] == [clip.split for clip in clips]
    assert np.allclose([record["clips/traits"] for record in records], [clip.traits for clip in clips])
    assert found.metadata.license == [GIVEN["license"]] and found.metadata.cite_as == GIVEN["cite"]


def test_card_names_what_is_missing_and_a_changed_file_is_noticed(store, capsys):
    croissant = pytest.importorskip("mlcroissant")
    assert main(["card", str(store)]) == 0
    said = capsys.readouterr().out
    assert all(f"--{option}" in said for option in GIVEN)
    card = json.loads((store / "croissant.json").read_text())
    card["distribution"][0]["sha256"] = "0" * 64
    (store / "croissant.json").write_text(json.dumps(card))
    with pytest.raises(Exception, match=r"Download\(index\)"):
        list(croissant.Dataset(jsonld=store / "croissant.json").records("clips"))


def test_card_tells_leaks_and_left_out_clips(store):
    opened = Store.open(store)
    card = data_card(opened, "set", {})
    training = {clip.source for clip in opened.clips if clip.split == "train"}
    test = [clip for clip in opened.clips if clip.split == "test"]
    seen = sum(clip.source in training for clip in test)
    assert any(line.startswith(f"{seen} of {len(test)} test clips") for line in card["rai:dataBiases"])
    assert card["rai:dataLimitations"][0].startswith("12 clips left out")
    assert DRAWN not in json.dumps(card)


def test_synthetic_clips_are_called_so(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / SYNTHETIC).write_text("{}")
    (tmp_path / "set" / "clip.mp4").write_bytes(b"no video")
    prepare(tmp_path / "set", tmp_path / "store")
    found = Store.open(tmp_path / "store")
    assert found.synthetic and DRAWN in data_card(found, "set", {})["description"]


@pytest.mark.parametrize(("seeds", "folds"), [((42,), None), ((1, 2), None), ((1,), 3)])
def test_checklist_ticks_what_is_there_and_its_commands_are_ours(store, tmp_path, seeds, folds):
    run = make_run(tmp_path / "a run", store, seeds=seeds, folds=folds)
    assert main(["card", str(run)]) == 0
    text = (run / "REPRODUCIBILITY.md").read_text()
    ticked = {title: mark == "x" for mark, title in re.findall(r"- \[([x ])\] \*\*(.+?)\*\*", text)}
    assert ticked["Several seeds"] == (len(seeds) > 1)
    assert ticked["People of training and test apart"] == (folds is not None)
    assert not ticked["All stages trained"] and not ticked["Ablations"]
    commands = [shlex.split(line) for line in re.findall(r"^  `apt (.+)`$", text, re.MULTILINE)]
    assert len(commands) == len(ticked) > 10
    for name, *words in commands:
        if name not in (*LIGHTNING, "--version"):
            _, parser = command_parser(name)
            parser.parse_args(words)


def test_model_card_has_figures_and_forbidden_use(store, tmp_path):
    run = make_run(tmp_path / "run", store, units=("stage2", "stage4"))
    (run / "seed42" / "stage4" / "best.ckpt").write_bytes(b"weights")
    assert main(["card", str(run)]) == 0
    text = (run / "MODEL_CARD.md").read_text()
    assert "with embeddings (stage 4)" in text and "Hiring" in text and "high is calm" in text
    assert re.search(r"seed42/stage4/best.ckpt \| +[0-9a-f]{64}", text) and str(tmp_path) not in text


def test_what_is_neither_store_nor_run_is_refused(tmp_path, capsys):
    assert main(["card", str(tmp_path)]) == 2
    assert "no feature store" in capsys.readouterr().err
