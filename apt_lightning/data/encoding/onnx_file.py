"""Encoders given as an ONNX file, with a JSON file beside it that states the preprocessing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from apt_lightning.common.errors import UsageError
from apt_lightning.common.processes import core_count
from apt_lightning.data.encoding.encoder import Choice, Encoded
from apt_lightning.data.encoding.weights import digests, weights_file
from apt_lightning.data.media.material import Material, Reads

PICTURES = {"sense", "size", "mean", "std", "channels", "output"}
SOUND = {"sense", "rate", "output"}


class OnnxEncoder:
    """A network of ONNX Runtime, on the CPU, that takes a picture, or a whole sound, at a time.

    ``FILE.json`` beside ``FILE.onnx``: of pictures ``{"sense": "pictures", "size": [H, W], "mean": [r, g, b], "std":
    [r, g, b], "channels": "RGB" or "BGR"}``, for values in 0 to 1, read as (1, 3, H, W); of sound ``{"sense": "sound",
    "rate": 16000}``, read as (1, samples). ``"output"`` names one of several. An output (1, D) is one step; (1, T, D)
    of a sound is T steps, of a picture the mean over T.
    """

    def __init__(self, name: str, choice: Choice) -> None:
        import onnxruntime as ort

        file = weights_file(choice.weights or name, choice.encoder)
        beside = file.with_suffix(".json")
        self._how = _stated(beside)
        self.reads = Reads(
            self._how["sense"],
            rate=int(self._how.get("rate", 16000)),
            side=min(self._how.get("size", [224])),
            dense=self._how["sense"] == "sound",
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = core_count()
        try:
            self._session: Any = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise UsageError(
                f"{file} is no ONNX file that can be run ({' '.join(str(error).split())[:160]})"
            ) from error
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = self._how.get("output", outputs[0])
        if self._output not in outputs or choice.layers:
            raise UsageError(f"{file} gives {', '.join(outputs)}; name one as `output` in {beside}, without `--layers`")
        self._about = {
            "encoder": f"onnx:{file.name}",
            "library": f"onnxruntime {version('onnxruntime')}",
            "architecture": file.name,
            "weights": digests(file),
            "preprocessing": self._how,
            "layers": [],
        }

    def specification(self) -> dict[str, Any]:
        """See :class:`~apt_lightning.data.encoding.encoder.Encoder`."""
        return self._about

    def encode(self, batch: Sequence[Material]) -> list[Encoded]:
        """Encode clips."""
        return [self._sound(clip) if self.reads.sense == "sound" else self._pictures(clip) for clip in batch]

    def _run(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(T, D) of one input."""
        feed = {self._session.get_inputs()[0].name: array}
        found = np.asarray(self._session.run([self._output], feed)[0], np.float32)
        return found.reshape(-1, found.shape[-1]) if found.ndim == 3 else found.reshape(1, -1)

    def _sound(self, clip: Material) -> Encoded:
        values = self._run(clip.samples[None])
        seconds = len(clip.samples) / self.reads.rate
        return Encoded(values[:, None], (np.arange(len(values)) + 0.5) * seconds / len(values))

    def _pictures(self, clip: Material) -> Encoded:
        height, width = self._how["size"]
        mean, std = (np.array(self._how[key], np.float32) for key in ("mean", "std"))
        rows = []
        for picture in clip.pictures:
            small = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), np.float32)
            scaled = (small / np.float32(255) - mean) / std
            ordered = scaled[..., ::-1] if self._how.get("channels", "RGB") == "BGR" else scaled
            rows.append(self._run(np.ascontiguousarray(ordered.transpose(2, 0, 1)[None])).mean(axis=0))
        return Encoded(np.stack(rows)[:, None], np.array(clip.times))


def _stated(file: Path) -> dict[str, Any]:
    """The preprocessing as stated, after all checks."""
    try:
        how = json.loads(file.read_text(encoding="utf-8"))
        known = PICTURES if how["sense"] == "pictures" else SOUND
        whole = how["sense"] == "sound" or (len(how["size"]), len(how["mean"]), len(how["std"])) == (2, 3, 3)
        if not whole or how["sense"] not in ("pictures", "sound") or set(how) - known:
            raise ValueError(f"expected the keys {sorted(known)}, but got {sorted(how)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"an ONNX file says nothing about its input: state it in {file}, as docs/encoders.md shows ({error})"
        ) from None
    return dict(how)
