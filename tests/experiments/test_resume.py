"""Runs killed at any moment and resumed: every file equals that of a run that was left alone."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from forked import START, command
from places import CONFIGS, ROOT

from apt_lightning.common.files import TEMPORARY
from apt_lightning.experiments.plan import run_units

FLAGS = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=4",
    "--trainer.limit_train_batches=2",
    "--data.batch_size=8",
    "--data.num_workers=0",
]
CHAIN = [unit for unit in run_units() if not unit.name.startswith("stage2_")]
KILLS = 50
"""Of the slow test."""


def train(store, out, units, moment=None):
    """Do a run in this process, with an interruption planted."""
    from apt_lightning.experiments import runner
    from apt_lightning.experiments.run_settings import RunSettings

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    if moment is not None:
        MOMENTS[moment]()
    runner.run(RunSettings(str(store), str(out), stages=str(CONFIGS), options=FLAGS), units)


def start(store, out, units, moment=None):
    process = START.Process(target=train, args=(store, out, units, moment))
    process.start()
    return process


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(owner, name, number, before=None):
    """Replace a function by one that kills the process at its ``number``-th call, after ``before``, if given."""
    calls = []
    original = getattr(owner, name)

    def replacement(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            if before is not None:
                before(*args)
            die()
        return original(*args, **kwargs)

    setattr(owner, name, replacement)


def half_a_file(content, path):
    torch.save(content, path)
    os.truncate(path, path.stat().st_size // 2)


def in_checkpoint(number):
    from apt_lightning.stages import checkpoint

    # Only the module that writes checkpoints sees the replacement.
    checkpoint.torch = SimpleNamespace(**vars(torch))
    die_at_call(checkpoint.torch, "save", number, half_a_file)


def between_best_and_last():
    from apt_lightning.training import callbacks

    die_at_call(callbacks, "write_atomically", 4)


def after_an_epoch():
    from apt_lightning.training.callbacks import ResumePoint

    ResumePoint.on_train_epoch_start = lambda self, trainer, module: die() if trainer.current_epoch == 2 else None


def before_the_intervals():
    from apt_lightning.training import passes

    die_at_call(passes, "update_metadata", 1)


def in_frozen_features():
    from apt_lightning.stages import frozen as features

    save = np.save
    features.np = type("np", (), {**vars(np), "save": lambda stream, values: (save(stream, values[:1]), die())})


def joining_frozen_features():
    def header(stream, content):
        stream.write(b"half a header")
        die()

    np.lib.format.write_array_header_1_0 = header


def before_done():
    from apt_lightning.experiments import runner

    write = runner.write_json
    runner.write_json = lambda path, content: die() if path.name == runner.DONE else write(path, content)


def in_test():
    from apt_lightning.training import passes

    die_at_call(passes, "write_statistics", 2)  # the first call is that of the validation after the fit


MOMENTS = {
    "first best.ckpt": lambda: in_checkpoint(1),
    "second last.ckpt": lambda: in_checkpoint(4),
    "between best.ckpt and last.ckpt": between_best_and_last,
    "after an epoch": after_an_epoch,
    "before the intervals": before_the_intervals,
    "frozen features": in_frozen_features,
    "joining them": joining_frozen_features,
    "test": in_test,
    "between stages": before_done,
}


def age_unfinished(store):
    """Have half-written features look as old as they would be for who starts again by hand."""
    for path in (store / "frozen").rglob(f"*{TEMPORARY}"):
        os.utime(path, (0, 0))


def assert_equal(one, other, units):
    """Every result in two run folders is the same; nothing unfinished is left."""
    for unit in units:
        a, b = one / "seed42" / unit.name, other / "seed42" / unit.name
        assert sorted(path.name for path in a.iterdir()) == sorted(path.name for path in b.iterdir())
        for name in ("best.ckpt", "last.ckpt"):
            first, second = (torch.load(folder / name, weights_only=True) for folder in (a, b))
            assert first["state_dict"].keys() == second["state_dict"].keys()
            assert all(torch.equal(value, second["state_dict"][key]) for key, value in first["state_dict"].items())
            assert (first["epoch"], first["global_step"]) == (second["epoch"], second["global_step"])
        assert table(a / "metrics.csv") == table(b / "metrics.csv")
        for path in a.glob("*_*.*"):
            if path.suffix == ".csv":
                assert path.read_bytes() == (b / path.name).read_bytes(), path
            elif path.suffix == ".npz":
                first, second = np.load(path), np.load(b / path.name)
                assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not list(other.rglob(f"*{TEMPORARY}"))


def table(path):
    with path.open(newline="") as stream:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]
    assert all(row["train/loss"] and row["lr"] for row in rows)
    return rows


@pytest.fixture(scope="module")
def vector_store(store_dir, tmp_path_factory):
    """The set's functionals and words, with vectors in place of frames, which would take minutes."""
    from apt_lightning.data.store.precomputed import put_features
    from apt_lightning.data.store.reader import Store

    folder = tmp_path_factory.mktemp("resume")
    shutil.copytree(store_dir, folder / "store")
    names = [clip.name for clip in Store.open(folder / "store").clips]
    values = np.random.default_rng(0).standard_normal((len(names), 16)).astype(np.float32)
    np.savez(folder / "visual.npz", features=values, names=names)
    put_features(Store.open(folder / "store"), "visual", str(folder / "visual.npz"), None)
    return folder / "store"


