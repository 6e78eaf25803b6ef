"""Layouts of streams that recorders, phones, browsers and encoders really write; what each holds is known."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from forked import START, join
from media import numbered, read_number, voice, write_clip
from PIL import Image
from places import CASES

from apt_lightning.common.errors import ClipError
from apt_lightning.data.media import video
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings

SIZE = (320, 180)
B_FRAMES = {"x264-params": "b-pyramid=normal:b-adapt=0"}


def steady(count, n=6):
    """Numbers of the pictures in the middle of n parts, at a constant rate."""
    return [int(Fraction(2 * k + 1, 2 * n) * count) for k in range(n)]


def taken(path, functionals=False):
    """Numbers of the pictures taken, codes and details of the faults, and all that was taken."""
    found = extract_clip(path, Path(path).name, functionals=functionals)
    pictures = [np.asarray(Image.open(io.BytesIO(frame))) for frame in found.frames]
    return [read_number(picture) for picture in pictures], {fault.code: fault.detail for fault in found.faults}, found


def write_streams(path, films=(50,), sounds=(2.0,), offset=0, default_film=0):
    """A file with streams of any number and length (pictures, s), whose times begin at ``offset`` s."""
    with av.open(str(path), "w") as out:
        pictures = []
        for i, _ in enumerate(films):
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            stream.disposition = 1 if i == default_film else 0
            pictures.append(stream)
        tracks = [out.add_stream("aac", rate=44100, layout="mono") for _ in sounds]
        for number, (stream, count) in enumerate(zip(pictures, films, strict=True)):
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(numbered(100 * number + i), "rgb24")
                frame.pts, frame.time_base = i + offset * 25, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        for stream, seconds in zip(tracks, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray(voice(seconds)[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, offset * 44100, Fraction(1, 44100)
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def write_alpha(path, codec, form, alpha, under=0):
    """Numbered pictures, whose left third has the given alpha and another colour there."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, form
        if "vpx" in codec:
            stream.options = {"auto-alt-ref": "0"}
        for number in range(12):
            picture = np.dstack([numbered(number), np.full(SIZE[::-1], 255, np.uint8)])
            picture[:, :100] = [under, under, under, alpha]
            frame = av.VideoFrame.from_ndarray(picture, "rgba").reformat(format=form)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mkv", "webm", "mp4", "mov", "ts", "flv"])
def test_times_that_begin_late_are_no_loss(tmp_path, ending):
    if ending == "webm":
        path = write_clip(tmp_path / "a.webm", 50, codec="libvpx", audio_codec="libopus", sample_rate=48000,
                          container_options={"output_ts_offset": "20"})  # fmt: skip
    else:
        path = write_streams(tmp_path / f"a.{ending}", offset=20)
    numbers, faults, found = taken(path)
    assert numbers == steady(50) and faults == {} and found.duration == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "mov", "ts"])
@pytest.mark.parametrize(
    ("films", "sounds"), [((50,), (2.0, 6.0)), ((50, 150), (2.0,)), ((50,), (0.5,)), ((12,), (4.0,))]
)
def test_streams_of_other_lengths_are_no_loss(tmp_path, ending, films, sounds):
    numbers, faults, _ = taken(write_streams(tmp_path / f"a.{ending}", films, sounds))
    assert numbers == steady(films[0])
    assert "cut-short" not in faults and "damaged" not in faults


