"""An exported model by onnxruntime against the same networks by torch: clips a second, and by how much they differ.

Inputs lie in memory as the graph takes them, frames uncompressed, so that only the networks are measured. Both have one
thread, take turns, and are timed by the processor. Differences are those of the traits, for every pattern of missing
modalities.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from apt_lightning.common.batch import Inputs
from apt_lightning.stages.export.graph import TraitGraph, drawn_inputs, write_onnx
from apt_lightning.stages.frozen import encode_inputs
from apt_lightning.stages.scorer import Scorer
from bench import tell


@torch.inference_mode()
def by_torch(scorer: Scorer, present: Tensor, inputs: dict[str, Inputs]) -> Tensor:
    """(B, 5) traits."""
    encoders = scorer.encoders.encoders
    columns = [encode_inputs(encoders[name], given, torch.device("cpu")) for name, given in inputs.items()]
    if scorer.network is None:
        scores = torch.where(present, scorer.head(columns[0]), torch.tensor(scorer.statistics.mean).float())
    else:
        scores = scorer.head(scorer.network(torch.stack(columns, dim=1), present))
    return scores.clamp(0, 1)


def fed(names: list[str], present: Tensor, inputs: dict[str, Inputs]) -> dict[str, Any]:
    """The same as the graph takes it."""
    values = [present]
    for given in inputs.values():
        values += [given.values] if given.length is None else [given.values, given.length]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def per_second(scorer: Scorer, file: Path, batch: int, rounds: int) -> dict[str, float]:
    """Clips a second of both, all modalities there; medians, and that of the rounds' own ratios."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    present, inputs = drawn_inputs(scorer, batch)
    present = torch.ones_like(present)
    given = fed(TraitGraph(scorer).input_names, present, inputs)
    taken = []
    for _ in range(rounds + 1):
        start = time.process_time()
        by_torch(scorer, present, inputs)
        middle = time.process_time()
        session.run(None, given)
        taken.append((middle - start, time.process_time() - middle))
    ours, theirs = (batch / statistics.median(times) for times in zip(*taken[1:], strict=True))
    return {
        "torch_per_second": ours,
        "onnx_per_second": theirs,
        "ratio": statistics.median(a / b for a, b in taken[1:]),
    }


def differences(scorer: Scorer, file: Path) -> dict[str, float]:
    """Modalities that are there to the largest difference of a trait."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    present, inputs = drawn_inputs(scorer, 4 * 2 ** len(scorer.modalities))
    found = session.run(None, fed(TraitGraph(scorer).input_names, present, inputs))[0]
    gaps = np.abs(found - by_torch(scorer, present, inputs).numpy()).max(axis=1)
    largest: dict[str, float] = {}
    for row, gap in zip(present.tolist(), gaps.tolist(), strict=True):
        there = "+".join(name for name, here in zip(scorer.modalities, row, strict=True) if here) or "none"
        largest[there] = max(largest.get(there, 0.0), gap)
    return largest


def measure(scorer: Scorer, batches: list[int], rounds: int) -> dict[str, dict[str, float]]:
    """Export a model and measure."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        write_onnx(scorer, file)
        told = {"onnx/difference": differences(scorer, file)}
        told |= {f"onnx/batch {batch}": per_second(scorer, file, batch, rounds) for batch in batches}
    return told


def main() -> None:
    """Export, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    checkpoint = Path("demo", "run", "seed42", "stage4", "best.ckpt")
    parser.add_argument("--checkpoint", default=str(checkpoint), help="of stage 1, 2 or 4; the demo's")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, dict[str, float]] = {}
    if Path(args.checkpoint).exists():
        told = measure(Scorer(args.checkpoint), args.batches, args.rounds)
    else:
        print(f"no {args.checkpoint}: not measured")
    tell(told, args.json)


if __name__ == "__main__":
    main()
