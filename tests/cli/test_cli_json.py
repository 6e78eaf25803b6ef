"""`--json -` of the commands that report: one JSON document on the standard output, with what its figures mean."""

import json
import shutil

import numpy as np
import pytest
import yaml
from places import QUICK

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.evaluation.predictions import read_predictions


@pytest.fixture
def printed(capsys):
    """Runs a command line; gives what it prints, which must be one JSON document."""

    def run(*words, status=0):
        assert main([*map(str, words), "--json", "-"]) == status
        found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert "high is calm" in found["about"]["neuroticism"] and "0 to 1" in found["about"]["unit"]
        return found

    return run


@pytest.mark.parametrize("command", ["validate", "test"])
def test_figures_of_a_stage(feature_run, tmp_path, command, printed):
    stage = shutil.copytree(feature_run / "seed42" / "stage4", tmp_path / "stage4")
    found = printed(command, f"--ckpt_path={stage}", *QUICK[:1])
    assert found["stage"] == "stage4" and found["checkpoint"] == str(stage / "best.ckpt")
    assert found["about"]["level"] == 0.95
    table = read_predictions(found["predictions"])
    scores = found["scores"]["all"]
    expected = 1 - np.abs(table.predicted - table.true).mean(axis=0)
    metric = scores["metrics"]["1-MAE"]
    assert scores["columns"] == [*TRAIT_CODES, "mean"]
    assert metric["value"] == pytest.approx([*expected, expected.mean()])
    assert metric["lower"][-1] < metric["value"][-1] < metric["upper"][-1]


def test_retrieval_of_stage_3(feature_run, tmp_path, printed):
    stage = shutil.copytree(feature_run / "seed42" / "stage3", tmp_path / "stage3")
    found = printed("test", f"--ckpt_path={stage}", *QUICK[:1])
    assert {row["trait"] for row in found["retrieval"]} == set(TRAIT_CODES)
    assert all(row["queries"] or row["precision"] is None for row in found["retrieval"])


def test_sweep(own_run, tmp_path, printed):
    search = {
        "method": "random",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {"model.margin": {"min": 0.0, "max": 0.5}},
    }
    path = tmp_path / "json.yaml"
    path.write_text(yaml.safe_dump(search))
    found = printed("sweep", path, f"--run={own_run}", "--trials=2")
    assert len(found["trials"]) == 2 and found["metric"] == "val/accuracy"
    best = max(found["trials"], key=lambda trial: trial["value"])
    assert found["best"] == best["parameters"]
    (margin,) = best["parameters"].values()
    again = printed("sweep", "--trial", f"--run={own_run}", f"--model.margin={margin!r}")
    assert again["metrics"]["val/accuracy"] == best["value"]


def test_report_and_cards(own_run, tmp_path, printed):
    found = printed("report", own_run, "--output", tmp_path / "r.html")
    assert (tmp_path / "r.html").is_file() and found["report"] == str(tmp_path / "r.html")
    assert list(found["verdicts"]) == [own_run.name] and "tage 4" in found["verdicts"][own_run.name]
    items = printed("card", own_run)["checklist"]
    assert {"title": "Several seeds", "done": False, "found": "seeds [42]"}.items() <= items[9].items()
    assert printed("card", own_run.parent / "store")["not_given"][0].startswith("--")


def test_features(feature_run, tmp_path, printed):
    store = shutil.copytree(feature_run.parent / "store", tmp_path / "store")
    values = tmp_path / "scent.csv"
    values.write_text("clip,a,b\n0000.000.mp4,1,2\nnone.mp4,1,2\n")
    placed = printed("features", store, "scent", values, status=1)
    assert (placed["used"], placed["unknown"], len(placed["missing"])) == (1, ["none.mp4"], 159)
    assert printed("features", store)["sets"] == []
    assert printed("features", store, "scent", "--remove")["removed"]


def test_a_training_keeps_what_it_says_in_its_folder(feature_run, tmp_path, capsys, monkeypatch):
    from apt_lightning.common.console import LOG

    run = tmp_path / "audio"
    words = ["fit", "--config=stage1_audio.yaml", f"--data.store={feature_run.parent / 'store'}", f"--run_dir={run}"]
    assert main([*words, *QUICK]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "best of" in line]
    log = (run / "log.txt").read_text().splitlines()
    assert len(said) == 1 and [line[20:] for line in log if "best of" in line] == said
    assert main([*words, *QUICK]) == 2  # holds another training, whose log says nothing of it
    assert (run / "log.txt").read_text().splitlines() == log
    monkeypatch.setenv(LOG, str(tmp_path / "outer.txt"))  # as within `apt run`
    assert main([*words, *QUICK, "--overwrite=true"]) == 0
    assert (run / "log.txt").read_text().splitlines() == log and "best of" in (tmp_path / "outer.txt").read_text()
