"""What W&B and TensorBoard are told of a stage: who it is, how it does, and what it found."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import write_json
from apt_lightning.common.version import __version__
from apt_lightning.stages.base import BaseModule
from apt_lightning.stages.checkpoint import PATHS
from apt_lightning.stages.names import PART

RECORD = "wandb_run.json"
"""Of a run folder: the W&B run that its later commands go on with, and the artifact of its checkpoint."""


def make_loggers(names: Sequence[str], folder: Path, stage: str, config: Mapping[str, Any]) -> list[Logger]:
    """Loggers of one command on one run folder.

    Within a run that is open, as in a trial of a W&B sweep, metrics go there, those of stage 3 under ``stage3/``.

    Args:
        names: ``wandb``, ``tensorboard``.
        folder: Run folder.
        stage: Name of the stage.
        config: Settings of the command.

    Raises:
        UsageError: If TensorBoard is not installed.
    """
    loggers: list[Logger] = []
    if "WANDB_SWEEP_ID" in os.environ:
        loggers.append(WandbLogger(save_dir=folder, prefix="" if stage == "stage4" else stage))
    elif "wandb" in names:
        logger = WandbLogger(save_dir=folder, **_identity(folder, stage, config))
        del logger._wandb_init["anonymous"]  # W&B warns of it
        loggers.append(logger)
    if "tensorboard" in names:
        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        except ModuleNotFoundError:
            raise UsageError("TensorBoard is not installed: pip install 'apt-lightning[tensorboard]'") from None
    return loggers


def _identity(folder: Path, stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``wandb.init``."""
    run = group_folder(folder)
    data = config["data"]
    protocol = "official split" if data["folds"] is None else f"fold {data['fold']} of {Path(data['folds']).name}"
    store = "/".join(Path(data["store"]).resolve().parts[-2:])
    anew = config.get("subcommand") == "fit" and config["ckpt_path"] is None
    return {
        "project": project(),
        "group": run.name,
        "job_type": stage,
        "name": f"{run.name} {folder.name} seed {config['seed_everything']}",
        "tags": [tag[-64:] for tag in (protocol, store, code_version())],  # the length that W&B allows
        "id": (None if anew else read_record(folder).get("id")) or secrets.token_hex(4),
    }


def group_folder(folder: Path) -> Path:
    """The folder of the whole run, which contains those of its seeds and stages."""
    above = folder.resolve().parent
    return above.parent if PART.fullmatch(above.name) else above


def project() -> str:
    """Project of a new W&B run."""
    return os.environ.get("WANDB_PROJECT", "apt-lightning")


def code_version() -> str:
    """Commit of a clone, else the version."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"version {__version__}"


def read_record(folder: Path) -> dict[str, str]:
    """What :data:`RECORD` of a run folder says; empty without one."""
    try:
        found: dict[str, str] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def tell_settings(loggers: Sequence[Logger], folder: Path, content: Mapping[str, Any], model: BaseModule) -> None:
    """Log the complete settings; name what to plot against the epoch; link the artifacts of earlier stages."""
    settings = [content["model"]["init_args"].get(name) for name in PATHS]
    paths = [path for given in settings for path in (given.values() if isinstance(given, Mapping) else [given])]
    used = [name for path in paths if path and (name := read_record(Path(path).parent).get("artifact"))]
    for logger in loggers:
        logger.log_hyperparams({**content, "uses": used})
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            start = f"{logger._prefix}-" if logger._prefix else ""
            for name in ("val/*", "train/*", "lr"):
                run.define_metric(f"{start}{name}", step_metric=f"{start}epoch")
            if "WANDB_SWEEP_ID" not in os.environ:  # a trial sets its summary itself
                run.define_metric(model.monitor, step_metric="epoch", summary=model.mode)
                write_json(folder / RECORD, {**read_record(folder), "id": run.id, "project": run.project})
            for name in used if not run.offline else ():
                run.use_artifact(f"{name}:latest")


def log_summary(loggers: Sequence[Logger], metrics: Mapping[str, float]) -> None:
    """Log metrics of a whole stage, which are no curve."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(dict(metrics))
        else:
            logger.log_metrics(dict(metrics))


def log_table(loggers: Sequence[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Log a table; TensorBoard holds it as text."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, list(columns), [list(row) for row in rows])
        elif isinstance(logger, TensorBoardLogger):
            lines = [columns, ["---"] * len(columns), *rows]
            logger.experiment.add_text(name, "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def log_chart(loggers: Sequence[Logger], name: str, label: str, value: str, bars: Mapping[str, float]) -> None:
    """Log one bar chart; W&B alone has them."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            table = wandb.Table(columns=[label, value], data=[[key, bar] for key, bar in bars.items()])
            logger.experiment.log({name: wandb.plot.bar(table, label, value, title=name)})


def log_picture(loggers: Sequence[Logger], name: str, file: Path) -> None:
    """Log a picture."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(file)])
        elif isinstance(logger, TensorBoardLogger):
            from PIL import Image

            pixels = np.asarray(Image.open(file).convert("RGB"))
            logger.experiment.add_image(name, pixels, dataformats="HWC")


def log_checkpoint(loggers: Sequence[Logger], file: Path, metadata: Mapping[str, Any]) -> None:
    """Send a checkpoint to W&B as an artifact, and keep its name for the stages that will use it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            folder = file.parent.resolve()
            parts = folder.relative_to(group_folder(folder).parent).parts
            name = re.sub(r"[^\w.-]", "_", "-".join(parts))
            artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
            artifact.add_file(str(file))
            logger.experiment.log_artifact(artifact)
            write_json(folder / RECORD, {**read_record(folder), "artifact": name})


def close(loggers: Sequence[Logger], failed: bool) -> None:
    """Write what is left, and end the W&B run of this command: the next stage in this process has one of its own."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger) and logger._experiment is not None:
            logger._experiment.close()
        elif isinstance(logger, WandbLogger) and logger._experiment is not None and "WANDB_SWEEP_ID" not in os.environ:
            logger._experiment.finish(exit_code=int(failed))
