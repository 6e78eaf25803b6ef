"""Benchmarks: ratios against a peer in the same run, never asserted in a test."""

import json
from collections.abc import Mapping
from pathlib import Path


def tell(told: Mapping[str, Mapping[str, float]], file: str | None) -> None:
    """Print the figures of a part, and write them for ``python -m bench`` where it asks for a file."""
    width = max(map(len, told), default=0)
    for name, row in told.items():
        print(f"{name:<{width}}  " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if file:
        Path(file).write_text(json.dumps(told, indent=1) + "\n")
