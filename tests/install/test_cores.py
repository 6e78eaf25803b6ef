"""Cores that a process may use are counted, not those of the machine, and torch's threads follow."""

import os
import subprocess
import sys

import pytest
from joblib.externals.loky.backend import context

from apt_lightning.common import processes

CODE = """
import os, sys
if sys.argv[1] == "pinned":
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import torch
from apt_lightning.common.processes import core_count, limit_threads
torch.set_num_threads(7)
limit_threads()
print(core_count(), torch.get_num_threads())
"""


def cores(how, **environment):
    known = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT")}
    done = subprocess.run([sys.executable, "-c", CODE, how], env=known | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux pins processes to cores")
def test_affinity_is_counted():
    assert cores("pinned") == ["1", "1"]


def test_omp_num_threads_is_the_users_own_word():
    assert cores("free", OMP_NUM_THREADS="7", LOKY_MAX_CPU_COUNT="1") == ["1", "7"]


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_the_quota_of_a_container_is_counted_as_joblib_counts_it(files, allowed, tmp_path, monkeypatch):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(processes, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    assert processes.core_count() == allowed
    real_open, real_exists = open, os.path.exists

    def moved(path):
        return str(path).replace("/sys/fs/cgroup", str(tmp_path))

    monkeypatch.setattr(context.os.path, "exists", lambda path: real_exists(moved(path)))
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: real_open(moved(path), *a, **k))
    assert context.cpu_count() == allowed
