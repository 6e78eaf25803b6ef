"""Cores that a process may use are counted, not those of the machine, and torch's threads follow."""

import os
import subprocess
import sys

import pytest

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
