"""What was extracted from a clip, as plain data for the pipe between a worker and its parent."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

from apt_lightning.data.faults import Fault
from apt_lightning.data.media.extract import Extraction
from apt_lightning.data.media.material import Taken
from apt_lightning.data.store.rows import Row


def sent(extraction: Extraction) -> Row:
    """Functionals, pictures and times as JSON can hold them; float32 values come through unchanged."""
    if isinstance(extraction, Taken):
        samples, pictures = extraction.samples, extraction.pictures
        arrays = {"samples": _packed(samples), "pictures": _packed(pictures), "shape": pictures.shape}
        return arrays | {"times": extraction.times, "duration": extraction.duration}
    return {
        "functionals": None if extraction.functionals is None else extraction.functionals.tolist(),
        "frames": [b64encode(frame).decode() for frame in extraction.frames],
        "times": extraction.times,
        "duration": extraction.duration,
    }


def received(row: Row, faults: list[Fault], sha256: str) -> Extraction:
    """The extraction again, with what its answer says besides."""
    if "samples" in row:
        samples = np.frombuffer(b64decode(row["samples"]), np.float32)
        pictures = np.frombuffer(b64decode(row["pictures"]), np.uint8).reshape(row["shape"])
        return Taken(None, [], row["times"], row["duration"], faults, sha256, samples, pictures)
    values = None if row["functionals"] is None else np.array(row["functionals"], np.float32)
    return Extraction(
        values, [b64decode(frame) for frame in row["frames"]], row["times"], row["duration"], faults, sha256
    )


def _packed(array: npt.NDArray[Any]) -> str:
    return b64encode(np.ascontiguousarray(array)).decode()