@pytest.fixture(scope="module")
def undisturbed(vector_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(vector_store, out, CHAIN)
    process.join()
    assert process.exitcode == 0
    return out


def is_newer(path, moment):
    return path.exists() and path.stat().st_mtime_ns > moment


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_killed_at_awkward_moments_a_run_ends_as_if_left_alone(vector_store, undisturbed, tmp_path):
    shutil.rmtree(vector_store / "frozen")
    for moment in MOMENTS:
        process = start(vector_store, tmp_path / "run", CHAIN, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL, moment
        age_unfinished(vector_store)
    process = start(vector_store, tmp_path / "run", CHAIN)
    process.join()
    assert process.exitcode == 0
    assert_equal(undisturbed, tmp_path / "run", CHAIN)
    assert not list(vector_store.rglob(f"*{TEMPORARY}"))


def test_run_that_stopped_early_trains_no_further_epoch(vector_store, tmp_path):
    flat = ("--model.lr=1e-12", "--model.final_lr=1e-12", "--patience=1")  # no epoch is better than the first
    units = [replace(CHAIN[0], options=flat)]
    process = start(vector_store, tmp_path, units, "before the intervals")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = (tmp_path / "seed42" / units[0].name / "metrics.csv").read_bytes()
    assert before.count(b"\n") == 3
    process = start(vector_store, tmp_path, units)
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "seed42" / units[0].name / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["run", "fit"])
def test_interrupted_command_says_how_to_go_on_and_does(vector_store, tmp_path, name, sent):
    flags = [*FLAGS, "--trainer.max_epochs=100000", "--patience=null"]
    if name == "run":
        folder, again = tmp_path / "seed42" / "stage1_audio", []
        words = [f"--store={vector_store}", f"--out={tmp_path}", f"--stages={CONFIGS}", f"--options={flags}"]
    else:
        folder, again = tmp_path, ["--ckpt_path=last"]
        words = [f"--config={CONFIGS}/stage1_audio.yaml", f"--data.store={vector_store}", f"--run_dir={folder}", *flags]
    first = interrupt([name, *words, *again], tmp_path / "log.txt", folder, sent)
    saved = torch.load(folder / "last.ckpt", weights_only=True)["epoch"]
    second = interrupt([name, *words, *again], tmp_path / "log.txt", folder, sent)
    assert 0 < saved < len(second) - 2
    assert second[: saved + 2] == first[: saved + 2]  # the seconds of an epoch that is trained again would differ


def interrupt(words, log, folder, sent):
    """Lines of ``metrics.csv`` of a command that was sent a signal once it had written ``last.ckpt`` twice."""
    process = START.Process(target=command, args=(words, log))
    process.start()
    try:
        for _ in range(2):
            wait_for(partial(is_newer, folder / "last.ckpt", time.time_ns()))
        os.kill(process.pid, sent)
        process.join(300)
        assert process.exitcode == 130, log.read_text()
    finally:
        process.kill()  # it would train for ever
    again = " ".join(word for word in words if words.index(word) == 0 or word == "--ckpt_path=last")
    lines = log.read_text().splitlines()
    assert lines[-1] == f"apt: interrupted; `apt {again}` with the same options goes on where it stopped"
    assert not any("Traceback" in line for line in lines)
    return (folder / "metrics.csv").read_text().splitlines()


@pytest.mark.slow
def test_fifty_kills_at_random_moments(vector_store, undisturbed, tmp_path):
    rng = np.random.default_rng(5)
    kills, finished = 0, 0
    while kills < KILLS or not finished:
        out = tmp_path / f"run{finished}"
        process = start(vector_store, out, CHAIN)
        process.join(rng.uniform(0.05, 2.5) if kills < KILLS else None)
        if process.exitcode is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.join()
            kills += 1
            assert not psutil.wait_procs(children, timeout=120)[1]
            age_unfinished(vector_store)
        else:
            assert process.exitcode == 0
            assert_equal(undisturbed, out, CHAIN)
            finished += 1
            if finished % 2:  # half of the runs compute the frozen features too
                shutil.rmtree(vector_store / "frozen")
    assert not list(vector_store.rglob(f"*{TEMPORARY}"))


@pytest.mark.slow
def test_killing_a_run_ends_the_processes_of_its_stages(vector_store, tmp_path):
    flags = [*FLAGS, "--trainer.max_epochs=100000", "--patience=null", "--trainer.devices=2", "--trainer.strategy=ddp"]
    words = [
        f"--store={vector_store}",
        f"--out={tmp_path}",
        f"--stages={CONFIGS}",
        f"--options={flags}",
        "--isolate=true",
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "apt_lightning", "run", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((tmp_path / "seed42" / "stage1_audio" / "last.ckpt").exists)
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) >= 2
    run.kill()
    run.wait()
    assert not psutil.wait_procs(children, timeout=120)[1]
