"""What was extracted from a clip, as plain data for the pipe between a worker and its parent."""

from __future__ import annotations

from base64 import b64decode, b64encode

import numpy as np

from apt_lightning.data.faults import Fault
from apt_lightning.data.media.extraction import Extraction
from apt_lightning.data.media.material import Taken
from apt_lightning.data.media.parts import SoundParts
from apt_lightning.data.store.rows import Row

SCALE = np.float32(32768)
"""Of samples in [-1, 32767/32768], so that they are whole numbers of 16 bits."""


def sent(extraction: Extraction) -> tuple[Row, bytes]:
    """What JSON can hold, and the bytes of an encoder's material, which are too many for it."""
    if isinstance(extraction, Taken):
        samples, pictures = extraction.samples, extraction.pictures
        about = {"samples": len(samples), "shape": pictures.shape}
        row = about | {"times": extraction.times, "duration": extraction.duration}
        return row, samples.tobytes() + pictures.tobytes()
    return _plain(extraction), b""


def received(row: Row, data: bytearray, faults: list[Fault], sha256: str) -> Extraction:
    """The extraction again, with what its answer says besides."""
    if "samples" in row:
        samples = np.frombuffer(data, np.float32, row["samples"])
        pictures = np.frombuffer(data, np.uint8, offset=samples.nbytes).reshape(row["shape"])
        return Taken(None, [], row["times"], row["duration"], faults, sha256, samples=samples, pictures=pictures)
    return _extraction(row, faults, sha256)


def _plain(extraction: Extraction) -> Row:
    """As JSON can hold it: float32 values come through unchanged, samples of speech in 16 bits."""
    speech = extraction.speech
    return {
        "functionals": None if extraction.functionals is None else extraction.functionals.tolist(),
        "frames": [b64encode(frame).decode() for frame in extraction.frames],
        "times": extraction.times,
        "duration": extraction.duration,
        "start": extraction.start,
        "windows": [
            _plain(window) | {"faults": [[fault.code, fault.detail] for fault in window.faults]}
            for window in extraction.windows
        ],
        "parts": extraction.parts and [part if isinstance(part, list) else part.tolist() for part in extraction.parts],
        "speech": None if speech is None else b64encode((speech * SCALE).round().astype("<i2").tobytes()).decode(),
    }


def _extraction(row: Row, faults: list[Fault], sha256: str) -> Extraction:
    values = None if row["functionals"] is None else np.array(row["functionals"], np.float32)
    frames = [b64decode(frame) for frame in row["frames"]]
    parts = speech = None
    if row["parts"] is not None:
        ends, orders, kept, found, wave = row["parts"]
        kept = np.array(kept, bool).reshape(-1, len(ends))
        found = np.array(found, np.float32).reshape(len(kept), -1)
        parts = SoundParts(ends, np.array(orders), kept, found, np.array(wave, np.float32))
    if row["speech"] is not None:
        speech = np.frombuffer(b64decode(row["speech"]), "<i2").astype(np.float32) / SCALE
    name = faults[0].clip if faults else ""
    windows = [
        _extraction(window, [Fault(code, name, detail) for code, detail in window["faults"]], sha256)
        for window in row["windows"]
    ]
    return Extraction(
        values, frames, row["times"], row["duration"], faults, sha256, row["start"], windows, parts, speech
    )
