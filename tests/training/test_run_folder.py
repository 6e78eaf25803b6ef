"""A run folder belongs to one training, and what is asked for agrees with the checkpoint."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError, StoreError, UsageError
from apt_lightning.common.files import locked
from apt_lightning.experiments.run_settings import RunSettings, found_path, kept_path
from apt_lightning.experiments.runner import run
from apt_lightning.stages.find import find_checkpoint
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.names import LOCK


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


@pytest.fixture
def stage1(feature_run, tmp_path):
    """A copy of a finished stage 1, and the words of a command on it."""
    folder = tmp_path / "stage1_audio"
    shutil.copytree(feature_run / "seed42" / "stage1_audio", folder)
    words = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={feature_run.parent / 'store'}"]
    return folder, [*words, f"--run_dir={folder}", *QUICK]


def test_a_dry_run_leaves_no_trace(stage1, tmp_path, capsys):
    folder, words = stage1
    before = content(folder)
    for name in ("fit", "validate", "test"):
        assert main([name, *words, "--trainer.fast_dev_run=true"]) == 0
        assert "nothing was written" in capsys.readouterr().out
    assert content(folder) == before
    assert main(["fit", *words, f"--run_dir={tmp_path / 'new'}", "--trainer.fast_dev_run=true"]) == 0
    assert not (tmp_path / "new").exists()


def test_a_second_training_is_refused_or_replaces_the_first(stage1, capsys):
    folder, words = stage1
    before = content(folder)
    assert main(["fit", *words]) == 2
    error = capsys.readouterr().err
    assert all(remedy in error for remedy in ("--ckpt_path=last", "--overwrite=true", "--run_dir"))
    assert main(["fit", *words, "--overwrite=true", "--data.folds=nowhere.json"]) == 2  # it never begins
    assert content(folder) == before
    assert main(["fit", *words, "--overwrite=true", "--trainer.max_epochs=2"]) == 0
    assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 2
    assert not (folder / "predictions_test.csv").exists()  # it was of the model that is gone


def test_tables_of_other_clips_do_not_replace_those_of_a_training(stage1, feature_run, tmp_path, capsys):
    folder, _ = stage1
    before = content(folder)
    shutil.copytree(feature_run.parent / "store", tmp_path / "other")
    best = f"--ckpt_path={folder / 'best.ckpt'}"
    (tmp_path / "away.txt").write_text("none\n")
    for name in ("test", "validate"):
        for flag in (f"--data.store={tmp_path / 'other'}", f"--data.quarantine={tmp_path / 'away.txt'}"):
            assert main([name, best, *QUICK, flag]) == 2
            assert "would be replaced; give another `--run_dir`" in capsys.readouterr().err
    assert content(folder) == before
    assert main(["test", best, *QUICK, f"--data.store={tmp_path / 'other'}", f"--run_dir={tmp_path / 'out'}"]) == 0
    assert main(["test", best, *QUICK]) == 0


def test_training_without_validation_has_no_best(stage1, capsys):
    folder, words = stage1
    flags = [*words, "--overwrite=true", "--trainer.limit_val_batches=0"]
    assert main(["fit", *flags]) == 2
    assert "--patience=null" in capsys.readouterr().err
    assert main(["fit", *flags, "--patience=null"]) == 0
    assert "without validation" in capsys.readouterr().out
    assert (folder / "last.ckpt").exists() and not (folder / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("flag", "both"),
    [
        ("--model.lr=0.5", ("0.5", "0.001")),
        ("--model.modality=text", ("text", "audio")),
        ("--model=SiameseModule", ("SiameseModule", "stage1_audio")),
        ("--data.batch_size=9", ("9", "8")),
        ("--seed_everything=1", ("1", "42")),
    ],
)
def test_going_on_with_other_settings_names_both(flag, both, stage1, capsys):
    folder, words = stage1
    words = [word for word in words if not word.startswith("--config")] if flag == "--model=SiameseModule" else words
    if not (folder / "config.yaml").exists():
        pytest.fail("a run folder holds its settings")
    words = [*words, "--seed_everything=42", "--trainer.max_epochs=2", "--ckpt_path=last", flag]
    assert main(["fit", *words]) == 2
    error = capsys.readouterr().err
    assert all(value in error for value in both) and error.count("\n") == 1


def test_a_checkpoint_of_another_stage_is_refused_and_alone_it_says_what_it_is(feature_run, tmp_path, capsys):
    store = f"--data.store={feature_run.parent / 'store'}"
    checkpoint = tmp_path / "copy" / "best.ckpt"
    checkpoint.parent.mkdir()
    shutil.copy(feature_run / "seed42" / "stage1_audio" / "best.ckpt", checkpoint)
    words = [f"--ckpt_path={checkpoint}", store, "--trainer.accelerator=cpu"]
    assert main(["test", f"--config={CONFIGS / 'stage4.yaml'}", *words, f"--run_dir={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "'stage1_audio'" in error and "FinalModule" in error
    assert not list((tmp_path / "out").glob("*.csv"))
    assert main(["test", *words]) == 0
    assert str(checkpoint) in capsys.readouterr().out
    table = "predictions_test.csv"
    assert (checkpoint.parent / table).read_bytes() == (feature_run / "seed42" / "stage1_audio" / table).read_bytes()


def test_two_processes_are_refused(stage1, feature_run, capsys):
    folder, words = stage1
    before = content(folder)
    with locked(folder / LOCK):
        for name in ("fit", "test", "validate", "predict"):
            assert main([name, *words]) == 2
            assert "another process" in capsys.readouterr().err
    assert content(folder) == before
    with locked(feature_run / LOCK), pytest.raises(StoreError, match="another process"):
        run(RunSettings(store=str(feature_run.parent / "store"), out=str(feature_run), stages=str(CONFIGS)))


@pytest.mark.parametrize("environment", [{"SLURM_STEP_NUM_TASKS": "2"}, {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}])
def test_a_launcher_of_another_number_of_processes_is_refused(environment, stage1, feature_run, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("fit", "test"):
        assert main([name, *stage1[1]]) == 2
        assert "started 2 processes" in capsys.readouterr().err
    with pytest.raises(UsageError, match="one process"):
        run(RunSettings(store=str(feature_run.parent / "store"), out=str(feature_run), stages=str(CONFIGS)))


def test_going_on_keeps_the_patience_that_is_asked_for(stage1):
    folder, words = stage1
    assert main(["fit", *words, "--ckpt_path=last", "--trainer.max_epochs=2", "--patience=7"]) == 0
    states = torch.load(folder / "last.ckpt", weights_only=True)["callbacks"]
    assert [state["patience"] for name, state in states.items() if name.startswith("EarlyStopping")] == [7]


def test_a_training_goes_on_with_its_own_settings_and_nothing_else_given(stage1, tmp_path, monkeypatch):
    folder, words = stage1
    assert main(["fit", *words, "--overwrite=true", "--model.lr=0.003", "--data.seed=5"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--ckpt_path=stage1_audio/last.ckpt", "--trainer.max_epochs=2"]) == 0
    after = torch.load(folder / "last.ckpt", weights_only=True)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["data"]["batch_size"] == 8 and settings["data"]["seed"] == 5 and settings["patience"] == 20
    assert after["hyper_parameters"]["lr"] == 0.003 and after["epoch"] == 1
    assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 2


def test_what_is_said_after_an_interruption_holds_with_overwrite_too(stage1):
    """`--ckpt_path=last` with the same options, `--overwrite=true` among them, goes on and deletes nothing."""
    folder, words = stage1
    slow = ["--model.lr=1e-12", "--model.final_lr=1e-12"]  # no later epoch is better
    assert main(["fit", *words, *slow, "--overwrite=true"]) == 0
    best = (folder / "best.ckpt").stat().st_mtime_ns
    first = (folder / "metrics.csv").read_text().splitlines()[1]
    assert main(["fit", *words, *slow, "--overwrite=true", "--ckpt_path=last", "--trainer.max_epochs=2"]) == 0
    assert (folder / "best.ckpt").stat().st_mtime_ns >= best
    lines = (folder / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[1] == first


def test_overfitting_trains_on_the_same_batches(feature_run, tmp_path, monkeypatch):
    seen = []
    step = ModalityModule.training_step
    monkeypatch.setattr(
        ModalityModule, "training_step", lambda self, b, i: seen.append(b.positions.tolist()) or step(self, b, i)
    )
    words = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={feature_run.parent / 'store'}", *QUICK]
    flags = ["--trainer.overfit_batches=2", "--trainer.max_epochs=3", f"--run_dir={tmp_path}"]
    assert main(["fit", *words, *flags]) == 0
    assert len(seen) == 6 and seen[:2] == seen[2:4] == seen[4:] and [len(clips) for clips in seen] == [8] * 6


def test_a_run_stands_for_its_last_stage_and_knows_its_store(feature_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["test", f"--ckpt_path={feature_run}", f"--run_dir={tmp_path / 'out'}", *QUICK[:1]]) == 0
    assert "stage4/best.ckpt" in capsys.readouterr().out
    table = "predictions_test.csv"
    assert (tmp_path / "out" / table).read_bytes() == (feature_run / "seed42" / "stage4" / table).read_bytes()


def test_the_checkpoint_that_a_folder_stands_for(tmp_path):
    stages = ["seed10/stage4", "seed9/stage2", "seed9/stage4", "seed9/stage2_av", "seed9/stage1_audio"]
    for stage in stages:
        (tmp_path / stage).mkdir(parents=True)
        (tmp_path / stage / "best.ckpt").touch()
    assert find_checkpoint(tmp_path) == str(tmp_path / "seed9/stage4/best.ckpt")
    (tmp_path / "seed9/stage4/best.ckpt").unlink()
    assert find_checkpoint(tmp_path / "seed9") == str(tmp_path / "seed9/stage2/best.ckpt")
    assert find_checkpoint(tmp_path / "seed9/stage2_av") == str(tmp_path / "seed9/stage2_av/best.ckpt")
    with pytest.raises(CheckpointError, match=r"holds no best\.ckpt"):
        find_checkpoint(tmp_path / "seed9" / "stage4")


def test_a_run_that_is_moved_with_its_store_finds_it(tmp_path, monkeypatch):
    (tmp_path / "demo/store").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    kept = kept_path("demo/store", Path("demo/run"))
    assert kept == "../store" and kept_path("configs", Path("demo/run")) == "configs"
    (tmp_path / "demo").rename(tmp_path / "moved")
    (tmp_path / "moved/run").mkdir()
    assert Path(found_path(kept, Path("moved/run"))).resolve() == tmp_path / "moved/store"
