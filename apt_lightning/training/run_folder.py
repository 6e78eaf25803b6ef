"""A run folder belongs to one training and one process group at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import TEMPORARY, locked
from apt_lightning.common.processes import launched_tasks
from apt_lightning.stages.names import BEST, LAST, LOCK
from apt_lightning.training.callbacks import METRICS_FILE
from apt_lightning.training.loggers import RECORD

CONFIG = "config.yaml"
_TABLES = ("predictions_*.csv", "statistics.json", "retrieval_*.csv", "embeddings_*.npz", "embeddings_*.png")
_FILES = (BEST, LAST, METRICS_FILE, CONFIG, RECORD, *_TABLES, "tensorboard/*", "wandb/*")
DATA_PATHS = ("store", "folds")
"""Settings of the data that are files or folders; kept as absolute paths."""
_FREE = ("num_workers", "eval_batch_size", "store")
"""Settings of the data that may change when a training goes on: a store may move."""


def is_dry_run(trainer: Trainer) -> bool:
    """Whether ``fast_dev_run`` was asked for: such a run leaves no trace."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set by Lightning's data connector


@contextmanager
def held(folder: Path, trainer: Trainer) -> Iterator[None]:
    """Hold a run folder while this process and those that train with it write there.

    Raises:
        UsageError: If a launcher started another number of processes than are to train together.
        StoreError: If another process holds it.
    """
    tasks, wanted = launched_tasks(), trainer.num_devices * trainer.num_nodes
    if tasks > 1 and tasks != wanted:
        raise UsageError(
            f"the launcher started {tasks} processes, but `--trainer.devices` x `--trainer.num_nodes` is {wanted}:"
            " they would train over each other; make the numbers equal"
        )
    if is_dry_run(trainer) or not trainer.is_global_zero:
        yield
        return
    with locked(folder / LOCK):
        for left in folder.glob(f"*{TEMPORARY}"):  # of a killed training; nobody else writes here now
            left.unlink()
        yield


def goes_on(folder: Path, checkpoint: str | None) -> bool:
    """Whether a training from a checkpoint is the one that the run folder holds."""
    return checkpoint is not None and Path(checkpoint).resolve().parent == folder.resolve()


def check_free(folder: Path, checkpoint: str | None, overwrite: bool, config: dict[str, Any]) -> None:
    """Refuse to train into the folder of another training.

    Args:
        folder: Run folder.
        checkpoint: What the training goes on from, if it does.
        overwrite: Whether a training that is there may be replaced.
        config: Settings of the training that is to begin.

    Raises:
        UsageError: If it holds another one.
    """
    found = [name for name in (LAST, BEST, METRICS_FILE) if (folder / name).is_file()]
    if not found or overwrite:
        return
    if not goes_on(folder, checkpoint):
        raise UsageError(
            f"{folder} holds another training ({', '.join(found)}): add `--ckpt_path=last` to go on with it,"
            " `--overwrite=true` to replace it, or give another `--run_dir`"
        )
    try:
        before = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        pairs = {f"data.{key}": (config["data"][key], value) for key, value in before["data"].items()}
        pairs["seed_everything"] = (config["seed_everything"], before["seed_everything"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise UsageError(f"{folder / CONFIG} is damaged; delete it to go on all the same") from None
    for name, (now, then) in pairs.items():
        if name == "data.folds" and now and then:
            now, then = (str(Path(path).resolve()) for path in (now, then))
        if now != then and name.removeprefix("data.") not in _FREE:
            raise UsageError(
                f"`--{name}` is {now} here and {then} in {folder}: a training goes on with its own settings; drop it,"
                " add `--overwrite=true` to train anew, or give another `--run_dir`"
            )


def check_pass(folder: Path, data: dict[str, Any]) -> None:
    """Refuse to put tables of other clips in place of those that a training's own folder holds.

    Args:
        folder: Run folder.
        data: Settings of the data of a validation or test.

    Raises:
        UsageError: If a training lies there that had other data.
    """
    try:
        before = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["data"]
        pairs = {name: (data[name], before[name]) for name in ("store", "folds", "fold", "quarantine")}
        moved = [name for name in DATA_PATHS if before[name] and not Path(before[name]).exists()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return
    for name, (now, then) in pairs.items():
        if name in DATA_PATHS and now and then:
            now, then = (str(Path(path).resolve()) for path in (now, then))
        if now != then and name not in moved:
            raise UsageError(
                f"`--data.{name}` is {now} here and {then} in the training of {folder}, whose tables would be replaced;"
                " give another `--run_dir`"
            )


def settings_of(folder: Path, command: str) -> str | None:
    """What a training that is there was told, as YAML for ``--config``; None where nothing is known.

    Args:
        folder: Run folder.
        command: ``fit`` goes on with all of it; another takes the data, as far as they still lie where they were.
    """
    try:
        content = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        data = {key: x for key, x in content["data"].items() if key not in DATA_PATHS or (x and Path(x).exists())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None
    own = ("model", "ckpt_path", "weights_only", "overwrite", "run_dir")
    kept = {key: x for key, x in content.items() if key not in own} if command == "fit" else {}
    return str(yaml.safe_dump(kept | {"data": data}))


def clear(folder: Path, since: float) -> None:
    """Delete what an earlier training and its tests have left.

    Args:
        folder: Run folder.
        since: Begin of the training that replaces it, seconds since 1970; its loggers have files there already.
    """
    for pattern in _FILES:
        for path in folder.glob(pattern):
            if path.lstat().st_mtime >= since:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
