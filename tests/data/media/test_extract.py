import hashlib
import io
import subprocess
import sys

import av
import numpy as np
import pytest
from media import numbered, turn, turned, voice, write_clip
from PIL import Image
from places import CLIPS

from apt_lightning.common.errors import ClipError
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.media import container, packets
from apt_lightning.data.media import extract as module
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings


def still(number, size):
    return numbered(5, size)


def black(number, size):
    return np.full((*size[::-1], 3), 2, np.uint8)


def shortened(path, share, **how):
    whole = write_clip(path, **how)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * share)])
    return whole


def holding(path, data):
    path.write_bytes(data)
    return path


def damaged(path):
    data = bytearray(write_clip(path, 60, gop=60).read_bytes())
    start = data.index(b"mdat") + 4
    for at in np.random.default_rng(0).integers(start + 2000, start + 9000, 300):
        data[at] ^= 0xFF
    return holding(path, bytes(data))


# What is made, and the faults that must be found: what each command does with a clip follows from these.
KINDS = {
    "good": (lambda p: write_clip(p), set()),
    "no sound track": (lambda p: write_clip(p, sound=None), {"no-audio"}),
    "silent": (lambda p: write_clip(p, sound=np.zeros(88200)), {"silent-audio"}),
    "20 ms of sound": (
        lambda p: write_clip(p.with_suffix(".mkv"), sound=voice(0.02), audio_codec="flac"),
        {"short-audio"},
    ),
    "overdriven": (lambda p: write_clip(p, sound=np.clip(voice(2) * 40, -1, 1)), {"clipped-audio"}),
    "no number": (
        lambda p: write_clip(p.with_suffix(".mov"), sound=np.full(44100, np.nan), audio_codec="pcm_f32le"),
        {"invalid-audio"},
    ),
    "no picture": (lambda p: write_clip(p.with_suffix(".m4a"), 0), {"no-video"}),
    "four pictures": (lambda p: write_clip(p, 4, sound=voice(1)), {"few-frames"}),
    "one picture": (lambda p: write_clip(p, 1, sound=voice(1)), {"few-frames"}),
    "still": (lambda p: write_clip(p, picture=still), {"frozen-picture"}),
    "black": (lambda p: write_clip(p, picture=black), {"black-picture"}),
    "turned": (
        lambda p: turn(write_clip(p.with_suffix(".mov"), picture=turned(180)), p, 180),
        {"rotated"},
    ),
    "upright phone": (
        lambda p: turn(write_clip(p.with_suffix(".mov"), picture=turned(90)), p, 90),
        {"rotated", "wrong-aspect"},
    ),
    "variable rate": (lambda p: write_clip(p, times=[0, 40, 80, 300, 340, 900, 940, 1500]), {"variable-rate"}),
    "two video streams": (lambda p: write_clip(p, extra_video=True), {"several-video-streams"}),
    "4:3": (lambda p: write_clip(p, size=(160, 120)), {"wrong-aspect"}),
    "cut short": (lambda p: shortened(p.with_suffix(".mkv"), 0.5, count=100), {"cut-short"}),
    "index first, cut short": (
        lambda p: shortened(p, 0.5, count=100, container_options={"movflags": "faststart"}),
        {"cut-short", "damaged"},
    ),
    "damaged": (damaged, {"damaged"}),
}
UNUSABLE = {
    "missing": (lambda p: p, "missing-file"),
    "empty": (lambda p: holding(p, b""), "zero-length"),
    "no index": (lambda p: shortened(p, 0.9), "truncated"),
    "text": (lambda p: holding(p, b"Dear reader, this is a letter.\n" * 400), "not-a-video"),
    "random bytes": (lambda p: holding(p, np.random.default_rng(1).bytes(20000)), "not-a-video"),
    "playlist": (lambda p: holding(p, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n"), "not-a-video"),
    "subtitles": (lambda p: holding(p, b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 50), "not-a-video"),
    "picture": (lambda p: holding(p, png()), "not-a-video"),
    "folder": (lambda p: p.mkdir() or p, "unreadable-file"),
    "black and silent": (lambda p: write_clip(p, picture=black, sound=np.zeros(44100)), "nothing-usable"),
    "black without sound": (lambda p: write_clip(p, picture=black, sound=None), "nothing-usable"),
}


def png():
    data = io.BytesIO()
    Image.fromarray(numbered(1)).save(data, "PNG")
    return data.getvalue()


DEFAULT = ExtractionSettings()


def check(taken, settings=DEFAULT):
    """What holds of every extraction, whatever the clip."""
    assert taken.functionals is not None or taken.frames
    if taken.functionals is not None:
        assert taken.functionals.shape == (88,) and taken.functionals.dtype == np.float32
        assert np.isfinite(taken.functionals).all()
    assert len(taken.frames) == len(taken.times) <= settings.n_frames
    for frame in taken.frames:
        with Image.open(io.BytesIO(frame)) as picture:
            assert picture.format == "JPEG" and picture.size == settings.frame_size[::-1]
    assert np.isfinite([taken.duration, *taken.times]).all() and taken.duration > 0
    assert all(0 <= time <= taken.duration for time in taken.times)
    assert all(fault.code in FAULTS for fault in taken.faults)
    full = taken.functionals is not None and len(taken.frames) == settings.n_frames
    assert full or any(FAULTS[fault.code].outcome != Outcome.HANDLED for fault in taken.faults)


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_has_its_name(tmp_path, kind):
    make, codes = KINDS[kind]
    path = make(tmp_path / "clip.mp4")
    taken = extract_clip(path, "clip.mp4")
    check(taken)
    assert {fault.code for fault in taken.faults} == codes
    assert {fault.clip for fault in taken.faults} <= {"clip.mp4"}
    lost = {"silent-audio", "short-audio", "invalid-audio", "no-audio"} & codes
    assert (taken.functionals is None) == bool(lost)
    assert (not taken.frames) == bool({"no-video", "black-picture"} & codes)
    assert taken.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", UNUSABLE)
def test_each_unusable_file_has_its_reason(tmp_path, kind):
    make, code = UNUSABLE[kind]
    path = make(tmp_path / "clip.mp4")
    with pytest.raises(ClipError, match=r"clip\.mp4: ") as caught:
        extract_clip(path, "clip.mp4")
    assert caught.value.code == code
    assert FAULTS[code].outcome == Outcome.LEFT_OUT


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        *[
            (f"grid_{key}.mpg", {"wrong-aspect"})
            for key in ("bbaf2n", "brbk7n", "lbax4n", "lrwp9a", "lwbsza", "swiz3n")
        ],
        ("odd_rotated_90.mov", {"few-frames", "rotated", "wrong-aspect", "no-audio"}),
        ("odd_corrupted.mp4", {"damaged", "no-audio"}),
        ("odd_h264_10bit.mp4", {"wrong-aspect", "no-audio"}),
        ("odd_variable_rate.mp4", {"variable-rate", "wrong-aspect"}),
        ("odd_no_audio.mp4", {"wrong-aspect", "no-audio"}),
        ("odd_two_video_streams.mp4", {"several-video-streams", "frozen-picture"}),
        ("odd_no_video.m4a", {"no-video"}),
        ("odd_truncated.mp4", "truncated"),
    ],
)
def test_real_clips(name, codes):
    if isinstance(codes, str):
        with pytest.raises(ClipError) as caught:
            extract_clip(CLIPS / name, name)
        assert caught.value.code == codes
    else:
        taken = extract_clip(CLIPS / name, name)
        check(taken)
        assert {fault.code for fault in taken.faults} == codes


