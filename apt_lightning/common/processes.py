"""Processes: how many the machine has cores for, ended with their parent, and held to a limit of memory."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use."""


def core_count() -> int:
    """Cores that this process may use: affinity and the quota of a container counted in.

    The count is that of ``joblib.cpu_count``, whose import costs more than scoring a clip. ``LOKY_MAX_CPU_COUNT``
    lowers it.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(), int(os.environ.get("LOKY_MAX_CPU_COUNT", cores)))))


def _quota() -> float:
    """Processor time a second of a container: a quota and its period, in one file (cgroup v2) or two (v1)."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # absent, or "max"
            continue
    return math.inf


def limit_threads() -> None:
    """Let torch use no more threads than :func:`core_count`; ``OMP_NUM_THREADS``, where set, is the user's own word.

    Torch itself counts the cores of the machine, and in a container of two cores of 64 starts 64 threads.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > core_count():
        torch.set_num_threads(core_count())


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, however it ends.

    Only Linux can. On macOS a decoding process ends with the clip in its hands, when the pipe that feeds it closes,
    and a stage that ``--isolate`` started goes on to its end if its parent was killed by SIGKILL.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


def limit_memory(limit: int) -> None:
    """Let allocations beyond ``limit`` bytes of address space fail instead of starving the machine.

    macOS cannot limit it; there a decoder has only its time limit.
    """
    if sys.platform == "darwin":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def launched_tasks() -> int:
    """Number of processes that torchrun, srun or mpirun started together, of which this is one; 1 without them.

    Example:
        >>> launched_tasks()
        1
    """
    known = os.environ
    if "LOCAL_RANK" in known and "WORLD_SIZE" in known:  # torchrun, and the processes that Lightning starts
        return int(known["WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in known:
        return int(known["SLURM_STEP_NUM_TASKS"])
    if "SLURM_PROCID" in known and known.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(known.get("SLURM_NTASKS", 1))
    return int(known.get("OMPI_COMM_WORLD_SIZE", known.get("PMI_SIZE", 1)))
