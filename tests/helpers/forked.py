"""Processes that have the slow imports done, for tests that start, kill and join many."""

import multiprocessing
import os
import socket
import sys

import torch

START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["apt_lightning.training.fit", "apt_lightning.experiments.runner", "matplotlib.pyplot"])


def command(words, log=os.devnull, environment=None):
    """Do an ``apt`` command line in this process, with its output in a file, and exit with its status."""
    from apt_lightning.cli import main

    os.environ |= environment or {}
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115  (until the process ends)
    sys.exit(main(words))


def rank_environments(world):
    """What a launcher of one process a rank sets for each."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(world)}
    return [common | {"LOCAL_RANK": str(rank)} for rank in range(world)]


def join(processes):
    """Wait for processes that must end well."""
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * len(processes)
