"""The multi-similarity loss, forward and backward, against pytorch-metric-learning in its fastest form.

Five traits, extreme anchors at the natural share, 3B rows of 128 random numbers. The library gets the anchor
rows as queries and all rows as reference, with the same classes, mining and denominator, and gives the same loss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from apt_lightning.losses import ReferenceMultiSimilarityLoss, TraitMultiSimilarityLoss
from bench import tell

# Of the official training labels (EXT NEU AGR CON OPE).
MEAN = [0.476146, 0.520286, 0.548181, 0.522731, 0.566281]
SD = [0.152285, 0.153533, 0.136374, 0.155207, 0.146978]
CORRELATION = [
    [1.00, 0.80, 0.71, 0.59, 0.77],
    [0.80, 1.00, 0.73, 0.72, 0.77],
    [0.71, 0.73, 1.00, 0.66, 0.65],
    [0.59, 0.72, 0.66, 1.00, 0.58],
    [0.77, 0.77, 0.65, 0.58, 1.00],
]
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: TraitMultiSimilarityLoss(mean=MEAN, sd=SD),
    "library": lambda: ReferenceMultiSimilarityLoss(mean=MEAN, sd=SD),
}


def batch(clips: int) -> tuple[Tensor, Tensor]:
    """Random embeddings, and labels with the real set's means, deviations and correlations."""
    rng = np.random.default_rng(clips)
    covariance = np.array(CORRELATION) * np.outer(SD, SD)
    labels = rng.multivariate_normal(MEAN, covariance, clips).clip(0, 1)
    embeddings = torch.tensor(rng.standard_normal((3 * clips, 128)), dtype=torch.float32, requires_grad=True)
    return embeddings, torch.tensor(labels, dtype=torch.float32).repeat(3, 1)


def step(loss: nn.Module, embeddings: Tensor, labels: Tensor) -> float:
    """Seconds of one forward and backward pass."""
    embeddings.grad = None
    start = time.perf_counter()
    loss(embeddings, labels).backward()
    return time.perf_counter() - start


def extra_memory(name: str, clips: int) -> float:
    """MiB by which one step raises the peak of a process that has done a small one (Linux)."""
    loss = LOSSES[name]()
    step(loss, *batch(8))
    data = batch(clips)
    Path("/proc/self/clear_refs").write_text("5")  # the peak restarts at what is held now
    before = peak_memory()
    step(loss, *data)
    return peak_memory() - before


def peak_memory() -> float:
    """Peak resident set of this process in MiB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def seconds(clips: int, rounds: int) -> dict[str, list[float]]:
    """Times of both losses, taken in turns."""
    data = batch(clips)
    losses = {name: make() for name, make in LOSSES.items()}
    ours, library = (loss(*data).item() for loss in losses.values())
    assert abs(ours - library) < 1e-5, f"the losses differ: {ours} and {library}"
    turns = [{name: step(loss, *data) for name, loss in losses.items()} for _ in range(rounds)]
    return {name: [turn[name] for turn in turns] for name in losses}


def main() -> None:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="Batch sizes B.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for clips in args.clips:
        # A new process for each, which has no freed memory to use again.
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            memory = {name: pool.apply(extra_memory, (name, clips)) for name in LOSSES}
        for threads in args.threads:
            torch.set_num_threads(threads)
            times = seconds(clips, args.rounds)
            ours, library = (1000 * float(np.median(times[name])) for name in LOSSES)
            ratio = float(np.median(np.divide(times["library"], times["ours"])))
            figures[f"stage3/loss B={clips} threads={threads}"] = {
                "ms": ours,
                "library_ms": library,
                "ratio": ratio,
                "mib": memory["ours"],
                "library_mib": memory["library"],
            }
    tell(figures, args.json)


if __name__ == "__main__":
    main()