@pytest.mark.parametrize("ending", ["mkv", "mp4", "avi", "flv"])
def test_what_is_cut_is_still_found(tmp_path, ending):
    options = {"movflags": "faststart"} if ending == "mp4" else {}
    path = write_clip(tmp_path / f"a.{ending}", 100, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert {"cut-short", "damaged"} & set(taken(path)[1])


@pytest.mark.parametrize("ending", ["avi", "asf", "mpg"])
def test_pictures_without_times_of_showing(tmp_path, ending):
    path = write_clip(tmp_path / f"a.{ending}", 77, gop=25, sound=None, codec_options=B_FRAMES)
    numbers, faults, _ = taken(path)
    assert numbers == steady(77) and set(faults) == {"no-audio"}


def test_pictures_without_times_too_large_to_keep(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.avi", 77, gop=25, sound=None, codec_options=B_FRAMES)
    monkeypatch.setattr(video, "KEPT_BYTES", 1000)
    assert taken(path)[0] == steady(77)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("gop", [12, 250])
def test_av1(tmp_path, ending, gop):
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this build of FFmpeg has no encoder of AV1")
    path = tmp_path / f"a.{ending}"
    how = {"gop": gop, "codec": "libsvtav1", "sound": None, "codec_options": {"preset": "9", "crf": "20"}}
    # This encoder makes a process of root's that calls it, and all that it starts, real-time ones: others starve.
    process = START.Process(target=write_clip, args=(path, 80), kwargs=how)
    process.start()
    join([process])
    numbers, faults, _ = taken(path)
    assert numbers == steady(80) and set(faults) == {"no-audio"}


@pytest.mark.parametrize(("ending", "how"), [
    ("ts", {}), ("mkv", {}), ("m2ts", {"codec": "mpeg2video", "b_frames": 2}),
    ("mpg", {"codec": "mpeg2video", "audio_codec": "mp2", "b_frames": 2}),
    ("webm", {"codec": "libvpx", "audio_codec": "libopus", "sample_rate": 48000}),
])  # fmt: skip
def test_clock_that_starts_anew(tmp_path, ending, how, monkeypatch):
    parts = [
        write_clip(tmp_path / f"{first}.{ending}", 50, picture=lambda n, s, first=first: numbered(first + n, s), **how)
        for first in ((0, 50) if ending in ("mkv", "webm") else (0, 50, 100))  # FFmpeg reads two of Matroska's
    ]
    path = tmp_path / f"whole.{ending}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    numbers, faults, found = taken(path)
    assert numbers == steady(50 * len(parts))
    assert faults == {"clock-restarts": f"{len(parts)} parts"}
    assert found.duration == pytest.approx(2.0 * len(parts), abs=0.1)
    monkeypatch.setattr(video, "KEPT_BYTES", 1000)
    assert taken(path)[0] == steady(50 * len(parts))


def test_clock_that_runs_ahead(tmp_path):
    first = write_clip(tmp_path / "0.ts", 50)
    second = write_clip(
        tmp_path / "1.ts", 50, picture=lambda n, s: numbered(50 + n, s), container_options={"output_ts_offset": "5000"}
    )
    path = tmp_path / "whole.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    numbers, faults, _ = taken(path)
    assert numbers == steady(100) and faults == {"clock-restarts": "2 parts"}


@pytest.mark.parametrize(("codec", "form", "ending"), [
    ("qtrle", "argb", "mov"), ("prores_ks", "yuva444p10le", "mov"), ("png", "rgba", "mov"), ("ffv1", "yuva420p", "mkv"),
    ("libvpx", "yuva420p", "webm"), ("libvpx-vp9", "yuva420p", "webm"),
])  # fmt: skip
def test_transparent_pictures(tmp_path, codec, form, ending):
    found = extract_clip(write_alpha(tmp_path / f"a.{ending}", codec, form, 0), "a", functionals=False)
    assert {fault.code for fault in found.faults} == {"transparent-picture", "no-audio"}
    picture = np.asarray(Image.open(io.BytesIO(found.frames[0])))
    assert picture[:, :70].mean() > 250  # white, not the black below
    opaque = extract_clip(write_alpha(tmp_path / f"b.{ending}", codec, form, 255, 90), "b", functionals=False)
    assert {fault.code for fault in opaque.faults} == {"no-audio"}
    picture = np.asarray(Image.open(io.BytesIO(opaque.frames[0])))
    assert picture[:, :70].mean() == pytest.approx(90, abs=4)


def test_dark_person_before_nothing_is_not_black(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as out:
        stream = out.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "argb"
        for i in range(10):
            picture = np.zeros((*SIZE[::-1], 4), np.uint8)
            picture[40:, 100 + 5 * i : 200 + 5 * i, 3] = 255
            frame = av.VideoFrame.from_ndarray(picture, "rgba").reformat(format="argb")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found = extract_clip(tmp_path / "a.mov", "a", functionals=False)
    assert len(found.frames) == 6 and "black-picture" not in {fault.code for fault in found.faults}


def test_picture_transparent_throughout_is_taken_as_stored(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "rgba"
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(np.dstack([numbered(i), np.zeros(SIZE[::-1], np.uint8)]), "rgba")
            frame.pts = i
            out.mux(stream.encode(frame))
    assert taken(tmp_path / "a.mov")[0] == steady(30)


def cover():
    data = io.BytesIO()
    Image.fromarray(numbered(3)).save(data, "JPEG")
    return data.getvalue()


@pytest.mark.parametrize("films", [(50,), (50, 50)])
def test_cover_pictures_are_no_video_streams(tmp_path, films):
    inner = write_streams(tmp_path / "inner.mp4", films)
    path = tmp_path / "a.mkv"
    with av.open(str(inner)) as source, av.open(str(path), "w") as out:
        picture = out.add_attachment("cover.jpg", "image/jpeg", cover())
        assert picture is not None
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    with av.open(str(path)) as clip:
        assert len(clip.streams.video) == len(films) + 1, "this file has no cover picture"
    numbers, faults, _ = taken(path)
    assert numbers == steady(50)
    assert faults == ({} if len(films) == 1 else {"several-video-streams": "number 1 of 2 used"})


def no_decoder(path, tags):
    """Rename codecs of an mp4 to ones that nobody knows."""
    data = path.read_bytes()
    for old, new in tags.items():
        assert old in data
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


def test_codecs_without_decoder_are_named(tmp_path):
    path = no_decoder(write_streams(tmp_path / "a.mp4"), {b"mp4a": b"apaq", b"esds": b"free"})
    assert taken(path)[1] == {"no-audio": "no decoder for codec apaq"}
    path = no_decoder(write_streams(tmp_path / "b.mp4"), {b"avc1": b"zzz1", b"avcC": b"free"})
    found = extract_clip(path, "b", functionals=False)
    assert {fault.code: fault.detail for fault in found.faults} == {"no-video": "no decoder for codec zzz1"}
    path = no_decoder(path, {b"mp4a": b"apaq", b"esds": b"free"})
    with pytest.raises(ClipError, match=r"no decoder for codec zzz1.*no decoder for codec apaq") as caught:
        extract_clip(path, "b")
    assert caught.value.code == "nothing-usable"


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("form", ["pcm_f32le", "pcm_f64le"])
def test_samples_that_are_no_finite_numbers(tmp_path, bad, rate, form):
    sound = voice(2.0, rate)
    sound[5000:9000] = bad
    path = write_clip(tmp_path / "a.mov", 20, sound=sound, audio_codec=form, sample_rate=rate)
    found = extract_clip(path, "a")
    assert {fault.code for fault in found.faults} == {"invalid-audio"} and found.functionals is None


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize(("name", "numbers", "codes"), [
    ("offset20.webm", None, set()),
    ("obs_two_audio.mkv", None, set()),
    ("iphone_apac.mov", None, set()),
    ("mediarecorder.webm", None, set()),
    ("phone.3gp", None, {"wrong-aspect"}),
    ("av1_svt_false_damage.mp4", None, {"no-audio"}),
    ("h264_bframes_numbered.avi", [6, 18, 31, 43, 56, 68], set()),
])  # fmt: skip
def test_shared_cases(name, numbers, codes):
    found = extract_clip(CASES / name, name, ExtractionSettings(jpeg_quality=100))
    assert {fault.code for fault in found.faults} == codes and len(found.frames) == 6
    assert (found.functionals is None) == ("no-audio" in codes)
    if numbers is not None:
        assert taken(CASES / name)[0] == numbers
        return
    with av.open(str(CASES / name)) as clip:  # exact: those of a whole decoding
        shown = [(frame.time, frame.reformat(248, 140, "rgb24").to_ndarray()) for frame in clip.decode(video=0)]
    for frame, time in zip(found.frames, found.times, strict=True):
        expected = io.BytesIO()
        whole = [picture for t, picture in shown if t - shown[0][0] <= time + 1e-6][-1]
        Image.fromarray(whole).save(expected, "JPEG", quality=100)
        assert frame == expected.getvalue()
