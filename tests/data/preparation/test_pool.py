"""Workers that hang, die, lie or leak cost one clip each and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_extract import expected, write_clip
from places import HELPERS

from apt_lightning.common.errors import StoreError
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.preparation.child import PoolJob, Task
from apt_lightning.data.preparation.pool import Pool, run_pool

JOB = PoolJob(json.loads(json.dumps(asdict(ExtractionSettings()))), extract="fake_extract:extract")


@pytest.fixture(autouse=True)
def _fake_extract_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


def tasks_for(folder, behaviours):
    tasks = []
    for i, behaviour in enumerate(behaviours):
        path = folder / f"{i}.json"
        write_clip(path, seed=i, **behaviour)
        tasks.append(Task(path.name, str(path), path.stat().st_size))
    return tasks


def outcome(results):
    return {result.task.name: [fault.code for fault in result.faults] for result in results}


def children():
    return [
        child for child in psutil.Process().children() if "apt_lightning.data.preparation.worker" in child.cmdline()
    ]


@pytest.mark.parametrize(
    ("do", "code"),
    [
        ("hang", "timeout"),
        ("die", "decoder-crash"),
        ("raise", "decoder-crash"),
        ("memory", "out-of-memory"),
        ("unreadable", "not-a-video"),
    ],
)
def test_bad_clip_costs_one_clip(tmp_path, do, code):
    tasks = tasks_for(tmp_path, [{}, {}, {"do": do}, {}, {}])
    results = list(run_pool(tasks, JOB, workers=2, seconds=1.5))
    assert outcome(results) == {f"{i}.json": [code] if i == 2 else [] for i in range(5)}
    assert [result.status for result in results if result.task.name == "2.json"] == ["left out"]
    assert children() == []


@pytest.mark.parametrize("spoils", ["memory", "raise", "hang"])
def test_clip_is_blamed_only_if_it_fails_in_a_fresh_process(tmp_path, spoils):
    """One process, in which every clip after the first fails, as after a recording that left it without memory."""
    tasks = tasks_for(tmp_path, [{"spoils": [spoils], "pad": 99 * "x"}, {}, {"do": "memory"}, {}])
    shards = tmp_path / "shards"
    job = PoolJob(JOB.settings, str(shards / "0-"), JOB.extract)
    results = list(run_pool(tasks, job, workers=1, seconds=2))
    assert outcome(results) == {f"{i}.json": ["out-of-memory"] if i == 2 else [] for i in range(4)}
    rows = [json.loads(line) for line in (shards / "0-0" / "rows.jsonl").read_text().splitlines()]
    assert sorted(row["name"] for row in rows) == [f"{i}.json" for i in range(4)], "a failure that was not the clip's"


@pytest.mark.parametrize("do", ["memory", "raise"])
def test_worker_that_failed_serves_no_further_clip(tmp_path, do):
    behaviours = [{"do": do, "spoils": ["hang"], "pad": 9 * "x"}, {}, {}]
    results = list(run_pool(tasks_for(tmp_path, behaviours), JOB, workers=1, seconds=20))
    assert [bool(result.faults) for result in results] == [True, False, False]


def test_several_clips_are_delivered(tmp_path):
    tasks = tasks_for(tmp_path, [{}, {"do": "no audio"}, {"do": "unreadable"}, {"do": "die once"}])
    job = PoolJob(JOB.settings, deliver=True, extract=JOB.extract)
    for result in run_pool(tasks, job, workers=2, seconds=20):
        if result.task.name == "2.json":
            assert result.extraction is None and result.status == "left out"
            continue
        functionals, frames, times = expected(result.task.path)
        assert result.extraction.frames == frames and result.extraction.times == times
        assert result.extraction.faults == result.faults
        if result.task.name == "1.json":
            assert result.extraction.functionals is None
        else:
            assert np.array_equal(result.extraction.functionals, functionals)


def test_result_waits_for_a_parent_that_is_busy(tmp_path):
    pool = Pool(tasks_for(tmp_path, [{}]), PoolJob(JOB.settings, deliver=True, extract=JOB.extract), 1, 20)
    deadline = time.monotonic() + 20
    while not children()[0].cpu_times().user and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # it imports and extracts while nobody listens
    assert [len(result.extraction.frames) for result in pool.results()] == [6]
    pool.close()
    assert children() == []


def test_too_few_open_files_are_named_with_a_remedy(tmp_path):
    code = (
        "import resource\nfrom apt_lightning.data.preparation.pool import *\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        f"job = PoolJob({JOB.settings!r}, extract={JOB.extract!r})\n"
        "list(run_pool([Task(str(i), 'x', 1) for i in range(40)], job, 40, 9))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "of 40 cannot start (Too many open files); give fewer by `--workers`" in run.stderr


def test_only_hanging_and_dying_clips(tmp_path):
    tasks = tasks_for(tmp_path, [{"do": "hang"}, {"do": "die"}, {"do": "hang"}])
    start = time.monotonic()
    results = list(run_pool(tasks, JOB, workers=3, seconds=5))
    assert outcome(results) == {"0.json": ["timeout"], "1.json": ["decoder-crash"], "2.json": ["timeout"]}
    assert time.monotonic() - start < 500  # a clip hangs for 1000 s


def test_worker_killed_by_something_else_is_no_fault_of_the_clip(tmp_path):
    results = list(run_pool(tasks_for(tmp_path, [{"do": "die once"}, {}]), JOB, workers=1, seconds=20))
    assert outcome(results) == {"0.json": [], "1.json": []}


def test_slow_clip_does_not_hold_the_others(tmp_path):
    tasks = tasks_for(tmp_path, [{"sleep": 1.5}, *[{"sleep": 0.02}] * 20])
    order = [result.task.name for result in run_pool(tasks, JOB, workers=2, seconds=20)]
    assert len(order) == 21 and order[-1] == "0.json"


def test_largest_first(tmp_path):
    tasks = tasks_for(tmp_path, [{"pad": "x" * size} for size in (10, 500, 100)])
    order = [result.task.name for result in run_pool(tasks, JOB, workers=1, seconds=20)]
    assert order == ["1.json", "2.json", "0.json"]


def test_noise_on_standard_output_is_no_answer(tmp_path):
    assert outcome(run_pool(tasks_for(tmp_path, [{"do": "print"}]), JOB, workers=1, seconds=20)) == {"0.json": []}


def test_file_that_vanished_is_missing(tmp_path):
    tasks = tasks_for(tmp_path, [{}])
    Path(tasks[0].path).unlink()
    assert outcome(run_pool(tasks, JOB, workers=1, seconds=20)) == {"0.json": ["missing-file"]}


def test_workers_that_cannot_start_end_the_run(tmp_path):
    job = PoolJob(JOB.settings, extract="no_such_module:extract")
    with pytest.raises(StoreError, match="do not start: exit status 1, ModuleNotFoundError"):
        list(run_pool(tasks_for(tmp_path, [{}]), job, workers=2, seconds=20))
    assert children() == []


def test_leaving_early_leaves_no_process(tmp_path):
    results = run_pool(tasks_for(tmp_path, [{"pad": 99 * "x"}, *[{"do": "hang"}] * 2]), JOB, workers=2, seconds=60)
    next(results)
    workers = children()
    assert workers
    results.close()
    assert not any(worker.is_running() for worker in workers)


def test_workers_never_import_torch_and_ignore_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger\\'s file was imported')")
    (tmp_path / "probe.py").write_text(
        "import sys\nfrom fake_extract import extract as inner\n"
        "def extract(*a, **k):\n    assert 'torch' not in sys.modules\n    return inner(*a, **k)\n"
    )
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "probe.py").rename(inside / "probe.py")
    monkeypatch.setenv("PYTHONPATH", f"{HELPERS}{os.pathsep}{inside}")
    monkeypatch.chdir(tmp_path)
    job = PoolJob(JOB.settings, extract="probe:extract")
    assert outcome(run_pool(tasks_for(tmp_path / "clips", [{}]), job, workers=1, seconds=20)) == {"0.json": []}


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_workers_die_with_the_parent(tmp_path):
    tasks = tasks_for(tmp_path, [{"do": "hang"}, {"do": "hang"}])
    code = (
        "from apt_lightning.data.preparation.pool import *\n"
        f"list(run_pool([Task(*t) for t in {[tuple(task) for task in tasks]!r}], PoolJob({JOB.settings!r}, "
        f"extract={JOB.extract!r}), 2, 600.0))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    workers = []
    while len(workers) < 2:
        assert parent.poll() is None
        workers = psutil.Process(parent.pid).children()
        time.sleep(0.05)
    time.sleep(float(np.random.default_rng().uniform(0, 1)))  # they end at whatever they are: starting, or at a clip
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert len(gone) == 2 and not alive
