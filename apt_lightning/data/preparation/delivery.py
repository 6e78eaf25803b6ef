"""What was extracted from a clip, as plain data for the pipe between a worker and its parent."""

from __future__ import annotations

from base64 import b64decode, b64encode

import numpy as np

from apt_lightning.data.faults import Fault
from apt_lightning.data.media.extract import Extraction
from apt_lightning.data.media.parts import SoundParts
from apt_lightning.data.store.rows import Row


def sent(extraction: Extraction) -> Row:
    """Functionals, pictures and times as JSON can hold them; float32 values come through unchanged."""
    return {
        "functionals": None if extraction.functionals is None else extraction.functionals.tolist(),
        "frames": [b64encode(frame).decode() for frame in extraction.frames],
        "times": extraction.times,
        "duration": extraction.duration,
        "start": extraction.start,
        "windows": [
            sent(window) | {"faults": [[fault.code, fault.detail] for fault in window.faults]}
            for window in extraction.windows
        ],
        "parts": extraction.parts and [part if isinstance(part, list) else part.tolist() for part in extraction.parts],
    }


def received(row: Row, faults: list[Fault], sha256: str) -> Extraction:
    """The extraction again, with what its answer says besides."""
    values = None if row["functionals"] is None else np.array(row["functionals"], np.float32)
    parts = None
    if row["parts"] is not None:
        ends, orders, kept, found, wave = row["parts"]
        kept = np.array(kept, bool).reshape(-1, len(ends))
        found = np.array(found, np.float32).reshape(len(kept), -1)
        parts = SoundParts(ends, np.array(orders), kept, found, np.array(wave, np.float32))
    name = faults[0].clip if faults else ""
    return Extraction(
        values,
        [b64decode(frame) for frame in row["frames"]],
        row["times"],
        row["duration"],
        faults,
        sha256,
        row["start"],
        [
            received(window, [Fault(code, name, detail) for code, detail in window["faults"]], sha256)
            for window in row["windows"]
        ],
        parts,
    )
