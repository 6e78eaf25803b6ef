"""A planted identity cue: the tone of a source's voice and the echo of its room, which tell nothing of its traits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apt_lightning.data.synthetic.latents import FloatArray
from apt_lightning.data.synthetic.speech import SAMPLE_RATE

TONE_SD = 6.0
"""Standard deviation of a band's gain at strength 1, dB."""
BANDS = np.array([125, 250, 500, 1000, 2000, 4000, 8000])
"""Centres of the bands, Hz; between them the gain is linear in octaves."""
ECHO = (0.15, 0.6)
"""Shortest and longest time in which an echo falls by 60 dB, s."""
WET = 0.5
"""Level of the echo at strength 1, relative to the voice."""


def place(sound: npt.NDArray[np.float32], identity: np.random.Generator, strength: float) -> npt.NDArray[np.float32]:
    """Give a sound the tone and the room of its source; its loudness and spectral slope stay the cues they were.

    Args:
        sound: (n,) samples in [-1, 1] at 44.1 kHz.
        identity: Source of randomness that begins alike for all clips of a source.
        strength: 0 or more; 1 is plain to hear.

    Returns:
        (n,) samples in [-1, 1].
    """
    tone = identity.standard_normal(len(BANDS))
    octaves = np.arange(len(BANDS))
    tone -= np.polyval(np.polyfit(octaves, tone, 1), octaves)  # the slope is agreeableness
    seconds = identity.uniform(*ECHO)
    n_echo = round(seconds * SAMPLE_RATE)
    echo = identity.standard_normal(n_echo) * 10 ** (-3 * np.arange(n_echo) / n_echo)
    echo *= strength * WET / np.sqrt((echo**2).sum())
    echo[0] += 1  # the voice itself
    size = len(sound) + n_echo
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1)
    gain = np.interp(np.log2(frequencies), np.log2(BANDS), strength * TONE_SD * tone)
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(echo, size) * 10 ** (gain / 20)
    heard: FloatArray = np.fft.irfft(spectrum, size)[: len(sound)]
    heard *= np.sqrt((sound.astype(np.float64) ** 2).sum() / max((heard**2).sum(), 1e-12))
    return np.clip(heard, -1, 1).astype(np.float32)
