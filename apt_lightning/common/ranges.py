"""What the numbers among settings may be: those of the stages, of their losses and of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from apt_lightning.common.errors import UsageError

_SIZE, _SHARE, _POSITIVE, _WEIGHT = "1 or more", "0 or more and below 1", "above 0", "0 or more"
_SIMILARITY = "between -1 and 1"
_HOLDS: dict[str, Callable[[float], bool]] = {
    _SIZE: lambda x: x >= 1,
    _SHARE: lambda x: 0 <= x < 1,
    _POSITIVE: lambda x: x > 0,
    _WEIGHT: lambda x: x >= 0,
    _SIMILARITY: lambda x: -1 <= x <= 1,
}
_NAMES = {
    _SIZE: (
        *("embedding_dim", "gru_dim", "output_dim", "set_dim", "encoder_batch"),
        *("batch_size", "eval_batch_size", "fold"),
    ),
    _SHARE: ("dropout", "modality_dropout"),
    _POSITIVE: (
        *("lr", "final_lr", "encoder_rate", "head_scale", "alpha", "beta"),
        *("bell_sigma", "bell_gamma"),
    ),
    _WEIGHT: (
        *("weight_decay", "margin", "label_noise", "unimodal_weight", "metric_weight", "head_epochs"),
        *("mae_weight", "mse_weight", "bell_weight", "num_workers", "seed"),
    ),
    _SIMILARITY: ("base",),
}
_RANGES = {name: allowed for allowed, names in _NAMES.items() for name in names}


def check_ranges(settings: Mapping[str, Any], part: str = "model") -> None:
    """Refuse a number that nothing can be trained with; sizes of layers and frames are checked by the networks.

    Args:
        settings: By name; None stands for no limit.
        part: What they are settings of, as in their flags: ``model``, ``model.loss`` or ``data``.

    Raises:
        UsageError: If there is one; neither NaN nor an infinite number will do.

    Example:
        >>> check_ranges({"dropout": 2})
        Traceback (most recent call last):
        ...
        apt_lightning.common.errors.UsageError: `--model.dropout` must be 0 or more and below 1, but is 2
    """
    for name, value in settings.items():
        allowed = _RANGES.get(name)
        if allowed and value is not None and not (math.isfinite(value) and _HOLDS[allowed](value)):
            raise UsageError(f"`--{part}.{name}` must be {allowed}, but is {value}")


def check_positive(options: Mapping[str, float | None]) -> None:
    """Refuse an option that must be above 0.

    Args:
        options: By name, with its dashes; None where it is not given.

    Raises:
        UsageError: If there is one; neither NaN nor an infinite number will do.
    """
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"`{name}` must be above 0, but is {value}")
