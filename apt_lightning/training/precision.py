"""The type in which an accelerator's mixed precision is fastest."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]


def best_precision(accelerator: str) -> Precision:
    """Choose Lightning's ``precision`` for an accelerator of this machine.

    Args:
        accelerator: Lightning's name: ``cpu``, ``gpu``, ``cuda``, ``mps`` or ``auto``.

    Returns:
        bfloat16 where the hardware computes in it, float16 (with scaled gradients) on GPUs that do not, and float32
        where neither would be faster.
    """
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return "16-mixed"
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # younger than our oldest torch
    return "bf16-mixed" if found.get("avx512_bf16") or found.get("amx_bf16") else "32-true"
