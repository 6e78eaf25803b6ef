"""Two processes against one, each with one core of its own: preparation, and training of stage 1 visual.

Preparation is ``apt prepare`` as torchrun would start it. Once more over the finished store it costs what start-up
costs, for two processes the import of Lightning: the speed-up is given with and without. Two preparations that share
nothing show what the machine allows. Training is DistributedDataParallel on ResNet-50 with eight clips a process and
step; the clock starts after the first step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import tell
from bench.prepare import write_set
from bench.stores import media_store

STEPS, BATCH = 4, 8


def prepare_seconds(data: Path, stores: list[Path], processes: int) -> float:
    """Seconds until ``processes`` that share each store have finished, every one on a core of its own."""
    words = ["--workers=1", f"--trainer.devices={processes}"]
    start = time.perf_counter()
    started = []
    for core, (store, rank) in enumerate((store, rank) for store in stores for rank in range(processes)):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "TORCHELASTIC_RUN_ID": "bench"}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
        environment = os.environ | {name: str(value) for name, value in place.items()}
        command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "apt_lightning", "prepare"]
        command += [str(data), str(store), *words]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    if sum(process.wait() != 0 for process in started):
        raise RuntimeError("a preparation failed")
    return time.perf_counter() - start


def fit(processes: int, store: str) -> None:
    """Train in this process, and print clips a second of all."""
    import torch
    from lightning.pytorch import Callback, Trainer, seed_everything

    from apt_lightning.common.console import quiet
    from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
    from apt_lightning.stages.modality import ModalityModule
    from apt_lightning.training.options import TRAINER_DEFAULTS

    class Clock(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 1:
                self.start = time.perf_counter()
            elif trainer.global_step == 1 + STEPS and trainer.is_global_zero:
                print(processes * BATCH * STEPS / (time.perf_counter() - self.start))

    quiet()
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    data = FirstImpressionsDataModule(store, BATCH, num_workers=0)
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


def train_speeds(folder: Path) -> tuple[float, float]:
    """Clips a second of one process and of two."""
    store = media_store(folder, 400, 20)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    speeds = []
    for n in ("1", "2"):
        command = [sys.executable, "-m", "bench.processes", "--fit", n, str(store)]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        speeds.append(float(output.split()[-1]))
    return speeds[0], speeds[1]


def main() -> None:
    """Measure in turn and print ratios; 2 would be linear."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a clip")
    parser.add_argument(
        "--fit", nargs=2, metavar=("PROCESSES", "STORE"), help="train on so many processes and print clips a second"
    )
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args()
    if args.fit:
        fit(int(args.fit[0]), args.fit[1])
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "clips")
        folder.mkdir()
        data = write_set(folder, args.clips, args.seconds)
        alone, shared, *apart = (Path(scratch, name) for name in ("alone", "shared", "a", "b"))
        one, two = prepare_seconds(data, [alone], 1), prepare_seconds(data, [shared], 2)
        steady = one / (two - prepare_seconds(data, [shared], 2))
        ceiling = 2 * one / prepare_seconds(data, apart, 1)
        one_speed, two_speed = train_speeds(Path(scratch, "media"))
    figures = {
        "processes/prepare": {
            "one_seconds": one,
            "two_seconds": two,
            "speedup": one / two,
            "steady": steady,
            "ceiling": ceiling,
        },
        "processes/stage 1 visual": {"one": one_speed, "two": two_speed, "speedup": two_speed / one_speed},
    }
    tell(figures, args.json)


if __name__ == "__main__":
    main()
