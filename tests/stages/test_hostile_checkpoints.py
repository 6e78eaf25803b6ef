"""Hostile and damaged checkpoints: one line, little time and memory, nothing imported, no path followed."""

import os
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import START
from hostile import changed, hostile, saved
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.load import load
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.plain_file import read_plain

SECONDS, BYTES = 20, 512 * 2**20
"""Bounds of a refusal, with room for a busy machine; memory beside what the process has."""


@pytest.fixture(scope="module")
def good(feature_run):
    return torch.load(feature_run / "seed42" / "stage1_audio" / "best.ckpt", weights_only=True)


def attempt(path, output):
    """Read a file in an expendable process of little memory, and say what came of it."""
    torch.set_num_threads(1)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
    start = time.process_time()
    try:
        load(path)
        result = "loaded"
    except CheckpointError as error:
        result = str(error)
    except BaseException as error:
        result = f"unforeseen {type(error).__name__}: {error}"
    Path(output).write_text(f"{time.process_time() - start}\n{result}")


def test_each_kind_is_refused_in_one_line_within_bounds(good, tmp_path):
    kinds = hostile(good)
    assert len(kinds) >= 30
    for name, (data, message) in kinds.items():
        path, output = tmp_path / "hostile.ckpt", tmp_path / "result.txt"
        path.write_bytes(data)
        process = START.Process(target=attempt, args=(str(path), str(output)))
        process.start()
        process.join(SECONDS * 5)
        assert process.exitcode == 0, name
        seconds, result = output.read_text().split("\n", 1)
        assert float(seconds) < SECONDS, name
        if message is None:
            assert result == "loaded", name  # of no consequence: the network is built from its specification
            continue
        assert message in result and "\n" not in result and len(result) < 600 and result.isprintable(), (name, result)
        output.unlink()


def test_what_is_read_is_what_torch_reads(good, feature_run):
    """On a good file, against ``torch.load``: every value, type, shape and stride."""

    def same(one, other):
        assert type(one) is type(other) or isinstance(other, dict)
        if isinstance(one, dict):
            assert list(one) == list(other)
            return all(same(one[key], other[key]) for key in one)
        if isinstance(one, list | tuple):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, torch.Tensor):
            assert (one.dtype, one.stride()) == (other.dtype, other.stride())
            return torch.equal(one, other)
        return one == other

    for stage in ("stage1_audio", "stage4"):
        path = feature_run / "seed42" / stage / "last.ckpt"
        assert same(read_plain(path), torch.load(path, weights_only=True))


