"""Trials: they train stages 3 and 4 or the joint training, and the test split is out of reach."""

import csv
import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
import yaml
from forked import START, command, join
from shared import copy_of
from sweep_files import GOOD, SWEEPS, ends
from wandb_file import offline_runs

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.experiments.run_settings import read_settings
from apt_lightning.experiments.sweep import sweep as sweeping
from apt_lightning.experiments.sweep.sweep import run_trial, sweep_settings

PARAMETERS = {"model.margin": 0.25, "model.embedding_dim": 32, "data.batch_size": 16}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_agents_command_trains_a_trial_whose_curves_reach_the_agents_run(path, own_run, tmp_path, monkeypatch):
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
        assert main([str(own_run) if word == "runs/paper" else word for word in command[2:]]) == 0
    finally:
        wandb.teardown()  # it keeps the environment that it first saw
    (logged,) = offline_runs(tmp_path)
    assert (logged.run.run_id, logged.run.sweep_id, logged.exit_code) == ("r1", "s1", 0)
    assert {name: logged.config[name] for name in drawn} == drawn | {"model.lr": 1e-4}
    for metric in (content["metric"]["name"], *(["stage3-val/precision"] if path.stem == "stage3" else [])):
        assert len([row for row in logged.history if metric in row]) == 1  # epochs of a quick run
    assert logged.summary[content["metric"]["name"]] > 0
    assert logged.config["model"]["init_args"]["lr"] in (1e-4, 1e-3)


def test_withheld_test_split_is_out_of_reach(own_run):
    settings, _ = sweep_settings(own_run)
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


def test_testing_with_a_trials_flags_is_refused(feature_run, tmp_path, capsys):
    _, jobs = sweep_settings(feature_run)
    job = next(job for job in jobs if job.unit.name == "stage4")
    words = ["test", *job.arguments, f"--run_dir={tmp_path}", f"--ckpt_path={job.folder / 'best.ckpt'}"]
    assert main(words) == 0
    assert main([*words, *sweeping.WITHHELD]) == 2
    assert "withheld" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trial(own_run):
    settings, _ = sweep_settings(own_run)
    return settings, run_trial(settings, PARAMETERS), own_run


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


def test_joint_trials_start_from_stage_4_and_write_an_overlay(own_run, tmp_path, capsys):
    path = tmp_path / f"{tmp_path.name}.yaml"
    parameters = {"stage": {"value": "joint"}, "model.encoder_rate": {"values": [0.25, 0.5]}}
    path.write_text(yaml.safe_dump(GOOD | {"parameters": parameters}))
    assert main(["sweep", str(path), f"--run={own_run}", "--trials=1"]) == 0
    shown = capsys.readouterr().out
    folder = own_run / "sweeps" / path.stem
    best = folder / "best" / "joint.yaml"
    assert f"apt fit --config joint.yaml --config {best}" in shown
    rate = yaml.safe_load(best.read_text())["model"]["init_args"].pop("encoder_rate")
    assert rate in (0.25, 0.5)
    settings, _ = sweep_settings(own_run, "joint")
    (unit,) = sweeping.trial_units(settings, {"stage": "joint", "model.encoder_rate": rate})
    trained = own_run / "seed42" / unit.name
    config = yaml.safe_load((trained / "config.yaml").read_text())
    model = config["model"]["init_args"]
    assert model["encoder_rate"] == rate and config["data"]["withhold_test"]
    assert model["start_ckpt"] == str(own_run / "seed42" / "stage4" / "best.ckpt")
    assert not list(trained.glob("*.ckpt")) and not list(trained.glob("*test*"))
    shutil.rmtree(folder)


def test_equal_trial_is_taken_over(trial, monkeypatch):
    settings, metrics, _ = trial
    monkeypatch.setattr(sweeping, "complete", lambda *_: pytest.fail("trained again"))
    assert run_trial(settings, dict(reversed(PARAMETERS.items()))) == metrics
    with pytest.raises(pytest.fail.Exception):
        run_trial(settings, PARAMETERS | {"model.margin": 0.3})


def test_trials_need_a_finished_run_of_the_official_split(own_run, tmp_path):
    settings = asdict(read_settings(own_run))
    with pytest.raises(UsageError, match=r"no run\.json"):
        sweep_settings(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="not complete"):
        sweep_settings(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(settings | {"folds": 5}))
    with pytest.raises(UsageError, match="official split"):
        sweep_settings(tmp_path)


def test_joint_trials_need_stage_4_too(own_run, tmp_path):
    copy_of(own_run, tmp_path / "run")
    (tmp_path / "run" / "seed42" / "stage4" / "done.json").unlink()
    content = json.loads((own_run / "run.json").read_text())
    content |= {"store": read_settings(own_run).store}
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    sweep_settings(tmp_path / "run")
    with pytest.raises(UsageError, match="stage4 is not complete"):
        sweep_settings(tmp_path / "run", "joint")


def test_trials_may_not_set_what_they_read(own_run, capsys):
    for flag in ("--model.checkpoints=x", "--data.store=x", "--data.withhold_test=false", "--model.nonsense=1"):
        assert main(["sweep", "--trial", f"--run={own_run}", flag]) == 2
        assert "no parameter of stage 3" in capsys.readouterr().err


def test_equal_trials_train_one_after_the_other(own_run, tmp_path):
    """Two agents that were dealt the same parameters: the second takes over what the first has found."""
    words = ["sweep", "--trial", f"--run={own_run}", "--model.margin=0.21"]
    logs = [tmp_path / "a.txt", tmp_path / "b.txt"]
    both = [START.Process(target=command, args=(words, log)) for log in logs]
    for process in both:
        process.start()
    join(both)
    figures = [[line for line in log.read_text().splitlines() if line.startswith("val/")] for log in logs]
    assert figures[0] == figures[1] and figures[0]
    assert sum("best of" in log.read_text() for log in logs) == 1


def test_overlay_of_the_run_is_kept(tmp_path):
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "all.yaml").write_text("data:\n  crop: 64\n")
    (overlay / "stage3.yaml").write_text("model:\n  init_args:\n    alpha: 3.0\n    margin: 0.0\n")
    sweeping._write_best(tmp_path, {"model.margin": 0.2, "data.batch_size": 64}, str(overlay))
    assert (tmp_path / "best" / "all.yaml").read_text() == (overlay / "all.yaml").read_text()
    found = yaml.safe_load((tmp_path / "best" / "stage3.yaml").read_text())
    assert found == {"model": {"init_args": {"alpha": 3.0, "margin": 0.2}}, "data": {"batch_size": 64}}


def test_usage(own_run, capsys):
    assert main(["sweep", f"--run={own_run}"]) == 2
    assert main(["sweep", str(SWEEPS[0]), f"--run={own_run}", "--model.margin=0.1"]) == 2
    assert main(["sweep", str(SWEEPS[0]), f"--run={own_run}", "--trials=0"]) == 2
    assert "Traceback" not in capsys.readouterr().err
