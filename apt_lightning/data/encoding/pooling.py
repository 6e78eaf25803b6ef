"""Fewer steps: means and deviations over windows of time, or the mean over all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apt_lightning.common.errors import UsageError
from apt_lightning.data.encoding.encoder import Encoded

SHORTEST = 0.02
"""Seconds, about one step of a speech model."""


@dataclass(frozen=True)
class Pooling:
    """How the steps of a dense encoder become fewer."""

    segment: float | None = 1.0
    """Seconds of a window; without one, the mean over all steps is the only step."""
    hop: float = 1.0
    """Seconds from the start of a window to that of the next."""

    def __post_init__(self) -> None:
        if not (self.hop >= SHORTEST and (self.segment is None or self.segment >= SHORTEST)):
            raise UsageError(
                f"expected `--segment` and `--hop` of at least {SHORTEST} s, or `--segment 0` for every step"
            )


def pooled(encoded: Encoded, pooling: Pooling) -> Encoded:
    """Pool steps.

    Args:
        encoded: T steps, (T, L, D).
        pooling: How.

    Returns:
        (S, L, 2 D), mean and population standard deviation of the steps whose middle lies in each window, windows
        without one left out; or (1, L, D), the mean. Times are the windows' middles.

    Example:
        >>> steps = Encoded(np.arange(4, dtype=np.float32).reshape(4, 1, 1), np.array([0.25, 0.75, 1.25, 1.75]))
        >>> pooled(steps, Pooling()).values.tolist()
        [[[0.5, 0.5]], [[2.5, 0.5]]]
    """
    if pooling.segment is None:
        return Encoded(encoded.values.mean(axis=0, keepdims=True, dtype=np.float32), encoded.times.mean(keepdims=True))
    starts = np.arange(0.0, float(encoded.times[-1]), pooling.hop)
    rows, times = [], []
    for start in starts:
        inside = (encoded.times >= start) & (encoded.times < start + pooling.segment)
        if inside.any():
            steps = encoded.values[inside].astype(np.float64)
            rows.append(np.concatenate([steps.mean(axis=0), steps.std(axis=0)], axis=-1))
            times.append(start + pooling.segment / 2)
    return Encoded(np.stack(rows).astype(np.float32), np.array(times))
