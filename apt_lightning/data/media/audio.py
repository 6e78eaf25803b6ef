"""The sound of a clip: decoded once, mixed down by averaging, described by the 88 functionals of eGeMAPSv02.

eGeMAPS: `Eyben et al., 2016 <https://doi.org/10.1109/TAFFC.2015.2457417>`__; version 2 as openSMILE computes it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SHORTEST = 0.06
"""Seconds of sound that openSMILE needs: up to 40 ms give 88 NaN, 60 ms are enough (measured)."""

SILENCE = 1e-4
"""Largest sample of a silent track: three steps of 16-bit sound, so that dither counts as silence."""

FULL_SCALE = 0.999
"""Size from which a sample counts as standing at full scale."""

CLIPPED_SHARE = 1e-3
"""Share of samples at full scale from which sound counts as overdriven."""

_MOMENTS = ("_amean", "_stddevNorm")
_CURVE = (
    *_MOMENTS,
    *("_percentile20.0", "_percentile50.0", "_percentile80.0", "_pctlrange0-2"),
    *("_meanRisingSlope", "_stddevRisingSlope", "_meanFallingSlope", "_stddevFallingSlope"),
)
_SEGMENTS = ("VoicedSegmentLengthSec", "UnvoicedSegmentLength")
_LAYOUT: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # family, descriptors, their statistics; in openSMILE's order
    ("pitch", ("F0semitoneFrom27.5Hz_sma3nz",), _CURVE),
    ("loudness", ("loudness_sma3",), _CURVE),
    ("spectrum", ("spectralFlux_sma3",), _MOMENTS),
    ("cepstrum", tuple(f"mfcc{i}_sma3" for i in (1, 2, 3, 4)), _MOMENTS),
    ("voice quality", ("jitterLocal_sma3nz", "shimmerLocaldB_sma3nz", "HNRdBACF_sma3nz"), _MOMENTS),
    ("voice quality", ("logRelF0-H1-H2_sma3nz", "logRelF0-H1-A3_sma3nz"), _MOMENTS),
    *(
        ("formants", (f"F{i}frequency_sma3nz", f"F{i}bandwidth_sma3nz", f"F{i}amplitudeLogRelF0_sma3nz"), _MOMENTS)
        for i in (1, 2, 3)
    ),
    ("spectrum", ("alphaRatioV_sma3nz", "hammarbergIndexV_sma3nz"), _MOMENTS),
    ("spectrum", ("slopeV0-500_sma3nz", "slopeV500-1500_sma3nz", "spectralFluxV_sma3nz"), _MOMENTS),
    ("cepstrum", tuple(f"mfcc{i}V_sma3nz" for i in (1, 2, 3, 4)), _MOMENTS),
    ("spectrum", ("alphaRatioUV_sma3nz", "hammarbergIndexUV_sma3nz"), ("_amean",)),
    ("spectrum", ("slopeUV0-500_sma3nz", "slopeUV500-1500_sma3nz", "spectralFluxUV_sma3nz"), ("_amean",)),
    ("rhythm", ("loudnessPeaksPerSec", "VoicedSegmentsPerSec"), ("",)),
    ("rhythm", tuple(f"{moment}{name}" for name in _SEGMENTS for moment in ("Mean", "Stddev")), ("",)),
    ("loudness", ("equivalentSoundLevel_dBp",), ("",)),
)


def functional_names() -> list[str]:
    """Names of the 88 functionals, in the order of :func:`compute_functionals`.

    Example:
        >>> names = functional_names()
        >>> len(names), names[0], names[-1]
        (88, 'F0semitoneFrom27.5Hz_sma3nz_amean', 'equivalentSoundLevel_dBp')
    """
    return [name + statistic for _, names, statistics in _LAYOUT for name in names for statistic in statistics]


FUNCTIONAL_FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(
        name + statistic
        for other, names, statistics in _LAYOUT
        for name in names
        for statistic in statistics
        if other == family
    )
    for family in dict.fromkeys(row[0] for row in _LAYOUT)
}
"""Family -> its functionals; pitch, loudness, spectrum, cepstrum, voice quality, formants and rhythm share the 88."""


class SoundTrack:
    """Collects the decoded sound of one stream, packet by packet.

    Args:
        stream: The stream.
        rate: Samples a second that come out.
    """

    def __init__(self, stream: av.AudioStream, rate: int) -> None:
        self.stream = stream
        self.rate = rate
        self.damaged = False
        """Whether a packet could not be decoded."""
        self._chunks: list[Samples] = []
        self._length = 0
        self._clipped = 0.0
        self._form: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def add(self, packet: av.Packet[av.AudioStream]) -> None:
        """Decode one packet of the stream; the empty last one brings what the decoder still holds."""
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.damaged |= not isinstance(error, EOFError)
            frames = []
        for frame in frames:
            self._convert(frame)
        if packet.dts is None and packet.size == 0:
            self._drain()

    def _convert(self, frame: av.AudioFrame) -> None:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._drain()
            self._form = form
            # The layout stays: FFmpeg's own way to mono is 3 dB louder in floating point than in integers.
            plain = form[0] == "fltp" and form[2] == self.rate
            self._resampler = None if plain else av.AudioResampler("fltp", frame.layout, self.rate)
        self._keep([frame] if self._resampler is None else self._resampler.resample(frame))

    def _drain(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None
            self._form = None

    def _keep(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            channels = frame.to_ndarray().astype(np.float32, copy=False)
            self._clipped += np.count_nonzero(np.abs(channels) >= FULL_SCALE) / len(channels)
            mean = channels[0] if len(channels) == 1 else channels.mean(axis=0)
            # openSMILE's wrapper makes 16-bit integers without a limit: a sample of 1 would wrap round to -1.
            limited = np.clip(mean, -1, 32767 / 32768, dtype=np.float32)
            limited[~np.isfinite(mean)] = np.nan
            self._chunks.append(limited)
            self._length += len(limited)

    @property
    def seconds(self) -> float:
        """Length of what has been decoded."""
        return self._length / self.rate

    def mono(self) -> tuple[Samples, float]:
        """Mean of the channels, and how much of the sound is overdriven; to be read once.

        Returns:
            (T,) samples within what 16 bits hold, [-1, 32767/32768], NaN where the track holds no finite numbers; and
            the share, [0, 1], of the samples of all channels that stand at full scale.
        """
        samples = np.concatenate([np.zeros(0, np.float32), *self._chunks])
        self._chunks.clear()
        return samples, self._clipped / max(1, len(samples))


def audio_faults(samples: Samples, rate: int, clipped: float) -> list[tuple[str, str]]:
    """Find what is wrong with a sound before openSMILE would make numbers of it.

    Args:
        samples: (T,) mono samples.
        rate: Samples a second.
        clipped: Share of samples at full scale.

    Returns:
        Codes of :data:`apt_lightning.data.faults.FAULTS` with what was measured.

    Example:
        >>> audio_faults(np.zeros(100, np.float32), 44100, 0.0)
        [('short-audio', '2 ms')]
    """
    if not len(samples):
        return [("no-audio", "the audio stream holds no sound")]
    if len(samples) < SHORTEST * rate:
        return [("short-audio", f"{1000 * len(samples) / rate:.0f} ms")]
    if not np.isfinite(samples).all():
        return [("invalid-audio", "samples that are no finite numbers")]
    loudest = float(np.abs(samples).max())
    if loudest < SILENCE:
        return [("silent-audio", f"largest sample {loudest:.1g}")]
    if clipped >= CLIPPED_SHARE:
        return [("clipped-audio", f"{clipped:.1%} of the samples at full scale")]
    return []


@cache
def _smile(feature_set: str) -> Any:
    import opensmile  # 0.5 s, which `apt doctor` need not wait for

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[feature_set], feature_level=opensmile.FeatureLevel.Functionals
    )


def compute_functionals(samples: Samples, rate: int, feature_set: str = "eGeMAPSv02") -> npt.NDArray[np.float32]:
    """Describe a sound by openSMILE's functionals.

    Args:
        samples: (T,) mono samples in [-1, 32767/32768], finite, at least 60 ms.
        rate: Samples a second; the values depend on it, so keep to one.
        feature_set: Name of the openSMILE feature set.

    Returns:
        (88,) functionals in the order of :func:`functional_names`.
    """
    # process_signal costs 1 ms, setting openSMILE up 5 ms, the signal processing 320 ms: nothing to gain below it.
    values: npt.NDArray[np.float32] = _smile(feature_set).process_signal(samples, rate).to_numpy(np.float32)
    return values.reshape(-1)
