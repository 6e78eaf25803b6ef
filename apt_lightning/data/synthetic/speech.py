"""A voice for a text: eSpeak NG inside this process, then loudness and timbre."""

from __future__ import annotations

import _ctypes
import ctypes
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic.latents import FloatArray

SAMPLE_RATE = 44100
"""Of the sound returned; eSpeak's own is half of it."""
VOICES = ("m1", "m2", "m3", "m5", "m7", "f1", "f4", "Andrea", "belinda", "linda", "steph")
"""eSpeak voice variants. Those with ``breath`` are left out: eSpeak NG 1.52 gives other samples each time."""
_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
"""Numbers of espeak_PARAMETER in eSpeak NG's speak_lib.h."""
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """How a text is spoken."""

    variant: str
    """eSpeak voice variant, one of :data:`VOICES`."""
    rate: int
    """Words a minute."""
    pitch: int
    """0 to 99."""
    pitch_range: int
    """0 (monotone) to 99."""
    gain: float
    """Loudness, dB."""
    tilt: float
    """Timbre: dB per octave above 500 Hz; positive is brighter."""
    breath: float
    """Level of a noise floor, dB relative to the speech."""


def voice_of(cues: FloatArray, habits: np.random.Generator, rng: np.random.Generator) -> Voice:
    """Choose the voice of a clip.

    Args:
        cues: (5,) audio cues of the clip, standard normal, in the order of the traits.
        habits: Source of randomness that begins alike for all clips of a source: chooses the speaker.
        rng: Source of the clip's randomness.

    Returns:
        A voice that is louder with extraversion, deeper with stability, duller with agreeableness, faster
        with conscientiousness and wider in pitch with openness.
    """
    ext, neu, agr, con, ope = np.clip(cues, -2.5, 2.5)
    return Voice(
        variant=str(habits.choice(VOICES)),
        rate=int(np.clip(185 + 20 * con + 3 * rng.standard_normal(), 120, 260)),
        pitch=int(np.clip(48 - 13 * neu + 2 * rng.standard_normal(), 5, 95)),
        pitch_range=int(np.clip(50 + 17 * ope, 2, 98)),
        gain=float(-14 + 3 * ext + 0.5 * rng.standard_normal()),
        tilt=float(-0.5 - 1.5 * agr + 0.3 * rng.standard_normal()),
        breath=float(habits.uniform(-50, -35)),
    )


def speak(text: str, voice: Voice, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Speak a text.

    Args:
        text: English text.
        voice: The voice.
        seconds: Length of the result: speech that is longer is cut, shorter is followed by the noise floor.
        rng: Source of the noise floor.

    Returns:
        (seconds · 44100,) samples in [-1, 1].

    Raises:
        UsageError: If eSpeak NG is not installed.
    """
    samples = _espeak(text, voice)[: round(seconds * SAMPLE_RATE / 2)]
    sound = np.zeros(round(seconds * SAMPLE_RATE / 2))
    sound[: len(samples)] = samples / 32768
    level = float(np.sqrt(np.mean(sound**2)))
    sound += level * 10 ** (voice.breath / 20) * rng.standard_normal(len(sound))
    spectrum = np.fft.rfft(sound)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(sound), 2 / SAMPLE_RATE), 500) / 500)
    spectrum *= 10 ** (voice.tilt * octaves / 20)
    n_samples = round(seconds * SAMPLE_RATE)
    sound = np.fft.irfft(spectrum, n_samples) * (n_samples / len(sound))  # the longer inverse doubles the rate
    sound *= 10 ** (voice.gain / 20) / max(float(np.quantile(np.abs(sound), 0.999)), 1e-9)
    return np.clip(sound, -1, 1).astype(np.float32)


def load_espeak() -> ModuleType:
    """Find the optional package that holds eSpeak NG.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise UsageError('the synthetic set speaks through eSpeak NG: pip install "apt-lightning[synthetic]"') from None
    return espeakng_loader  # type: ignore[no-any-return]


def _espeak(text: str, voice: Voice) -> npt.NDArray[np.int16]:
    chunks: list[npt.NDArray[np.int16]] = []

    @_Callback  # type: ignore[untyped-decorator]
    def keep(samples: ctypes._Pointer[ctypes.c_short], n: int, _events: int) -> int:
        if n > 0:
            chunks.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 0

    loader = load_espeak()
    library = ctypes.CDLL(loader.get_library_path())
    try:
        ctypes.CDLL(None).srand(1)  # eSpeak's aspiration noise comes from C's rand()
        library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
        library.espeak_SetSynthCallback(keep)
        library.espeak_SetVoiceByName(f"en-us+{voice.variant}".encode())
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None)
        library.espeak_Terminate()
    finally:
        # The library keeps oscillator state between texts that only unloading it resets; without this a clip
        # would sound different after another one.
        _ctypes.dlclose(library._handle)
    return np.concatenate(chunks)