def test_repeated_extractions_are_equal(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    first, second = extract_clip(path, "a"), extract_clip(path, "a")
    assert first.frames == second.frames and np.array_equal(first.functionals, second.functionals)


def test_without_functionals_the_sound_is_still_checked(tmp_path):
    taken = extract_clip(write_clip(tmp_path / "a.mp4", sound=np.zeros(44100)), "a", functionals=False)
    assert taken.functionals is None and [fault.code for fault in taken.faults] == ["silent-audio"]
    assert extract_clip(write_clip(tmp_path / "b.mp4"), "b", functionals=False).faults == []


def test_settings_are_obeyed(tmp_path):
    settings = ExtractionSettings(n_frames=3, frame_size=(32, 48), jpeg_quality=50)
    taken = extract_clip(write_clip(tmp_path / "a.mp4"), "a", settings)
    check(taken, settings)
    assert len(taken.frames) == 3


@pytest.mark.parametrize(("error", "code"), [(MemoryError(), "out-of-memory"), (RuntimeError("boom"), "decoder-crash")])
def test_whatever_decoders_raise_is_a_fault(tmp_path, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(module, "read_pictures", fail)
    with pytest.raises(ClipError) as caught:
        extract_clip(write_clip(tmp_path / "a.mp4", 10), "a")
    assert caught.value.code == code


@pytest.mark.parametrize(("error", "code"), [(av.EOFError, "truncated"), (av.InvalidDataError, "truncated")])
def test_whatever_opening_raises_is_a_fault(tmp_path, monkeypatch, error, code):
    def fail(path):
        raise error(1, "no more", path)

    monkeypatch.setattr(packets, "open_media", fail)
    with pytest.raises(ClipError, match="no more") as caught:
        extract_clip(write_clip(tmp_path / "a.mp4", 10), "a")
    assert caught.value.code == code


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", 3)

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(container, "open", deny, raising=False)
    with pytest.raises(ClipError, match="Permission denied") as caught:
        extract_clip(path, "a")
    assert caught.value.code == "unreadable-file"


def test_odd_names(tmp_path):
    for name in ("-dash.mp4", "naïve 名.mp4", "a b%20#?.mp4"):
        check(extract_clip(write_clip(tmp_path / name, 10), name))


def test_mutants_of_a_clip_give_a_result_or_a_named_fault(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 40, size=(96, 54)).read_bytes()
    rng = np.random.default_rng(5)
    for i in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 60)):
            data[at] = rng.integers(256)
        if i % 4 == 0:
            del data[rng.integers(100, len(data)) :]
        path = holding(tmp_path / f"{i}.mp4", bytes(data))
        try:
            check(extract_clip(path, path.name))
        except ClipError as error:
            assert FAULTS[error.code].outcome == Outcome.LEFT_OUT


def test_workers_start_without_torch():
    heavy = "torch", "opensmile", "decord", "pandas"
    code = f"import sys, apt_lightning.data.media.extract; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
