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
