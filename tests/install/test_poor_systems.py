"""Systems that lack locks, shared memory, open files or a place to write: one line with a remedy, or no matter."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys

import pytest
from fake_sets import OPTIONS, make_set
from places import CONFIGS, HELPERS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.errors import StoreError, UsageError
from apt_lightning.data.loading import shared_memory
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.reader import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Four made-up clips, whose pictures are noise."""
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    (tmp_path / "data").mkdir()
    prepare(make_set(tmp_path / "data", [{}] * 4), tmp_path / "store", OPTIONS)
    return tmp_path / "store"


def test_no_locks(store, tmp_path, monkeypatch, capsys):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    trained = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={store}", f"--run_dir={tmp_path / 'run'}"]
    for words in (["prepare", str(tmp_path / "data" / "clips.csv"), str(store)], ["fit", *trained, *QUICK]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "has no locks" in error and "local disk" in error


def test_little_shared_memory(store, monkeypatch):
    data = FirstImpressionsDataModule(str(store), num_workers=2, batch_size=3)
    data.setup("predict")
    free = 2 * 2 * 3 * 6 * 3 * 140 * 248
    for there, enough in ((free, True), (free - 1, False)):
        system = os.statvfs_result((1, 1, there, there, there, 0, 0, 0, 0, 255))
        monkeypatch.setattr(shared_memory.os, "statvfs", lambda path, system=system: system)
        if enough:
            data.predict_dataloader()
        else:
            with pytest.raises(UsageError, match=r"4 batches of 1 MiB .*--data.num_workers.*--shm-size"):
                data.predict_dataloader()


def test_a_store_holds_no_file_open(store):
    opened = Store.open(store)
    opened.frames(0)
    before = len(os.listdir("/proc/self/fd"))
    assert all(len(opened.frames(i)) == 6 for i in range(4))
    del opened.__dict__["text"]  # memory-mapped
    assert len(os.listdir("/proc/self/fd")) <= before - 3


def test_pictures_that_are_none_are_named_with_their_clip(store):
    data = FirstImpressionsDataModule(str(store))
    data.setup("predict")
    with pytest.raises(StoreError, match=r"frames of clip0000.json .* are damaged .*apt doctor"):
        next(iter(data.predict_dataloader()))


def test_a_store_that_cannot_be_written_and_has_no_features(feature_run, tmp_path, monkeypatch, capsys):
    store = tmp_path / "store"
    shutil.copytree(feature_run.parent / "store", store)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(store) not in str(path) and access(path, mode))
    best = feature_run / "seed42" / "stage4" / "best.ckpt"
    words = ["test", f"--ckpt_path={best}", f"--data.store={store}", f"--run_dir={tmp_path / 'out'}", *QUICK]
    assert main(words) == 0  # the features are there
    shutil.rmtree(store / "frozen")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot be written; copy the store" in error


def test_a_home_that_cannot_be_written_makes_no_noise(feature_run, tmp_path):
    words = [sys.executable, "-m", "apt_lightning", "test", f"--ckpt_path={feature_run / 'seed42' / 'stage3'}"]
    words += [f"--data.store={feature_run.parent / 'store'}", f"--run_dir={tmp_path}", *QUICK]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    done = subprocess.run(words, env=known | {"HOME": os.devnull}, capture_output=True, text=True)
    assert done.returncode == 0 and "MAP@R" in done.stdout, done.stderr
    assert not done.stderr
