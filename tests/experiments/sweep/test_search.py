"""Searches: an interrupted one goes on, several share the trials, and the best is written as an overlay."""

import csv
import json
import os
import shutil
import time

import pytest
import yaml
from forked import START, join
from places import CONFIGS, QUICK
from sweep_files import GOOD

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.experiments.sweep import sweep as sweeping
from apt_lightning.experiments.sweep.sweep import sweep


@pytest.fixture
def quick_search(own_run, tmp_path, monkeypatch):
    """A sweep YAML, a place of its own in the run, and an objective that costs nothing."""
    path = tmp_path / f"{tmp_path.name}.yaml"
    parameters = {
        "model.margin": {"min": 0.0, "max": 0.5},
        "model.embedding_dim": {"values": [32, 64]},
        "model.beta": {"min": 10.0, "max": 100.0, "distribution": "log_uniform_values"},
        "model.anchors": {"value": "all"},
    }
    path.write_text(yaml.safe_dump(GOOD | {"parameters": parameters}))
    calls = []

    def objective(settings, given):
        calls.append(dict(given))
        return {"val/accuracy": 1 - (given["model.margin"] - 0.2) ** 2}

    monkeypatch.setattr(sweeping, "run_trial", objective)
    yield path, own_run, calls
    shutil.rmtree(own_run / "sweeps" / path.stem, ignore_errors=True)


def test_interrupted_search_goes_on_with_the_interrupted_trial(quick_search, monkeypatch):
    path, run, calls = quick_search
    monkeypatch.setattr("apt_lightning.experiments.sweep.plot.plot_trials", lambda *_: None)
    folder, *_ = sweep(path, run, 6)
    whole = (folder / "trials.csv").read_text().splitlines()
    shutil.rmtree(folder)
    calls.clear()
    objective = sweeping.run_trial

    def stopped(settings, given):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return objective(settings, given)

    monkeypatch.setattr(sweeping, "run_trial", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(path, run, 6)
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + 3
    monkeypatch.setattr(sweeping, "run_trial", objective)
    sweep(path, run, 6)
    again = (folder / "trials.csv").read_text().splitlines()
    without_seconds = [[line.rsplit(",", 1)[0] for line in lines] for lines in (whole, again)]
    assert len(again) == 1 + 6 and without_seconds[0] == without_seconds[1]
    assert len(calls) == 6
    sweep(path, run, 6)
    assert len(calls) == 6


def test_search_writes_table_plot_and_overlay(quick_search, capsys):
    from PIL import Image

    path, run, _ = quick_search
    assert main(["sweep", str(path), f"--run={run}", "--trials=5"]) == 0
    shown = capsys.readouterr().out
    folder = run / "sweeps" / path.stem
    with (folder / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert f"{float(best['val/accuracy']):.5f}" in shown and "The best 5 of 5 trials" in shown
    assert all(0 <= float(row["model.margin"]) <= 0.5 and row["model.anchors"] == "all" for row in rows)
    with Image.open(folder / "trials.png") as picture:
        assert picture.width > 400 and len(set(picture.convert("L").getdata())) > 10
    overlay = yaml.safe_load((folder / "best" / "stage3.yaml").read_text())
    assert overlay["model"]["init_args"]["margin"] == pytest.approx(float(best["model.margin"]))
    flags = [f"--config={CONFIGS / 'stage3.yaml'}", f"--config={folder / 'best' / 'stage3.yaml'}", *QUICK]
    assert main(["fit", *flags, "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["margin"] == overlay["model"]["init_args"]["margin"]


def test_folder_of_another_search_is_refused(quick_search):
    path, run, _ = quick_search
    sweep(path, run, 1)
    content = yaml.safe_load(path.read_text())
    content["parameters"]["model.margin"]["max"] = 0.4
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match="another search"):
        sweep(path, run, 2)


def searching(path, run, trials, record, seconds=0.0, others=0):
    """In a process of its own: search with an objective that takes its time, and waits until others have begun too.

    It tells the record what it begins.
    """

    def objective(settings, given):
        with open(record, "a") as file:
            file.write(json.dumps([os.getpid(), given]) + "\n")
        wait_for(lambda: len({process for process, _ in begun(record)}) > others)
        time.sleep(seconds)
        return {"val/accuracy": 1 - (given["model.margin"] - 0.2) ** 2}

    sweeping.run_trial = objective
    sweep(path, run, trials)


def begun(record):
    """Process and parameters of each trial in a record, in order."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def wait_for(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_searches_share_the_trials(quick_search, tmp_path):
    path, run, _ = quick_search
    record = tmp_path / "begun.txt"
    both = [START.Process(target=searching, args=(path, run, 12, record), kwargs={"others": 1}) for _ in range(2)]
    for process in both:
        process.start()
    join(both)
    made = begun(record)
    assert len(made) == 12 and len({json.dumps(given) for _, given in made}) == 12
    assert len({process for process, _ in made}) == 2
    folder = run / "sweeps" / path.stem
    with (folder / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(float(row["model.margin"]) for row in rows) == sorted(given["model.margin"] for _, given in made)
    assert (folder / "best" / "stage3.yaml").is_file()


def test_a_killed_search_leaves_its_trial_to_the_other(quick_search, tmp_path):
    path, run, _ = quick_search
    killed, alive = tmp_path / "killed.txt", tmp_path / "alive.txt"
    first = START.Process(target=searching, args=(path, run, 4, killed, 600))
    first.start()
    wait_for(lambda: len(begun(killed)) == 1)
    second = START.Process(target=searching, args=(path, run, 4, alive))
    second.start()
    wait_for(lambda: len(begun(alive)) == 3)
    lost = begun(killed)[0][1]
    assert lost not in [given for _, given in begun(alive)]
    second.join(1)
    assert second.is_alive()  # waits for the trial that the other has
    first.kill()
    join([second])
    assert [given for _, given in begun(alive)][3] == lost


def test_unknown_figure_and_damaged_study(quick_search):
    path, run, _ = quick_search
    study = run / "sweeps" / path.stem / "study.journal"
    sweep(path, run, 1)
    study.write_bytes(study.read_bytes()[:-20] + b"\n{}\n")
    with pytest.raises(UsageError, match="is damaged; delete it"):
        sweep(path, run, 2)
    study.unlink()
    path.write_text(path.read_text().replace("val/accuracy", "val/nothing"))
    with pytest.raises(UsageError, match="no metric 'val/nothing'"):
        sweep(path, run, 1)
