"""Crop and colour changes of a batch of frames, on the device (paper section 1, visual row)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

HUE, BRIGHTNESS = 0.15, 0.2
"""Largest shifts, both additive: hue in turns of the hue circle, brightness on pixels in [0, 1]."""
GAIN = (0.8, 1.2)
"""Range of the saturation and contrast factors."""
PROBABILITY = 0.5
"""Chance of each operation, drawn independently for each clip and shared by its frames."""


def resize(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, F, 3, H, W) uint8 frames to ``size`` (height, width), with antialiasing."""
    if frames.shape[-2:] == torch.Size(size):
        return frames
    resized: Tensor = TF.resize(frames.flatten(0, 1), list(size), antialias=True)
    return resized.view(*frames.shape[:2], *resized.shape[1:])


def centre_crop(frames: Tensor, size: int) -> Tensor:
    """Crop (B, F, 3, H, W) uint8 frames to ``size`` and scale to [-1, 1]."""
    return _to_range(TF.center_crop(frames, [size, size]).float() / 255)


def augment_frames(frames: Tensor, size: int) -> Tensor:
    """Random crop, flip, hue, brightness, saturation and contrast: one draw a clip, shared by its frames.

    torchvision's ``ColorJitter`` scales the brightness where the paper adds to it, so it is not used.

    Args:
        frames: (B, F, 3, H, W) uint8.
        size: Side of the crop, at most H and W.

    Returns:
        (B, F, 3, size, size) in [-1, 1].
    """
    n_clips, _, _, height, width = frames.shape
    device = frames.device

    def draw(low: float, high: float, neutral: float) -> Tensor:
        values = torch.empty(n_clips, device=device).uniform_(low, high)
        chosen = torch.rand(n_clips, device=device) < PROBABILITY
        return torch.where(chosen, values, neutral).view(-1, 1, 1, 1, 1)

    top = torch.randint(0, height - size + 1, (n_clips, 1), device=device) + torch.arange(size, device=device)
    left = torch.randint(0, width - size + 1, (n_clips, 1), device=device) + torch.arange(size, device=device)
    left = torch.where(torch.rand(n_clips, 1, device=device) < PROBABILITY, left.flip(1), left)
    clip = torch.arange(n_clips, device=device)
    pixels = frames[clip[:, None, None], :, :, top[:, :, None], left[:, None, :]]  # (B, size, size, F, 3)
    pixels = pixels.permute(0, 3, 4, 1, 2).float() / 255

    pixels = _shift_hue(pixels, draw(-HUE, HUE, 0.0))
    pixels = (pixels + draw(-BRIGHTNESS, BRIGHTNESS, 0.0)).clamp(0, 1)
    grey = TF.rgb_to_grayscale(pixels)
    pixels = (grey + (pixels - grey) * draw(*GAIN, 1.0)).clamp(0, 1)
    mean = TF.rgb_to_grayscale(pixels).mean(dim=(-3, -2, -1), keepdim=True)
    pixels = (mean + (pixels - mean) * draw(*GAIN, 1.0)).clamp(0, 1)
    return _to_range(pixels)


def _to_range(pixels: Tensor) -> Tensor:
    return pixels * 2 - 1


def _shift_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of (B, F, 3, h, w) pixels in [0, 1] by (B, 1, 1, 1, 1) parts of the circle, as HSV does."""
    maximum, _ = pixels.max(dim=2, keepdim=True)
    chroma = maximum - pixels.amin(dim=2, keepdim=True)
    red, green, blue = pixels.chunk(3, dim=2)
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        maximum == red,
        (green - blue) / safe,
        torch.where(maximum == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (hue + 6 * turns).remainder(6)
    # HSV to RGB in closed form: channel n is V - C * clamp(min(k, 4 - k), 0, 1) with k = (n + H) mod 6.
    k = (torch.tensor([5.0, 3.0, 1.0], device=pixels.device).view(1, 1, 3, 1, 1) + hue).remainder(6)
    return maximum - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
