import csv
import json
import shutil

import numpy as np
import pytest
from fake_labels import challenge, make_labels, predict
from places import ROOT

from apt_lightning.cli import main
from apt_lightning.common.errors import DataError
from apt_lightning.common.files import file_digest
from apt_lightning.common.traits import TRAIT_CODES, TRAITS
from apt_lightning.data.synthetic.layout import write_tables
from apt_lightning.evaluation.external.reference import read_reference
from apt_lightning.evaluation.leaderboard import page as module
from apt_lightning.evaluation.leaderboard.entries import read_entry
from apt_lightning.evaluation.leaderboard.page import page, synthetic_reference

BOARD = ROOT / "leaderboard"
ENTRY = {
    "name": "a system",
    "how": "`make it`",
    "pretrained": "none",
    "other_data": "none",
    "selected_on": "validation",
    "protocol": "synthetic",
    "seeds": [1],
    "predictions": ["a.csv"],
}


@pytest.fixture(scope="module")
def computed():
    return page(BOARD)


def test_the_page_is_what_the_predictions_say(computed):
    assert computed == (BOARD / "README.md").read_text(encoding="utf-8"), "`make leaderboard` writes it anew"


def test_figures_of_the_page_by_numpy_alone(computed):
    reference = synthetic_reference()
    labels = dict(zip(reference.clips, reference.labels, strict=True))
    training = {s for s, split in zip(reference.sources, reference.splits, strict=True) if split == "train"}
    test = {c for c, split in zip(reference.clips, reference.splits, strict=True) if split == "test"}
    for entry in sorted((BOARD / "systems").glob("*.json")):
        content = json.loads(entry.read_text())
        rows = []
        for name in content["predictions"]:  # as many clips of each seed
            with (entry.parent / name).open() as file:
                rows += [row for row in csv.DictReader(file) if row["clip"] in test]
        assert {row["clip"] for row in rows} == test
        predicted = np.array([[float(row[f"pred_{t}"]) for t in TRAITS] for row in rows])
        error = np.abs(np.clip(predicted, 0, 1) - [labels[row["clip"]] for row in rows])
        seen = np.array([row["clip"][:11] in training for row in rows])
        metrics = [f"{1 - part.mean():.4f}"[1:] for part in (error, error[seen], error[~seen])]
        line = next(line for line in computed.splitlines() if line.startswith(f"| {content['name']} "))
        cells = [cell.strip().split(" ")[0] for cell in line.split("|")[2:5]]
        assert cells == metrics


def test_drawn_labels_are_those_that_synthesize_writes(tmp_path):
    write_tables(module.plan_clips(None, module.CLIPS, module.SEED, module.SECONDS), tmp_path, False)
    written, drawn = read_reference(tmp_path), synthetic_reference()
    order = {clip: i for i, clip in enumerate(written.clips)}
    rows = [order[clip] for clip in drawn.clips]
    assert len(rows) == len(written.clips) == 900
    np.testing.assert_allclose(written.labels[rows], drawn.labels, atol=1e-9)
    assert [written.splits[i] for i in rows] == drawn.splits


def test_the_repository_holds_no_labels_and_nothing_of_real_people():
    reference = synthetic_reference()
    for file in (BOARD / "systems").glob("*.csv"):
        with file.open() as stream:
            reader = csv.DictReader(stream)
            assert set(reader.fieldnames) == {"clip", *(f"pred_{t}" for t in TRAITS)}
            assert {row["clip"] for row in reader} <= set(reference.clips)


def test_published_means_agree_with_their_traits():
    for row in json.loads((BOARD / "published.json").read_text(encoding="utf-8"))["rows"]:
        if row["traits"]:
            assert set(row["traits"]) == set(TRAITS)
            assert np.mean(list(row["traits"].values())) == pytest.approx(row["mean"], abs=1.1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selected_on": "tset"}, "selected_on is 'tset'; it is one of"),
        ({"pretrained": ""}, "pretrained must say what its weights were pretrained on"),
        ({"how": None}, "how must say the command"),
        ({"seeds": []}, "seeds must list"),
        ({"seeds": [1, 2, 3], "predictions": ["a.csv", "b.csv"]}, "2 files of predictions for 3 seeds"),
        ({"predictions": ["../a.csv"]}, "names of files beside the entry"),
        ({"metrics": {"mean": 2}}, "metrics must hold 1-MAE"),
        ({"metric": {}}, "unknown key 'metric'"),
        ({"paper": 3}, "paper must be"),
        ({"protocol": "first-impressions"}, "predictions of real people stay with their owner"),
    ],
)
def test_entries_that_say_too_little_are_refused(tmp_path, change, message):
    path = tmp_path / "entry.json"
    path.write_text(json.dumps(ENTRY | change))
    with pytest.raises(DataError, match=message) as caught:
        read_entry(path)
    assert "\n" not in str(caught.value)


def test_a_board_with_a_broken_system_is_refused(tmp_path):
    shutil.copytree(BOARD, tmp_path / "board")
    systems = tmp_path / "board" / "systems"
    (systems / "a.json").write_text(json.dumps(ENTRY))
    lines = (systems / "audio_42.csv").read_text().splitlines()
    clip = next(
        c for c, s in zip(*(getattr(synthetic_reference(), k) for k in ("clips", "splits")), strict=True) if s == "test"
    )
    (systems / "a.csv").write_text("\n".join(line for line in lines if not line.startswith(clip)))
    with pytest.raises(DataError, match="covers 179 of the 180"):
        page(tmp_path / "board")
    (systems / "a.csv").write_text("\n".join(lines))
    (systems / "a.json").write_text(json.dumps(ENTRY | {"name": "audio"}))
    with pytest.raises(DataError, match="two entries are called 'audio'"):
        page(tmp_path / "board")


def test_an_entry_about_real_people_is_checked_where_they_are(tmp_path, capsys):
    splits = make_labels(tmp_path / "data")
    predicted = predict(splits["test"])
    file = challenge(tmp_path, predicted, None)
    true = np.array(list(splits["test"].values()))
    error = np.abs(np.clip(list(predicted.values()), 0, 1) - true)
    metrics = dict(zip(TRAIT_CODES, (1 - error.mean(axis=0)).round(4).tolist(), strict=True)) | {
        "mean": round(1 - error.mean(), 4)
    }
    entry = {k: v for k, v in ENTRY.items() if k != "predictions"} | {"protocol": "first-impressions"}
    path = tmp_path / "entry.json"
    words = ["leaderboard", "check", str(path), "--data", str(tmp_path / "data"), "--predictions", str(file)]

    path.write_text(json.dumps(entry | {"metrics": metrics, "sha256": [file_digest(file)]}))
    assert main(words) == 0
    assert "right: metrics and sums agree" in capsys.readouterr().out
    path.write_text(json.dumps(entry | {"metrics": metrics | {"NEU": 0.95}, "sha256": ["0"]}))
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "NEU is " in out and "the entry says .9500" in out and "sha256 are not those" in out
    path.write_text(json.dumps(entry))
    assert main(words) == 1
    form = json.loads(capsys.readouterr().out.split("must hold:\n")[1].split("\n\n")[0])
    assert form == {"metrics": metrics, "sha256": [file_digest(file)]}
    assert main([*words, str(file)]) == 2 and "2 files for the 1 seeds" in capsys.readouterr().err
    assert main(words[:3]) == 2
