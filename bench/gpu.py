"""Each stage on a GPU at the paper's sizes: clips a second, utilisation, share of time in kernels, memory.

Random inputs of the real shapes go through ``apt fit``'s own data module and trainer: frames are decoded from JPEG by
loader processes and augmented on the device. Clips a second leave out the first steps; the share of time in kernels is
that of the profiler over the last steps, utilisation what the driver reports. Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.profiler import ProfilerActivity, profile

from apt_lightning.common.console import quiet
from apt_lightning.common.processes import core_count
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.training.options import TRAINER_DEFAULTS
from bench import tell
from bench.stores import feature_store, media_store
from bench.train import STAGES, stored_features

WARM, PROFILED = 10, 10
"""Steps before the clock starts, and steps under the profiler after it stopped."""
STAGE1 = {"stage 1 audio": ("audio", 128), "stage 1 visual": ("visual", 22), "stage 1 text": ("text", 128)}
"""Modality and batch size."""
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "32-true"},
    "bf16": {"precision": "bf16-mixed"},
    "bf16 compiled": {"precision": "bf16-mixed"},
}


class Meter(Callback):
    """Times the steps after the warm-up, then profiles some."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.figures: dict[str, float] = {}
        self._profiler: profile | None = None
        self._loads: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Start and stop the clock and the profiler."""
        step = trainer.global_step
        on_gpu = module.device.type == "cuda"
        if step == WARM:
            self._start = _now(on_gpu)
        elif WARM < step < WARM + self.steps and on_gpu and step % 10 == 0:
            self._loads.append(_utilisation())
        elif step == WARM + self.steps:
            seconds = _now(on_gpu) - self._start
            self.figures["clips_per_second"] = self.steps * len(batch.positions) / seconds
            self.figures["utilisation"] = float(np.mean(self._loads)) if self._loads else float("nan")
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
            self._profiler = profile(activities=activities)
            self._profiler.start()
            self._start = _now(on_gpu)
        elif self._profiler is not None and step == WARM + self.steps + PROFILED:
            seconds = _now(on_gpu) - self._start
            self._profiler.stop()
            events = self._profiler.key_averages()
            kernels = sum(e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events) / 1e6
            self.figures["kernel_share"] = kernels / seconds
            self.figures["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else float("nan")


def _now(on_gpu: bool) -> float:
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter()


def _utilisation() -> int:
    try:
        return torch.cuda.utilization()
    except (ModuleNotFoundError, RuntimeError):  # needs nvidia-ml-py
        return -1


def measure(stage: str, variant: str, accelerator: str, steps: int, folder: Path) -> dict[str, float]:
    """Train one stage for some steps on the store of its kind in a folder."""
    seed_everything(0, verbose=False)
    module: BaseModule
    if stage in STAGE1:
        modality, batch_size = STAGE1[stage]
        module = ModalityModule(modality, compile="compiled" in variant)
        store = folder / "media" / "store"
        data = FirstImpressionsDataModule(str(store), batch_size, num_workers=min(16, core_count()))
    else:
        module = STAGES[stage]()
        data, features = stored_features(folder / "features")
        module.features = lambda store: features.to(module.device)  # type: ignore[method-assign]
    meter = Meter(steps)
    if accelerator == "gpu":
        torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(
        **TRAINER_DEFAULTS | VARIANTS[variant],
        accelerator=accelerator,
        max_steps=WARM + steps + PROFILED,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[meter],
    )
    trainer.fit(module, datamodule=data)
    return meter.figures


def main() -> None:
    """Measure every stage and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=[*STAGE1, *STAGES])
    parser.add_argument("--clips", type=int, default=6000, help="Training clips.")
    parser.add_argument("--steps", type=int, default=100, help="Timed steps.")
    parser.add_argument("--accelerator", default="gpu", help="`cpu` to try the script.")
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    if args.accelerator == "gpu" and not torch.cuda.is_available():
        print("not measured: no GPU on this machine")
        return
    quiet()
    print(torch.cuda.get_device_name() if args.accelerator == "gpu" else "CPU", f"torch {torch.__version__}")
    figures = {}
    with TemporaryDirectory() as made:
        folder = Path(made)
        if STAGE1.keys() & set(args.stages):
            media_store(folder / "media", args.clips, 100)
        feature_store(folder / "features", args.clips, 100)
        for stage, variant in product(args.stages, VARIANTS):
            if "compiled" in variant and stage != "stage 1 visual":
                continue  # the other stages have no large network in training
            figures[f"gpu/{stage} {variant}"] = measure(stage, variant, args.accelerator, args.steps, folder)
    tell(figures, args.json)


if __name__ == "__main__":
    main()
