"""The fault matrix: one made clip a fault, through `apt doctor` and `apt prepare`; nothing silent, nothing NaN."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from apt_lightning.common.errors import ClipError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.faults import FAULTS
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.preparation.doctor import diagnosis_of, examine_data
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import status_of

RATE = 44_100
RNG = np.random.default_rng(0)
VOICE = (
    0.3 * np.sin(2 * np.pi * 180 * np.arange(RATE) / RATE) * (1 + np.sin(2 * np.pi * 3 * np.arange(RATE) / RATE)) / 2
)
MOVING = [np.roll(RNG.integers(0, 255, (90, 160, 3), dtype=np.uint8).repeat(1, 0), 3 * i, 1) for i in range(25)]
SMOOTH = np.repeat(np.linspace(40, 200, 160, dtype=np.uint8)[None, :, None], 90, 0).repeat(3, 2)


def make_clip(path, pictures=MOVING, sound=VOICE, times=None, streams=1, audio_codec="aac", options=None):
    """An mp4 (or what the name says) with one picture every 1/25 s, or at the given 25ths of a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        videos = []
        for _ in range(streams if pictures is not None else 0):
            video = container.add_stream("libx264", rate=25, pix_fmt="yuv420p")
            video.height, video.width = pictures[0].shape[:2]
            video.options = {"preset": "ultrafast", "crf": "10", "g": "5"}
            video.time_base = Fraction(1, 25)
            videos.append(video)
        audio = None
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=RATE, layout="mono")
        for video in videos:
            for at, picture in zip(times or range(len(pictures)), pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if audio is not None:
            form = "flt" if audio_codec.startswith("pcm") else "fltp"
            for start in range(0, len(sound), 1024):
                part = np.ascontiguousarray(sound[None, start : start + 1024], np.float32)
                chunk = av.AudioFrame.from_ndarray(part, format=form, layout="mono")
                chunk.sample_rate, chunk.pts, chunk.time_base = RATE, start, Fraction(1, RATE)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode())
    return path


