"""Two processes against one, each with one core: preparation, and training of stage 1 visual.

Preparation is ``apt prepare`` with one decoding worker a process; Lightning starts the second process, whose import of
Lightning is in its time. Training is DistributedDataParallel on ResNet-50 with eight clips a process and step, on one
thread; the clock starts after the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.prepare import write_set

STEPS, BATCH = 4, 8


def prepare_seconds(data: Path, store: Path, processes: int) -> float:
    """Seconds of the command, cold."""
    words = ["prepare", str(data), str(store), "--workers=1", f"--trainer.devices={processes}"]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "apt_lightning", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def fit(processes: int) -> None:
    """Train in this process, and print clips a second of all."""
    import torch
    from lightning.pytorch import Callback, Trainer, seed_everything

    from apt_lightning.cli.lightning import TRAINER_DEFAULTS
    from apt_lightning.console import quiet
    from apt_lightning.models.modality import ModalityModule
    from bench.gpu import raw_data

    class Clock(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 1:
                self.start = time.perf_counter()
            elif trainer.global_step == 1 + STEPS and trainer.is_global_zero:
                print(processes * BATCH * STEPS / (time.perf_counter() - self.start))

    quiet()
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    data = raw_data(BATCH)
    data.num_workers = 0
    settings = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "accelerator": "cpu"}
    trainer = Trainer(
        **TRAINER_DEFAULTS | settings,
        max_steps=1 + STEPS,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[Clock()],
    )
    trainer.fit(ModalityModule("visual"), datamodule=data)


def main() -> None:
    """Measure in turn and print ratios; 2 would be linear."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a clip")
    parser.add_argument("--fit", type=int, help="train on so many processes and print clips a second")
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    if args.fit:
        fit(args.fit)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "clips")
        folder.mkdir()
        data = write_set(folder, args.clips, args.seconds)
        one, two = (prepare_seconds(data, Path(scratch, f"store{n}"), n) for n in (1, 2))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    speeds = []
    for n in (1, 2):
        command = [sys.executable, "-m", "bench.processes", "--fit", str(n)]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        speeds.append(float(output.split()[-1]))
    figures = {
        "processes/prepare": {"one_seconds": one, "two_seconds": two, "speedup": one / two},
        "processes/stage 1 visual": {"one": speeds[0], "two": speeds[1], "speedup": speeds[1] / speeds[0]},
    }
    print(f"prepare, {args.clips} clips: {one:.1f} s, two processes {two:.1f} s: {one / two:.2f} times as fast")
    print(f"stage 1 visual: {speeds[0]:.2f} clips/s, two processes {speeds[1]:.2f}: {speeds[1] / speeds[0]:.2f} times")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
