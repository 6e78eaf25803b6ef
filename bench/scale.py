"""Growth: seconds an epoch and memory a clip of stage 2, from 1 k to 100 k clips of random features."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import tell
from bench.stores import feature_store


def measure(n: int, epochs: int, folder: Path) -> dict[str, float]:
    """Epoch seconds per clip of stage 2, and peak memory, in this process."""
    import torch
    from lightning.pytorch import Trainer

    from apt_lightning.common.console import quiet
    from apt_lightning.training.options import TRAINER_DEFAULTS
    from bench.train import STAGES, stored_features

    quiet()
    torch.set_flush_denormal(True)  # as `apt fit` does
    data, features = stored_features(folder)
    module = STAGES["stage 2"]()
    module.features = lambda store: features  # type: ignore[method-assign]
    trainer = Trainer(
        **TRAINER_DEFAULTS,
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    start = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = (time.perf_counter() - start) / epochs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return {
        "epoch_seconds": seconds,
        "microseconds_per_clip": seconds / n * 1e6,
        "peak_mib": peak,
        "own_mib": int(own.split()[1]) / 1024,  # without mapped files, which the kernel may drop
    }


def main() -> None:
    """Measure each size in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "FOLDER"), help="Measure one size and print JSON.")
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(int(args.one[0]), args.epochs, Path(args.one[1]))))
        return
    figures = {}
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            feature_store(Path(folder), n, 1000)
            command = [sys.executable, "-m", "bench.scale", "--one", str(n), folder, "--epochs", str(args.epochs)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures[f"scale/{n}"] = json.loads(output.splitlines()[-1])
    tell(figures, args.json)


if __name__ == "__main__":
    main()