def turned(path):
    """The same clip, to be shown turned by 90 degrees: the matrix of the first track header."""
    data = bytearray(path.read_bytes())
    upright = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def garbled(path):
    """Bytes in the middle of the pictures are overwritten."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    for at in range(start + 20_000, start + 60_000, 997):
        data[at : at + 40] = bytes(40)
    path.write_bytes(data)


def black(n=25):
    return [np.zeros((90, 160, 3), np.uint8)] * n


FAST = {"movflags": "faststart"}
MAKE = {
    "zero-length": lambda p: p.write_bytes(b""),
    "truncated": lambda p: (make_clip(p), cut(p, 0.6)),
    "not-a-video": lambda p: p.write_text("This is a letter.\n" * 50),
    "cut-short": lambda p: (make_clip(p, options=FAST), cut(p, 0.3)),
    "damaged": lambda p: (make_clip(p, options=FAST), garbled(p)),
    "nothing-usable": lambda p: make_clip(p, pictures=black(), sound=0 * VOICE),
    "no-video": lambda p: make_clip(p, pictures=None),
    "few-frames": lambda p: make_clip(p, pictures=MOVING[:3], sound=VOICE[: RATE // 8]),
    "frozen-picture": lambda p: make_clip(p, pictures=[SMOOTH] * 25),
    "black-picture": lambda p: make_clip(p, pictures=black()),
    "rotated": lambda p: (make_clip(p, options=FAST), turned(p)),
    "variable-rate": lambda p: make_clip(p, times=[*range(10), *range(12, 55, 3)]),
    "several-video-streams": lambda p: make_clip(p, streams=2),
    "wrong-aspect": lambda p: make_clip(p, pictures=[picture[:, :120] for picture in MOVING]),
    "no-audio": lambda p: make_clip(p, sound=None),
    "silent-audio": lambda p: make_clip(p, sound=0 * VOICE),
    "short-audio": lambda p: make_clip(p.with_suffix(".mkv"), sound=VOICE[:900], audio_codec="pcm_f32le"),
    "invalid-audio": lambda p: make_clip(
        p.with_suffix(".mkv"), sound=np.where(np.arange(RATE) % 5000 == 7, np.nan, VOICE), audio_codec="pcm_f32le"
    ),
    "clipped-audio": lambda p: make_clip(p, sound=np.clip(20 * VOICE, -1, 1)),
    "good": lambda p: make_clip(p),
}
CSV_FAULTS = {
    "missing-file": ("absent.mp4", "0.5,0.5,0.5,0.5,0.5", "some words"),
    "label-missing": ("label-missing.mp4", "0.5,,0.5,0.5,0.5", "some words"),
    "clip-without-label": ("clip-without-label.mp4", ",,,,", "some words"),
    "empty-transcript": ("empty-transcript.mp4", "0.5,0.5,0.5,0.5,0.5", ""),
    "no-known-word": ("wordless.mp4", "0.5,0.5,0.5,0.5,0.5", "[inaudible 00:00:07]"),
    "leading-dash": ("-leading-dash.mp4", "0.5,0.5,0.5,0.5,0.5", "some words"),
    "non-ascii-name": ("nön-äscii.mp4", "0.5,0.5,0.5,0.5,0.5", "some words"),
    "case-collision": ("CASE.mp4", "0.5,0.5,0.5,0.5,0.5", "some words"),
    "duplicate-content": ("twin.mp4", "0.5,0.5,0.5,0.5,0.5", "some words"),
}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    lines = [f"clip,split,{','.join(TRAITS)},transcript"]
    for code, make in MAKE.items():
        make(folder / f"{code}.mp4")
        (name,) = (path.name for path in folder.glob(f"{code}.*"))
        lines.append(f"{name},train,0.5,0.5,0.5,0.5,0.5,some words")
    for i, (code, (name, labels, words)) in enumerate(CSV_FAULTS.items()):
        if code not in ("missing-file", "duplicate-content"):
            make_clip(folder / name, pictures=[np.roll(picture, i + 1, 0) for picture in MOVING])
        lines.append(f"{name},train,{labels},{words}")
    (folder / "case.mp4").write_bytes((folder / "CASE.mp4").read_bytes() + bytes([0, 0, 0, 8]) + b"free")
    lines.append("case.mp4,train,0.5,0.5,0.5,0.5,0.5,some words")
    (folder / "twin.mp4").write_bytes((folder / "good.mp4").read_bytes())
    (folder / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare(folder / "clips.csv", folder / "store", Options(seconds=60))
    return examine_data(folder / "clips.csv"), Store.open(folder / "store")


@pytest.mark.parametrize("code", [*(code for code in MAKE if code != "good"), *CSV_FAULTS])
def test_fault(matrix, code):
    doctor, store = matrix
    name = CSV_FAULTS[code][0] if code in CSV_FAULTS else code
    clip = next(clip for clip in store.clips if clip.name.startswith(name))
    assert code in [fault.code for fault in clip.faults]
    assert code in [fault.code for fault in doctor.faults if fault.clip == clip.name]
    assert clip.status == status_of(clip.faults) == doctor.statuses[clip.name]
    assert FAULTS[code].outcome != "left out" or clip.status == "left out"


def test_unreadable_file(tmp_path):
    with pytest.raises(ClipError) as caught:
        extract_clip(tmp_path, "folder.mp4")
    assert caught.value.code == "unreadable-file"


def test_nothing_silent_and_nothing_nan(matrix):
    doctor, store = matrix
    assert doctor.statuses == diagnosis_of(store).statuses
    assert sum(list(doctor.statuses.values()).count(status) for status in ("ok", "degraded", "left out")) == len(store)
    assert np.isfinite(store.vectors("audio")).all()
    for i, clip in enumerate(store.clips):
        assert store.present[i, :2].all() or clip.faults  # a clip that lacks a modality says why
        assert (clip.status == "left out") == (not store.present[i].any())
        assert all(frame.startswith(b"\xff\xd8") for frame in store.frames(i))
    good = next(clip for clip in store.clips if clip.name == "good.mp4")
    assert (good.status, good.faults) == ("ok", ())
