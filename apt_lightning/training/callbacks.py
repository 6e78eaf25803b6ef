"""Files of a run folder: resume point, table of epochs, checkpoints written whole or not at all."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from tqdm import tqdm
from typing_extensions import override

from apt_lightning.common.console import bar
from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import reading, write_csv
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import read_checkpoint, write_atomically
from apt_lightning.stages.names import BEST, LAST

METRICS_FILE = "metrics.csv"
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
"""Without steps and their rate, which would push the metric over the edge of 80 columns."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and ``best.ckpt`` only together with the next other one.

    Early in training nearly every epoch is the best so far, and a file with a frozen ResNet-50 takes as long as
    an epoch of stage 2; so ``best.ckpt`` waits in memory until :class:`ResumePoint` saves. A kill before that loses
    both, and the resumed run comes to the same best epoch again.
    """

    def __init__(self) -> None:
        self._best: tuple[dict[str, Any], str | os.PathLike[str]] | None = None

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if Path(path).name == BEST:  # its tensors are the ones in training
            copied = apply_to_collection(checkpoint, Tensor, lambda x: x.detach().to("cpu", copy=True))
            self._best = copied, path
            return
        self.teardown()
        write_atomically(checkpoint, path)

    @override
    def load_checkpoint(self, path: str | os.PathLike[str], *_: Any, **__: Any) -> dict[str, Any]:
        """Read a whole checkpoint as plain data, checked."""
        return read_checkpoint(path)

    @override
    def teardown(self) -> None:
        """Write what waits."""
        if self._best is not None:
            write_atomically(*self._best)
            self._best = None


class ResumePoint(Checkpoint):
    """Writes ``last.ckpt`` after the first and the last epoch, and after as many others as a share of time allows.

    Args:
        folder: Run folder.
        share: Part of the training time that may go into writing checkpoints.
    """

    def __init__(self, folder: str | os.PathLike[str], share: float = 0.03) -> None:
        self.path = Path(folder, LAST)
        self.share = share
        self._due_at = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that had stopped early before the interruption must not train one more epoch.
        stoppers = [c for c in trainer.callbacks if isinstance(c, EarlyStopping)]  # type: ignore[attr-defined]
        if any(stopper.wait_count >= stopper.patience for stopper in stoppers):
            trainer.should_stop = True

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        start = time.monotonic()
        if trainer.strategy.broadcast(last or start >= self._due_at):
            trainer.save_checkpoint(self.path, weights_only=False)
            end = time.monotonic()
            self._due_at = end + (end - start) / self.share


class EpochTable(Checkpoint):
    """Keeps ``metrics.csv``, one row an epoch; a resumed run replaces the rows from its first epoch on.

    Lightning's CSVLogger deletes the rows of the interrupted run. Other callbacks than those of class ``Checkpoint``
    run before the module logs the training loss of the epoch.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder, METRICS_FILE)
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = []
        if trainer.current_epoch and self.path.exists():
            self._rows = [row for row in read_epochs(self.path) if int(row["epoch"]) < trainer.current_epoch]

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            seconds = round(time.monotonic() - self._started, 3)
            self._rows.append(
                {"epoch": trainer.current_epoch, "seconds": seconds, **_numbers(trainer.callback_metrics)}
            )
            self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        write_csv(self.path, columns, ([row.get(name, "") for name in columns] for row in self._rows))


def read_epochs(path: Path) -> list[dict[str, str]]:
    """Read ``metrics.csv``: a row an epoch, of numbers as they stand there; an empty cell where there is none.

    Raises:
        DataError: If it is damaged.
    """
    with reading(path, "train the stage again"):
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            _ = int(row["epoch"]), [float(value or "nan") for value in row.values()]
    return rows


def best_epoch(folder: str | os.PathLike[str], monitor: str, mode: str) -> dict[str, float]:
    """Read the row of ``metrics.csv`` whose epoch ``best.ckpt`` is from.

    Args:
        folder: Run folder of one stage.
        monitor: Metric that chooses the epoch.
        mode: ``max`` or ``min``.

    Raises:
        UsageError: If the folder has no such metric.
    """
    path = Path(folder, METRICS_FILE)
    found = read_epochs(path) if path.is_file() else []
    rows = [{name: float(x) for name, x in row.items() if x} for row in found]
    rows = [row for row in rows if math.isfinite(row.get(monitor, math.nan))]
    if not rows:
        raise UsageError(f"{path} has no {monitor}; train the stage with `apt run`")
    return max(rows, key=lambda row: row[monitor] * (1 if mode == "max" else -1))


class TrainingBar(ProgressBar):
    """One bar over all epochs of a stage, with an estimate and the metric that chooses the best epoch."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._enabled = True

    @override
    def disable(self) -> None:
        self._enabled = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._enabled and trainer.is_global_zero:
            steps = int(trainer.num_training_batches)
            total = steps * trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
            assert isinstance(pl_module, BaseModule)
            done = trainer.global_step
            self._bar = bar(total, pl_module.stage, "step", initial=done, mininterval=0.5, bar_format=_BAR)

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is not None:
            shown = {name: f"{float(value):.4f}" for name, value in trainer.progress_bar_metrics.items()}
            self._bar.set_postfix(epoch=trainer.current_epoch + 1, **shown, refresh=False)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def best_checkpoint(folder: Path, model: BaseModule) -> ModelCheckpoint:
    """The callback that keeps ``best.ckpt`` in a run folder."""
    name = BEST.removesuffix(".ckpt")
    return ModelCheckpoint(folder, name, model.monitor, mode=model.mode, enable_version_counter=False)
