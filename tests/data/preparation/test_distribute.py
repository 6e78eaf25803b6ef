"""Preparation by several processes: one store, whoever starts them and whatever ends them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from fake_extract import write_clip
from fake_sets import OPTIONS, content, done, make_set
from forked import START, command
from places import HELPERS

from apt_lightning.common.errors import StoreError
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import newest_rows


@pytest.fixture(autouse=True)
def _fake_extract_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return make_set(tmp_path / "data", [{"sleep": 0.005}] * 12)


def rank(data, store, options, environment):
    """Prepare in this process, as a launcher would have started it."""
    os.environ |= environment | {"PYTHONPATH": str(HELPERS)}
    sys.exit(prepare(data, store, options) * 10)  # 0: finished


def torchrun(rank, world):
    """What torchrun sets for one of several processes of a machine."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "TORCHELASTIC_RUN_ID": "none"}
    return {name: str(value) for name, value in own.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def slurm(rank, world):
    """What srun sets for one of several processes, two a machine."""
    own = {"PROCID": rank, "LOCALID": rank % 2, "NODEID": rank // 2, "NTASKS": world}
    own |= {"NTASKS_PER_NODE": min(world, 2), "NNODES": max(1, world // 2)}
    return {f"SLURM_{name}": str(value) for name, value in own.items()}


@pytest.mark.parametrize(("launcher", "devices", "num_nodes"), [(torchrun, 2, 1), (torchrun, 4, 1), (slurm, 2, 2)])
def test_processes_write_the_same_store(data, tmp_path, launcher, devices, num_nodes):
    """No process meets another: each has done its share when it ends, bad clips included."""
    for number, what in ((3, "unreadable"), (6, "no audio"), (9, "die")):
        write_clip(data.parent / f"clip{number:04d}.json", do=what)
    prepare(data, tmp_path / "alone", OPTIONS)
    world = devices * num_nodes
    options = replace(OPTIONS, devices=devices, num_nodes=num_nodes, workers=2)
    processes = [
        START.Process(target=rank, args=(data, tmp_path / "store", options, launcher(i, world))) for i in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert 0 in {process.exitcode for process in processes}  # the last one
    assert content(tmp_path / "store") == content(tmp_path / "alone")
    assert set(done(tmp_path / "store").values()) == {1}
    owners = {
        row["name"]: shard
        for shard, row in newest_rows(tmp_path / "store", Store.open(tmp_path / "store").manifest["key"]).values()
    }
    dealt = {2: [0, 1, 1, 0] * 3, 4: [0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 1]}[world]
    assert [int(owners[f"clip{i:04d}.json"].split("-")[0]) for i in range(12)] == dealt


def test_share_of_a_dead_process_is_done_by_the_next_run(data, tmp_path):
    """One of three ranks runs, the others never start: it does not wait for them."""
    options = replace(OPTIONS, devices=3)
    alone = START.Process(target=rank, args=(data, tmp_path / "store", options, torchrun(1, 3)))
    alone.start()
    alone.join(60)
    assert alone.exitcode == 80
    with pytest.raises(StoreError, match="unfinished, 8 of 12 clips to do"):
        Store.open(tmp_path / "store")
    assert prepare(data, tmp_path / "store", OPTIONS) == 0
    assert set(done(tmp_path / "store").values()) == {1}


def test_number_of_processes_must_be_the_launchers(data, tmp_path):
    words = ["prepare", str(data), str(tmp_path / "store"), "--trainer.devices=3"]
    process = START.Process(target=command, args=(words, tmp_path / "log", torchrun(0, 2)))
    process.start()
    process.join(60)
    assert process.exitcode == 2
    assert "does not match the world size (2)" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_share_ends_at_a_signal_and_goes_on_later(tmp_path, number):
    (tmp_path / "data").mkdir()
    large = {"comment": "large files are begun first"}  # each share does two, and then six that take their time
    data = make_set(tmp_path / "data", [large] * 4 + [{"sleep": 4}] * 12)
    options = replace(OPTIONS, devices=2, workers=1)
    process = START.Process(target=rank, args=(data, tmp_path / "store", options, torchrun(0, 2)))
    process.start()
    while len(done(tmp_path / "store")) < 2:
        assert process.is_alive()
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 1  # KeyboardInterrupt
    finished = done(tmp_path / "store")
    assert 2 <= len(finished) < 8
    for name in {f"clip{i:04d}.json" for i in range(16)} - finished.keys():
        write_clip(tmp_path / "data" / name)
    assert prepare(data, tmp_path / "store", OPTIONS) == 0
    assert set(done(tmp_path / "store").values()) == {1}


@pytest.mark.slow
def test_lightning_starts_the_other_processes(clips_dir, tmp_path):
    """The process that was started waits for those it starts, and it alone reports."""
    words = [clips_dir, tmp_path / "store", "--trainer.devices=2", "--workers=1"]
    found = subprocess.run(
        [sys.executable, "-m", "apt_lightning", "prepare", *words], capture_output=True, text=True, check=True
    )
    assert found.stdout.count("clips given") == 1 and "still to do" not in found.stdout
    store = Store.open(tmp_path / "store")
    assert {shard.split("-")[0] for shard, _ in newest_rows(store.path, store.manifest["key"]).values()} == {"0", "1"}
