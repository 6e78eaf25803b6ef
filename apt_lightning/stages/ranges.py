"""What the numbers among a stage's settings may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apt_lightning.common.errors import UsageError

_SIZE, _SHARE, _POSITIVE, _SIMILARITY = "1 or more", "0 or more and below 1", "above 0", "between -1 and 1"
_RANGES = {
    "embedding_dim": _SIZE,
    "gru_dim": _SIZE,
    "output_dim": _SIZE,
    "dropout": _SHARE,
    "alpha": _POSITIVE,
    "beta": _POSITIVE,
    "head_scale": _POSITIVE,
    "base": _SIMILARITY,
    "margin": "0 or more",
    "label_noise": "0 or more",
}
_HOLDS = {
    _SIZE: lambda x: x >= 1,
    _SHARE: lambda x: 0 <= x < 1,
    _POSITIVE: lambda x: x > 0,
    _SIMILARITY: lambda x: -1 <= x <= 1,
    "0 or more": lambda x: x >= 0,
}


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Refuse a number that a stage cannot be trained with.

    Rates and the weight decay are checked by every stage, layer sizes by the networks.

    Args:
        settings: Of any stage, by name.

    Raises:
        UsageError: If there is one; NaN is none that can.

    Example:
        >>> check_ranges({"dropout": 2})
        Traceback (most recent call last):
        ...
        apt_lightning.common.errors.UsageError: `--model.dropout` must be 0 or more and below 1, but is 2
    """
    for name, allowed in _RANGES.items():
        if name in settings and not _HOLDS[allowed](settings[name]):
            raise UsageError(f"`--model.{name}` must be {allowed}, but is {settings[name]}")
