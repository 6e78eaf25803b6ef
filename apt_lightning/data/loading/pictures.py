"""Stored JPEGs as tensors."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def decode_pictures(pictures: Sequence[bytes]) -> Tensor:
    """Decode JPEGs of one size to (F, 3, H, W) uint8.

    torchvision's decoder is deprecated since 0.29; Pillow gives the same pixels, both by libjpeg-turbo.
    """
    arrays = [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
