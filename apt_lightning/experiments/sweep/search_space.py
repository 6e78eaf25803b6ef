"""A search of hyperparameters in W&B's sweep form, and the same as Optuna distributions."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import yaml

from apt_lightning.common.configs import read_yaml_text
from apt_lightning.common.errors import UsageError
from apt_lightning.stages.names import STAGE3

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

METHODS = ("bayes", "random")
PASSED_OVER = ("program", "command", "name", "description", "project", "entity", "run_cap", "early_terminate")
"""Top-level keys of W&B's form that are for its server and agents alone."""
KEYS = (*PASSED_OVER, "method", "metric", "parameters")
KINDS = ("uniform", "int_uniform", "log_uniform_values", "categorical", "constant")
"""Distributions of W&B's form that are understood."""
STAGE, JOINT = "stage", "joint"
"""Parameter that names what is searched, with one ``value``; stage 3 without it."""
FIXED = {
    STAGE3: ("checkpoints", "upstream"),
    JOINT: (
        *("start_ckpt", "upstream", "metric", "loss"),
        *("stage1", "fusion_dims", "siamese_dims", "embedding_dim", "hidden_dims"),  # of a training from scratch
    ),
}
"""What can be searched, to its arguments that cannot: what it reads, and what a flag does not set."""


@dataclass(frozen=True)
class Search:
    """What to search, and by which metric."""

    method: str
    """One of :data:`METHODS`."""
    metric: str
    """A validation metric of stage 4 or the joint training, such as ``val/accuracy``."""
    maximize: bool
    parameters: dict[str, dict[str, Any]]
    """Flag of what is searched, without dashes, to its range as in the YAML."""

    @property
    def stage(self) -> str:
        """What is searched: stage 3 or the joint training."""
        return stage_of({name: given.get("value") for name, given in self.parameters.items()})

    def space(self) -> dict[str, BaseDistribution]:
        """The ranges as Optuna distributions."""
        return {name: _distribution(name, given) for name, given in self.parameters.items()}


def read_search(path: str | os.PathLike[str]) -> Search:
    """Read a sweep YAML.

    Raises:
        UsageError: If it is no sweep, names a metric that is not of the validation split, or a parameter that what
            is searched does not have or that must not be searched.
    """
    text = read_yaml_text(path)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of a date that is none
        raise UsageError(f"{path} is no readable YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict) or not content["parameters"]:
        raise UsageError(f"{path}: expected W&B's sweep form with `method`, `metric` and `parameters`")
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise UsageError(f"{path}: unknown key {unknown[0]!r}; understood are {', '.join(KEYS)}")
    method, metric = content.get("method"), content.get("metric")
    if method not in METHODS:
        raise UsageError(f"{path}: expected `method` to be one of {', '.join(METHODS)}, but got {method!r}")
    if not isinstance(metric, dict) or metric.get("goal") not in ("maximize", "minimize"):
        raise UsageError(f"{path}: expected `metric` with `name` and the `goal` maximize or minimize, got {metric!r}")
    if not str(metric.get("name")).startswith("val/"):
        raise UsageError(
            f"{path}: `metric.name` must be a validation metric of stage 4, such as val/accuracy, but is"
            f" {metric.get('name')!r}; the test split is not for choosing"
        )
    parameters = plain_number(content["parameters"])
    for name, given in parameters.items():
        _check_range(f"{path}: {name}", given)
    check_names({name: given.get("value") for name, given in parameters.items()}, f"{path}: ")
    return Search(method, metric["name"], metric["goal"] == "maximize", parameters)


def plain_number(value: Any) -> Any:
    """A value in which text that is a number is one: ``1e-4``, which YAML 1.1 takes for text.

    Args:
        value: As read from a YAML or a flag; in lists and mappings each part is treated so.

    Example:
        >>> plain_number({"min": "1e-4", "values": ["3", "extreme"]})
        {'min': 0.0001, 'values': [3, 'extreme']}
    """
    match value:
        case dict():
            return {key: plain_number(part) for key, part in value.items()}
        case list():
            return [plain_number(part) for part in value]
        case str():
            for kind in (int, float):
                with suppress(ValueError):
                    return kind(value)
    return value


def stage_of(parameters: Mapping[str, Any], where: str = "") -> str:
    """What parameters are of: stage 3 or the joint training.

    Args:
        parameters: Of a trial, with their values.
        where: Put before the message.

    Raises:
        UsageError: If they name another.
    """
    stage = parameters.get(STAGE, STAGE3)
    if stage not in tuple(FIXED):  # it may be a list
        raise UsageError(f"{where}`{STAGE}` must be one value, {' or '.join(FIXED)}, but is {stage!r}")
    return str(stage)


def searchable(stage: str) -> list[str]:
    """Flags of a stage that a search may set: what it trains with, not what it reads."""
    from apt_lightning.stages.joint import JointModule
    from apt_lightning.stages.siamese import SiameseModule

    names = inspect.signature(SiameseModule if stage == STAGE3 else JointModule).parameters
    return [f"model.{n}" for n in names if n not in FIXED[stage]] + ["data.batch_size"]


def check_names(parameters: Mapping[str, Any], where: str = "") -> None:
    """Refuse parameters that the stage does not have, or that would change data, splits or earlier stages.

    Args:
        parameters: Of a trial, with their values.
        where: Put before the message.

    Raises:
        UsageError: If there is one.
    """
    stage = stage_of(parameters, where)
    allowed = searchable(stage)
    for name in parameters:
        if name not in (STAGE, *allowed):
            close = get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"searched can be {', '.join(allowed)}"
            what = "stage 3" if stage == STAGE3 else "the joint training"
            raise UsageError(f"{where}{name!r} is no parameter of {what} that may be searched; {hint}")


def _check_range(where: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}: expected `value`, `values`, or `min` and `max`, but got {given!r}")
    kind = given.get("distribution")
    if kind is not None and kind not in KINDS:
        raise UsageError(f"{where}: distribution {kind!r} is not understood; use one of {', '.join(KINDS)}")
    keys = set(given) - {"distribution"}
    if keys == {"value"} or (keys == {"values"} and isinstance(given["values"], list) and given["values"]):
        return
    numbers = [given[key] for key in ("min", "max") if type(given.get(key)) in (int, float)]
    if keys != {"min", "max"} or len(numbers) < 2 or numbers[0] > numbers[1]:
        raise UsageError(f"{where}: expected `value`, a list of `values`, or `min` below `max`, but got {dict(given)}")
    if kind == "log_uniform_values" and numbers[0] <= 0:
        raise UsageError(f"{where}: log_uniform_values needs `min` above 0, but got {numbers[0]}")


def _distribution(name: str, given: Mapping[str, Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "min" not in given:
        return CategoricalDistribution(given.get("values", [given.get("value")]))
    low, high, kind = given["min"], given["max"], given.get("distribution")
    if kind in (None, "int_uniform") and isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=kind == "log_uniform_values")
