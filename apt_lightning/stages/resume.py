"""What a training takes over from a checkpoint: plain numbers in the form of its own, and no path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from apt_lightning.common.console import say
from apt_lightning.common.errors import CheckpointError

_COUNT = 2**40
"""Bound of the numbers of steps and epochs."""


def take_over(trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Check the state of loops, optimizer and schedule, and leave of the callbacks' state what is safe.

    Validation, test and prediction take over nothing but weights. In training, early stopping goes on counting, with
    the patience that is asked for now; the best epoch is that of the run folder's own ``best.ckpt``, where it is there.
    State of other callbacks, which may hold anything, is dropped and named.

    Args:
        trainer: With its callbacks.
        module: What is trained.
        checkpoint: As :func:`apt_lightning.stages.checkpoint.read_checkpoint` gives it; its ``callbacks`` are replaced.

    Raises:
        CheckpointError: If a part is missing or of another form.
    """
    if trainer.state.fn != TrainerFn.FITTING:
        checkpoint.pop("loops", None)
        checkpoint["callbacks"] = {}
        return
    if missing := [name for name in ("loops", "optimizer_states", "lr_schedulers") if name not in checkpoint]:
        raise CheckpointError(f"the checkpoint holds weights only, no {missing[0]}: training cannot go on from it")
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        _same_form(getattr(trainer, name).state_dict(), _part(checkpoint["loops"], name), f"loops.{name}")
    configured: Any = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    match checkpoint["optimizer_states"], checkpoint["lr_schedulers"]:
        case [dict(state)], [dict(times)]:
            _check_optimizer(optimizer, state)
            _same_form(schedule.state_dict(), times, "lr_schedulers")
        case _:
            raise CheckpointError("the checkpoint is damaged: it is not of one optimizer and one schedule")
    checkpoint["callbacks"] = _callbacks(trainer, checkpoint.get("callbacks"))


def _part(whole: Any, name: Any) -> Any:
    if not isinstance(whole, dict) or name not in whole:
        raise CheckpointError(f"the checkpoint is damaged: it has no {name}")
    return whole[name]


def _same_form(expected: Any, found: Any, name: str) -> None:
    """Refuse what differs from our own state in more than its numbers."""
    match expected:
        case dict():
            for key, value in expected.items():
                _same_form(value, _part(found, key), f"{name}.{key}")
            fits = found.keys() <= expected.keys()
        case list():
            fits = isinstance(found, list) and len(found) == len(expected)
            for i, value in enumerate(expected if fits else ()):
                _same_form(value, found[i], f"{name}.{i}")
        case bool():
            fits = isinstance(found, bool)
        case int():
            fits = type(found) is int and 0 <= found < _COUNT
        case float():
            fits = _is_number(found)
        case _:
            fits = type(found) is type(expected)
    if not fits:
        raise CheckpointError(f"the checkpoint is damaged: {name} is {ascii(found)[:60]}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30


def _check_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Refuse what is not of the optimizer's parameters."""
    groups, rows = _part(state, "param_groups"), _part(state, "state")
    numbers = [group["params"] for group in optimizer.state_dict()["param_groups"]]
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    damaged = CheckpointError("the checkpoint is damaged: its optimizer is not of this stage's parameters")
    if not (isinstance(groups, list) and isinstance(rows, dict) and all(isinstance(g, dict) for g in groups)):
        raise damaged
    if [group.get("params") for group in groups] != numbers or not rows.keys() <= parameters.keys():
        raise damaged
    for group in groups:
        for value in group.values():
            parts = value if isinstance(value, list | tuple) else [value]
            if not all(part is None or isinstance(part, bool) or _is_number(part) for part in parts):
                raise damaged
    for number, row in rows.items():
        if not isinstance(row, dict) or row.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise damaged
        for name, value in row.items():
            shape = torch.Size() if name == "step" else parameters[number].shape
            if not isinstance(value, Tensor) or value.shape != shape or not torch.isfinite(value).all():
                raise damaged


def _callbacks(trainer: Trainer, states: Any) -> dict[str, Any]:
    if not isinstance(states, dict):
        raise CheckpointError("the checkpoint is damaged: it has no state of callbacks")
    kept: dict[str, Any] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = states.get(callback.state_key)
        if state is None:
            continue
        if type(callback) is EarlyStopping:
            counts = {name: _part(state, name) for name in ("wait_count", "stopped_epoch")}
            _same_form({"wait_count": 0, "stopped_epoch": 0}, counts, "EarlyStopping")
            score = _score(_part(state, "best_score"))
            kept[callback.state_key] = {**counts, "best_score": score, "patience": callback.patience}
        elif isinstance(callback, ModelCheckpoint) and callback.filename == "best":
            score, own = _part(state, "best_model_score"), os.path.join(str(callback.dirpath), "best.ckpt")
            if score is not None and Path(own).is_file():
                score = _score(score)
                kept[callback.state_key] = {
                    "dirpath": callback.dirpath,
                    "best_model_score": score,
                    "best_model_path": own,
                    "best_k_models": {own: score},
                    "kth_best_model_path": own,
                    "kth_value": score,
                }
        else:
            say(f"not taken over from the checkpoint: the state of {type(callback).__name__}")
    return kept


def _score(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.shape or not value.is_floating_point() or value.isnan():
        raise CheckpointError("the checkpoint is damaged: its best metric is no number")
    return value
