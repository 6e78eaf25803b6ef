"""Runs killed at any moment and resumed: every file equals that of a run that was left alone."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import CONFIGS, ROOT

from apt_lightning.stages import UNITS

FLAGS = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=4",
    "--trainer.limit_train_batches=2",
    "--data.batch_size=8",
    "--data.num_workers=0",
]
CHAIN = [unit for unit in UNITS if not unit.name.startswith("stage2_")]
KILLS = 50
"""Of the slow test."""

START = multiprocessing.get_context("forkserver")  # a process that has the imports done starts the runs
START.set_forkserver_preload(["apt_lightning.cli.lightning", "apt_lightning.runner", "matplotlib.pyplot"])


def settings(store, out):
    from apt_lightning.runner import RunSettings

    return RunSettings(store=str(store), out=str(out), stages=str(CONFIGS), options=FLAGS)


def train(store, out, units, moment=None):
    """Do a run in this process, with an interruption planted."""
    from apt_lightning import runner

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    if moment is not None:
        MOMENTS[moment]()
    runner.run(settings(store, out), units)


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
    from apt_lightning import checkpoint

    # Only the module that writes checkpoints sees the replacement.
    checkpoint.torch = type("torch", (), {"save": torch.save, "load": torch.load})
    die_at_call(checkpoint.torch, "save", number, half_a_file)


def between_best_and_last():
    from apt_lightning import callbacks

    die_at_call(callbacks, "write_atomically", 4)


def after_an_epoch():
    from apt_lightning.callbacks import ResumePoint

    ResumePoint.on_train_epoch_start = lambda self, trainer, module: die() if trainer.current_epoch == 2 else None


def before_the_intervals():
    from apt_lightning.cli import lightning

    die_at_call(lightning, "update_entry", 1)


def in_frozen_features():
    from apt_lightning.data import features

    save = np.save
    features.np = type("np", (), {**vars(np), "save": lambda stream, values: (save(stream, values[:1]), die())})


def before_done():
    from apt_lightning import runner

    write = runner._write_json
    runner._write_json = lambda path, content: die() if path.name == runner.DONE else write(path, content)


def in_test():
    from apt_lightning.cli import lightning

    die_at_call(lightning, "report_stage", 1)


MOMENTS = {
    "first best.ckpt": lambda: in_checkpoint(1),
    "second last.ckpt": lambda: in_checkpoint(4),
    "between best.ckpt and last.ckpt": between_best_and_last,
    "after an epoch": after_an_epoch,
    "before the intervals": before_the_intervals,
    "frozen features": in_frozen_features,
    "test": in_test,
    "between stages": before_done,
}


def age_unfinished(store):
    """Have half-written features look as old as they would be for who starts again by hand."""
    for path in (store / "frozen").rglob("*.tmp"):
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
    assert not [path for path in other.rglob("*") if ".tmp" in path.name or ".part" in path.name]


def table(path):
    with path.open(newline="") as stream:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]
    assert all(row["train/loss"] and row["lr"] for row in rows)
    return rows


@pytest.fixture(scope="module")
def vector_store(store_dir, tmp_path_factory):
    """The set's functionals and words, with vectors in place of frames, which would take minutes."""
    import shutil

    from apt_lightning.data.foreign import put_features
    from apt_lightning.data.store import Store

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


def test_killed_at_awkward_moments_a_run_ends_as_if_left_alone(vector_store, undisturbed, tmp_path):
    import shutil

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
    assert not list(vector_store.rglob("*.tmp"))
