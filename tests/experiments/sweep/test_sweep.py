"""Sweeps: W&B's form is read and accepted, the test split is out of reach, an interrupted search goes on."""

import csv
import importlib.util
import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from forked import START, command, join
from places import CONFIGS, QUICK
from wandb_file import offline_runs

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.experiments.sweep import sweep as sweeping
from apt_lightning.experiments.sweep.search_space import read_search
from apt_lightning.experiments.sweep.sweep import run_trial, sweep, sweep_settings

SWEEPS = sorted(CONFIGS.glob("sweeps/*.yaml"))
PARAMETERS = {"model.margin": 0.25, "model.embedding_dim": 32, "data.batch_size": 16}


def ends(given):
    """Values at the ends of a range of the YAML."""
    return given.get("values") or [given["value"]] if "min" not in given else [given["min"], given["max"]]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_parameters_are_accepted_as_flags(path, capsys):
    """By `apt fit` for what is searched, at the ends of each range, changing what they name."""
    search = read_search(path)
    assert search.stage == path.stem
    first = {"stage3": ["model.margin", "model.embedding_dim"], "joint": ["model.metric_weight", "model.encoder_rate"]}
    parameters = {name: given for name, given in search.parameters.items() if name != "stage"}
    assert list(parameters)[:2] == first[path.stem]
    for name, given in parameters.items():
        for value in ends(given):
            assert main(["fit", f"--config={CONFIGS / path.name}", f"--{name}={value}", "--print_config"]) == 0
            part, key = name.split(".")
            config = yaml.safe_load(capsys.readouterr().out)[part]
            assert (config["init_args"] if part == "model" else config)[key] == value


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_yaml_fits_the_schema_that_wandb_publishes(path):
    """In the package `sweeps`, which wants an older NumPy: `pip install --no-deps sweeps`."""
    found = importlib.util.find_spec("sweeps")
    if found is None:
        pytest.skip("the package sweeps is not installed")
    schema = json.loads((Path(found.origin).parent / "config" / "schema.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()) | {"method": "guess"}, schema)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_agents_command_trains_a_trial_whose_curves_reach_the_agents_run(path, feature_run, tmp_path, monkeypatch):
    """The command line that a W&B agent builds from the YAML, in the environment that it makes."""
    import wandb
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    content = yaml.safe_load(path.read_text())
    drawn = {name: ends(given)[0] for name, given in content["parameters"].items()} | {"model.lr": "1e-4"}
    made = create_sweep_command_args({"args": {name: {"value": value} for name, value in drawn.items()}})
    command = [
        w for word in create_sweep_command(content["command"]) for w in ([word] if word != "${args}" else made["args"])
    ]
    assert command[1:3] == ["apt-lightning", "sweep"]
    known = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}
    for name, value in (known | {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1"}).items():
        monkeypatch.setenv(name, value)
    try:
        assert main([str(feature_run) if word == "runs/paper" else word for word in command[2:]]) == 0
    finally:
        wandb.teardown()  # it keeps the environment that it first saw
    (logged,) = offline_runs(tmp_path)
    assert (logged.run.run_id, logged.run.sweep_id, logged.exit_code) == ("r1", "s1", 0)
    assert {name: logged.config[name] for name in drawn} == drawn | {"model.lr": 1e-4}
    for metric in (content["metric"]["name"], *(["stage3-val/precision"] if path.stem == "stage3" else [])):
        assert len([row for row in logged.history if metric in row]) == 1  # epochs of a quick run
    assert logged.summary[content["metric"]["name"]] > 0
    assert logged.config["model"]["init_args"]["lr"] in (1e-4, 1e-3)


def test_a_number_may_be_written_as_1e_4(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(GOOD).replace("min: 0.0", "min: 1e-4"))
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["parameters"]["model.margin"]["min"] == "1e-4"
    assert read_search(tmp_path / "s.yaml").parameters["model.margin"]["min"] == 1e-4


GOOD = {
    "method": "bayes",
    "metric": {"name": "val/accuracy", "goal": "maximize"},
    "parameters": {"model.margin": {"min": 0.0, "max": 0.5}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": None}, "sweep form"),
        ({"method": "grid"}, "bayes, random"),
        ({"metric": {"name": "test/accuracy", "goal": "maximize"}}, "not for choosing"),
        ({"metric": {"name": "val/accuracy"}}, "goal"),
        ({"early": 1}, "unknown key 'early'"),
        ({"parameters": {"model.marginn": {"value": 1}}}, "did you mean 'model.margin'"),
        ({"parameters": {"data.store": {"value": "x"}}}, "no parameter of stage 3"),
        ({"parameters": {"data.withhold_test": {"values": [True, False]}}}, "no parameter of stage 3"),
        ({"parameters": {"model.checkpoints": {"value": "x"}}}, "no parameter of stage 3"),
        ({"parameters": {"stage": {"value": "joint"}, "model.margin": {"value": 0.1}}}, "of the joint training"),
        ({"parameters": {"stage": {"value": "joint"}, "model.start_ckpt": {"value": "x"}}}, "of the joint training"),
        ({"parameters": {"stage": {"value": "stage2"}, "model.lr": {"value": 0.1}}}, "stage3 or joint"),
        ({"parameters": {"stage": {"value": ["joint"]}, "model.lr": {"value": 0.1}}}, "stage3 or joint"),
        ({"parameters": {"stage": {"values": ["joint", "stage3"]}, "model.lr": {"value": 0.1}}}, "must be one value"),
        ({"parameters": {"model.margin": 0.1}}, "expected `value`"),
        ({"parameters": {"model.margin": {"min": 0.5, "max": 0.1}}}, "`min` below `max`"),
        ({"parameters": {"model.margin": {"min": "a", "max": 1}}}, "`min` below `max`"),
        ({"parameters": {"model.margin": {"values": []}}}, "expected `value`"),
        ({"parameters": {"model.margin": {"mu": 0, "sigma": 1, "distribution": "normal"}}}, "'normal' is not"),
        (
            {"parameters": {"model.beta": {"min": 0, "max": 1, "distribution": "log_uniform_values"}}},
            "`min` above 0",
        ),
    ],
)
def test_bad_sweeps_are_named(change, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(UsageError, match=message) as caught:
        read_search(path)
    assert str(path) in str(caught.value)


def test_unreadable_sweep(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,")
    for name in ("bad.yaml", "absent.yaml"):
        with pytest.raises(UsageError, match="readable YAML"):
            read_search(tmp_path / name)


def test_withheld_test_split_is_out_of_reach(feature_run):
    settings, _ = sweep_settings(feature_run)
    open_data = FirstImpressionsDataModule(settings.store)
    data = FirstImpressionsDataModule(settings.store, withhold_test=True)
    for module in (open_data, data):
        module.setup("fit")
    test = open_data.positions("test").numpy()
    assert len(test) and not np.isnan(open_data.labels[test]).any()
    assert np.isnan(data.labels[test]).all() and not len(data.positions("test"))
    assert np.array_equal(data.positions("train"), open_data.positions("train"))
    assert np.array_equal(data.positions("validation"), open_data.positions("validation"))
    dataset = ClipDataset(data.store, data.store.modalities)
    assert torch.isnan(dataset[torch.from_numpy(test)].traits).all()
    with pytest.raises(UsageError, match="withheld"):
        data.test_dataloader()


def test_testing_with_a_trials_flags_is_refused(feature_run, capsys):
    _, jobs = sweep_settings(feature_run)
    job = next(job for job in jobs if job.unit.name == "stage4")
    assert main(["test", *job.arguments]) == 0
    assert main(["test", *job.arguments, *sweeping.WITHHELD]) == 2
    assert "withheld" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trial(feature_run):
    settings, _ = sweep_settings(feature_run)
    return settings, run_trial(settings, PARAMETERS), feature_run


def test_trial_trains_stage_3_and_4_and_leaves_no_test_figure(trial):
    _, metrics, folder = trial
    settings, _ = sweep_settings(folder)
    record = folder / "seed42" / sweeping.trial_units(settings, PARAMETERS)[1].name / ".." / "trial.json"
    content = json.loads(record.read_text())
    assert content["metrics"] == metrics
    assert 0.5 < metrics["val/accuracy"] < 1
    with (record.parent / "stage4" / "metrics.csv").open() as stream:
        assert max(float(row["val/accuracy"]) for row in csv.DictReader(stream)) == metrics["val/accuracy"]
    config = yaml.safe_load((record.parent / "stage3" / "config.yaml").read_text())
    model, data = config["model"]["init_args"], config["data"]
    assert (model["margin"], model["embedding_dim"], data["batch_size"]) == (0.25, 32, 16)
    for stage in ("stage3", "stage4"):
        assert yaml.safe_load((record.parent / stage / "config.yaml").read_text())["data"]["withhold_test"]
        assert not list((record.parent / stage).glob("*.ckpt"))
        assert not list((record.parent / stage).glob("*test*"))
    for name in metrics:
        assert name.startswith("val/")


def test_joint_trials_start_from_stage_4_and_write_an_overlay(feature_run, tmp_path, capsys):
    path = tmp_path / f"{tmp_path.name}.yaml"
    parameters = {"stage": {"value": "joint"}, "model.encoder_rate": {"values": [0.25, 0.5]}}
    path.write_text(yaml.safe_dump(GOOD | {"parameters": parameters}))
    assert main(["sweep", str(path), f"--run={feature_run}", "--trials=1"]) == 0
    shown = capsys.readouterr().out
    folder = feature_run / "sweeps" / path.stem
    best = folder / "best" / "joint.yaml"
    assert f"apt fit --config joint.yaml --config {best}" in shown
    rate = yaml.safe_load(best.read_text())["model"]["init_args"].pop("encoder_rate")
    assert rate in (0.25, 0.5)
    settings, _ = sweep_settings(feature_run, "joint")
    (unit,) = sweeping.trial_units(settings, {"stage": "joint", "model.encoder_rate": rate})
    trained = feature_run / "seed42" / unit.name
    config = yaml.safe_load((trained / "config.yaml").read_text())
    model = config["model"]["init_args"]
    assert model["encoder_rate"] == rate and config["data"]["withhold_test"]
    assert model["start_ckpt"] == str(feature_run / "seed42" / "stage4" / "best.ckpt")
    assert not list(trained.glob("*.ckpt")) and not list(trained.glob("*test*"))
    shutil.rmtree(folder)


def test_equal_trial_is_taken_over(trial, monkeypatch):
    settings, metrics, _ = trial
    monkeypatch.setattr(sweeping, "complete", lambda *_: pytest.fail("trained again"))
    assert run_trial(settings, dict(reversed(PARAMETERS.items()))) == metrics
    with pytest.raises(pytest.fail.Exception):
        run_trial(settings, PARAMETERS | {"model.margin": 0.3})


def test_trials_need_a_finished_run_of_the_official_split(feature_run, tmp_path):
    settings = asdict(read_settings(feature_run))
    with pytest.raises(UsageError, match=r"no run\.json"):
        sweep_settings(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="not complete"):
        sweep_settings(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(settings | {"folds": 5}))
    with pytest.raises(UsageError, match="official split"):
        sweep_settings(tmp_path)


def test_joint_trials_need_stage_4_too(feature_run, tmp_path):
    shutil.copytree(feature_run, tmp_path / "run")
    (tmp_path / "run" / "seed42" / "stage4" / "done.json").unlink()
    content = json.loads((feature_run / "run.json").read_text())
    content |= {"store": read_settings(feature_run).store}
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    sweep_settings(tmp_path / "run")
    with pytest.raises(UsageError, match="stage4 is not complete"):
        sweep_settings(tmp_path / "run", "joint")


def test_trials_may_not_set_what_they_read(feature_run, capsys):
    for flag in ("--model.checkpoints=x", "--data.store=x", "--data.withhold_test=false", "--model.nonsense=1"):
        assert main(["sweep", "--trial", f"--run={feature_run}", flag]) == 2
        assert "no parameter of stage 3" in capsys.readouterr().err


@pytest.fixture
def quick_search(feature_run, tmp_path, monkeypatch):
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
    yield path, feature_run, calls
    shutil.rmtree(feature_run / "sweeps" / path.stem, ignore_errors=True)


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


def searching(path, run, trials, record, seconds):
    """In a process of its own: search with an objective that takes its time; tell the record what it begins."""

    def objective(settings, given):
        with open(record, "a") as file:
            file.write(json.dumps([os.getpid(), given]) + "\n")
        time.sleep(seconds)
        return {"val/accuracy": 1 - (given["model.margin"] - 0.2) ** 2}

    sweeping.run_trial = objective
    sweep(path, run, trials)


def begun(record):
    """Process and parameters of each trial in a record, in order."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_searches_share_the_trials(quick_search, tmp_path):
    path, run, _ = quick_search
    record = tmp_path / "begun.txt"
    both = [START.Process(target=searching, args=(path, run, 12, record, 0.3)) for _ in range(2)]
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
    second = START.Process(target=searching, args=(path, run, 4, alive, 0))
    second.start()
    wait_for(lambda: len(begun(alive)) == 3)
    lost = begun(killed)[0][1]
    assert lost not in [given for _, given in begun(alive)]
    second.join(1)
    assert second.is_alive()  # waits for the trial that the other has
    first.kill()
    join([second])
    assert [given for _, given in begun(alive)][3] == lost


def test_equal_trials_train_one_after_the_other(feature_run, tmp_path):
    """Two agents that were dealt the same parameters: the second takes over what the first has found."""
    words = ["sweep", "--trial", f"--run={feature_run}", "--model.margin=0.21"]
    logs = [tmp_path / "a.txt", tmp_path / "b.txt"]
    both = [START.Process(target=command, args=(words, log)) for log in logs]
    for process in both:
        process.start()
    join(both)
    figures = [[line for line in log.read_text().splitlines() if line.startswith("val/")] for log in logs]
    assert figures[0] == figures[1] and figures[0]
    assert sum("best of" in log.read_text() for log in logs) == 1


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


def test_overlay_of_the_run_is_kept(tmp_path):
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "all.yaml").write_text("data:\n  crop: 64\n")
    (overlay / "stage3.yaml").write_text("model:\n  init_args:\n    alpha: 3.0\n    margin: 0.0\n")
    sweeping._write_best(tmp_path, {"model.margin": 0.2, "data.batch_size": 64}, str(overlay))
    assert (tmp_path / "best" / "all.yaml").read_text() == (overlay / "all.yaml").read_text()
    found = yaml.safe_load((tmp_path / "best" / "stage3.yaml").read_text())
    assert found == {"model": {"init_args": {"alpha": 3.0, "margin": 0.2}}, "data": {"batch_size": 64}}


def test_usage(feature_run, capsys):
    assert main(["sweep", f"--run={feature_run}"]) == 2
    assert main(["sweep", str(SWEEPS[0]), f"--run={feature_run}", "--model.margin=0.1"]) == 2
    assert main(["sweep", str(SWEEPS[0]), f"--run={feature_run}", "--trials=0"]) == 2
    assert "Traceback" not in capsys.readouterr().err