def words(feature_run, run_dir, *flags):
    return [f"--data.store={feature_run.parent / 'store'}", f"--run_dir={run_dir}", *QUICK, *flags]


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module in the working folder that leaves a trace when it is imported."""
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\nclass Module: pass\ndef build(*a, **k): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    assert "trap" not in sys.modules and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("way", ["fit", "validate", "test", "predict", "score", "later stage", "load", "class"])
def test_nothing_that_a_file_names_is_imported(way, good, trap, feature_run, capsys):
    content = {**good, "hyper_parameters": {**good["hyper_parameters"], "_class_path": "trap.Module"}}
    content["hyper_parameters"] |= {"_instantiator": "trap.build", "class_path": "trap.Module"}
    evil = trap / "evil.ckpt"
    evil.write_bytes(saved(content))
    match way:
        case "score":
            code = main(["score", f"--checkpoint={evil}", "nowhere.mp4"])
            assert code == 1
            return
        case "later stage":
            flags = words(feature_run, trap / "out", f"--model.checkpoints.audio={evil}")
            code = main(["fit", f"--config={CONFIGS / 'stage3.yaml'}", *flags])
        case "load" | "class":
            read = load if way == "load" else ModalityModule.load_from_checkpoint
            with pytest.raises(CheckpointError, match="class_path"):
                read(str(evil))
            return
        case _:
            code = main([way, f"--ckpt_path={evil}", *words(feature_run, trap / "out")])
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and "Traceback" not in error
    # Without the setting that is none of ours, the file is as good as any, whatever it says of classes.
    del content["hyper_parameters"]["class_path"]
    evil.write_bytes(saved(content))
    if way in ("validate", "test", "predict"):
        assert main([way, f"--ckpt_path={evil}", *words(feature_run, trap / "out")]) == 0


@pytest.fixture
def resumable(feature_run, tmp_path):
    """A copy of a run folder of stage 1 and the content of its resume point."""
    folder = tmp_path / "run"
    shutil.copytree(feature_run / "seed42" / "stage1_audio", folder)
    return folder, torch.load(folder / "last.ckpt", weights_only=True)


def test_no_path_of_a_file_is_followed(resumable, feature_run, tmp_path):
    """Paths of the best epoch, which training would delete, and of earlier stages, which it would read."""
    folder, content = resumable
    precious = tmp_path / "precious.txt"
    precious.write_text("dear")
    away = f"{folder}/../precious.txt"
    (name,) = [name for name in content["callbacks"] if name.startswith("ModelCheckpoint{'monitor': 'val/accuracy'")]
    state = content["callbacks"][name]
    score = torch.tensor(-1.0)  # any epoch is better
    state |= {"best_model_path": away, "kth_best_model_path": away, "last_model_path": away, "kth_value": score}
    state |= {"best_k_models": {away: score}, "best_model_score": score, "dirpath": str(folder)}
    content["hyper_parameters"]["fusion_ckpt"] = away
    (folder / "last.ckpt").write_bytes(saved(content))
    flags = words(feature_run, folder, "--trainer.max_epochs=3")
    assert main(["fit", f"--ckpt_path={folder / 'last.ckpt'}", *flags]) == 2  # `fusion_ckpt` is no setting of stage 1
    del content["hyper_parameters"]["fusion_ckpt"]
    (folder / "last.ckpt").write_bytes(saved(content))
    assert main(["fit", f"--ckpt_path={folder / 'last.ckpt'}", *flags]) == 0
    assert precious.read_text() == "dear"
    saved_again = torch.load(folder / "last.ckpt", weights_only=True)
    assert saved_again["callbacks"][name]["best_model_path"] == str(folder / "best.ckpt")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["loops"], None, "no loops"),
        (["loops", "fit_loop", "epoch_progress"], None, "epoch_progress"),
        (["loops", "fit_loop", "epoch_progress", "total", "ready"], -1, "ready"),
        (["loops", "fit_loop", "epoch_progress", "total", "ready"], "1", "ready"),
        (["loops", "fit_loop", "epoch_progress", "total", "more"], 1, "total"),
        (["optimizer_states"], [], "one optimizer"),
        (["optimizer_states", 0, "param_groups"], {}, "its optimizer"),
        (["optimizer_states", 0, "param_groups", 0, "lr"], "fast", "its optimizer"),
        (["optimizer_states", 0, "state", 0, "exp_avg"], torch.zeros(2), "its optimizer"),
        (["optimizer_states", 0, "state", 0, "exp_avg"], torch.full((1024, 8), torch.nan), "its optimizer"),
        (["lr_schedulers", 0, "last_epoch"], "never", "lr_schedulers"),
        (["lr_schedulers", 0, "optimizer"], 1, "lr_schedulers"),
        (["callbacks"], [], "callbacks"),
    ],
)
def test_state_of_a_training_that_is_not_ours_is_refused(keys, value, message, resumable, feature_run, capsys):
    folder, content = resumable
    before = (folder / "best.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(changed(content, *keys, value=value))
    flags = words(feature_run, folder, "--trainer.max_epochs=3")
    assert main(["fit", "--ckpt_path=last", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "--debug" not in error
    assert (folder / "best.ckpt").read_bytes() == before


def test_state_of_other_callbacks_is_dropped_and_named(resumable, feature_run, capsys):
    folder, content = resumable
    flags = ["--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint", "--trainer.callbacks.save_last=true"]
    flags = words(feature_run, folder, "--trainer.max_epochs=2", *flags)
    other = "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1,"
    content["callbacks"][f"{other} 'train_time_interval': None}}"] = {"best_model_path": f"{folder}/../x"}
    (folder / "last.ckpt").write_bytes(saved(content))
    assert main(["fit", "--ckpt_path=last", *flags]) == 0
    assert "not taken over from the checkpoint: the state of ModelCheckpoint" in capsys.readouterr().out


def test_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_stage(str(tmp_path / "pipe.ckpt"))
