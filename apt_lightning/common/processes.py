"""Processes that are expendable: ended with their parent, and held to a limit of memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, however it ends (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


def limit_memory(limit: int) -> None:
    """Let allocations beyond ``limit`` bytes of address space fail instead of starving the machine."""
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
