"""Stages 2, 3 and 4 under Lightning against a bare PyTorch loop with the same arithmetic.

Paper sizes with a frozen ResNet-50 in every checkpoint, cached random features; seconds and ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from apt_lightning.common.batch import Batch
from apt_lightning.common.console import quiet
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.frozen import FrozenFeatures
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.callbacks import AtomicCheckpointIO, EpochTable, ResumePoint, best_checkpoint
from apt_lightning.training.options import TRAINER_DEFAULTS
from bench import tell
from bench.stores import feature_store

ENCODERS: dict[str, dict[str, Any]] = {
    "audio": {"kind": "vector", "dim": 88, "hidden_dims": [1024], "output_dim": 256},
    "visual": {"kind": "frames", "backbone": "resnet50", "dropout": 0.5, "output_dim": 256},
    "text": {
        "kind": "tokens",
        "dim": 300,
        "n_words": 13_000,
        "words_size": 10,
        "hidden_dim": 128,
        "dropout": 0.5,
    },
}
M1 = {"kind": "fusion", "n_modalities": 3, "feature_dim": 256, "hidden_dims": [1024, 512]}
S = {"kind": "siamese", "feature_dim": 256, "hidden_dims": [200, 200], "embedding_dim": 128, "dropout": 0.5}
STAGES: dict[str, Callable[[], BaseModule]] = {
    "stage 2": lambda: FusionModule(upstream={"encoders": ENCODERS}),
    "stage 3": lambda: SiameseModule(upstream={"encoders": ENCODERS}),
    "stage 4": lambda: FinalModule(upstream={"encoders": ENCODERS, "fusion": M1, "siamese": S}),
}


def stored_features(folder: Path) -> tuple[FirstImpressionsDataModule, FrozenFeatures]:
    """Batches of a :func:`~bench.stores.feature_store`, and its vectors mapped as the cache of frozen features is."""
    data = FirstImpressionsDataModule(str(folder / "store"), batch_size=128)
    columns = []
    for name in ENCODERS:
        file = folder / f"{name}.npy"
        np.save(file, data.store.vectors(name))
        columns.append(torch.from_numpy(np.load(file, mmap_mode="c")))
    return data, FrozenFeatures(columns)


def with_lightning(name: str, made: Path, epochs: int) -> float:
    """Seconds of ``apt fit``'s own trainer, its checkpoints and tables included."""
    seed_everything(0, verbose=False)
    module = STAGES[name]()
    data, features = stored_features(made)
    module.features = lambda store: features  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            **TRAINER_DEFAULTS,
            max_epochs=epochs,
            accelerator="cpu",
            default_root_dir=folder,
            enable_progress_bar=False,
            plugins=[AtomicCheckpointIO()],
            callbacks=[best_checkpoint(Path(folder), module), EpochTable(folder), ResumePoint(folder)],
        )
        start = time.perf_counter()
        trainer.fit(module, datamodule=data)
        return time.perf_counter() - start


def bare(name: str, made: Path, epochs: int) -> float:
    """Seconds of a loop that does the same arithmetic and nothing else: no checkpoint, no table, no bar."""
    seed_everything(0, verbose=False)
    module = STAGES[name]()
    data, frozen = stored_features(made)
    features = torch.stack(frozen.columns, dim=1)
    labels = torch.tensor([clip.traits for clip in data.store.clips], dtype=torch.float32)
    training = torch.tensor([clip.split == "train" for clip in data.store.clips])
    if isinstance(module, SiameseModule):
        module.loss.set_statistics(labels.mean(0), labels.std(0, correction=0))
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    present = torch.ones(len(labels), 3, dtype=torch.bool)

    def batch(rows: Tensor) -> Batch:
        return Batch(rows, labels[rows], present[rows], {}, features[rows])

    def loss_of(rows: Tensor) -> Tensor:
        if isinstance(module, SiameseModule):
            embeddings = module(batch(rows)).transpose(0, 1).flatten(0, 1)
            loss: Tensor = module.loss(embeddings, labels[rows].repeat(3, 1), clips=rows.repeat(3))
            return loss
        assert isinstance(module, FusionModule | FinalModule)
        return module.loss(module(batch(rows)), labels[rows])

    start = time.perf_counter()
    for _ in range(epochs):
        module.train()
        for rows in torch.randperm(int(training.sum())).split(128):
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        module.eval()
        with torch.no_grad():
            for rows in torch.nonzero(~training)[:, 0].split(512):
                loss_of(rows)
    return time.perf_counter() - start


def main() -> None:
    """Measure interleaved and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=6000, help="Training clips.")
    parser.add_argument("--validation", type=int, default=2000, help="Validation clips.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="Write the figures here.")
    args = parser.parse_args()
    quiet()
    torch.set_flush_denormal(True)  # as `apt fit` does
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        feature_store(folder, args.clips, args.validation)
        for _, name in product(range(args.rounds), STAGES):
            seconds[name].append((with_lightning(name, folder, args.epochs), bare(name, folder, args.epochs)))
    figures = {}
    print(
        f"{args.clips} training clips, {args.epochs} epochs, {torch.get_num_threads()} threads, median of {args.rounds}"
    )
    rows = {
        **seconds,
        "together": [tuple(map(sum, zip(*r, strict=True))) for r in zip(*seconds.values(), strict=True)],
    }
    for name, pairs in rows.items():
        ours, theirs = np.median(pairs, axis=0)
        ratio = float(np.median([a / b for a, b in pairs]))
        figures[f"train/{name}"] = {"seconds": float(ours), "bare_seconds": float(theirs), "ratio": ratio}
    tell(figures, args.json)


if __name__ == "__main__":
    main()
