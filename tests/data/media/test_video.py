import bisect
import io
from fractions import Fraction

import av
import numpy as np
import pytest
from media import cut, numbered, read_number, turn, turned, write_clip
from PIL import Image
from places import CLIPS

from apt_lightning.data.media import decode, video
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings

VARIABLE = [*range(0, 1000, 40), *range(1000, 3000, 130), *range(3000, 3400, 20), 3411, 4800, 4840]


def numbers(path, **settings):
    taken = extract_clip(path, path.name, ExtractionSettings(**settings), functionals=False)
    pictures = [np.asarray(Image.open(io.BytesIO(frame))) for frame in taken.frames]
    assert all(picture.shape == (140, 248, 3) for picture in pictures)
    assert taken.times == sorted(taken.times)
    return [read_number(picture) for picture in pictures], taken


def shown_at(times, end, n=6):
    """Numbers of the pictures on screen in the middle of n parts, from the times at which each appears."""
    middles = [Fraction(2 * k + 1, 2 * n) * (end - times[0]) + times[0] for k in range(n)]
    return [bisect.bisect_right(times, middle) - 1 for middle in middles]


def steady(count, n=6, rate=25):
    """The same for a constant rate."""
    return shown_at([Fraction(k) / rate for k in range(count)], Fraction(count) / rate, n)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("long") / "long.mp4", 240, gop=250)


@pytest.mark.parametrize("gop", [1, 12, 250])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_constant_rate(tmp_path, gop, b_frames):
    found, taken = numbers(write_clip(tmp_path / "a.mp4", 131, gop=gop, b_frames=b_frames))
    assert found == steady(131)
    assert taken.times == pytest.approx([(k + 0.5) * 131 / 25 / 6 for k in range(6)])
    assert taken.duration == pytest.approx(131 / 25) and not taken.faults


@pytest.mark.parametrize("rate", ["30000/1001", "10", "60"])
def test_other_rates(tmp_path, rate):
    rate = Fraction(rate)
    found, _ = numbers(write_clip(tmp_path / "a.mp4", 97, rate=rate))
    assert found == steady(97, rate=rate)


@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_variable_rate(tmp_path, gop, ending):
    path = write_clip(tmp_path / f"a.{ending}", times=VARIABLE, gop=gop, rate=25)
    with av.open(str(path)) as clip:
        last = max((p.pts, p.duration, p.time_base) for p in clip.demux(video=0) if p.size)
    found, taken = numbers(path)
    end = 1000 * (last[0] + last[1]) * last[2]
    assert found == shown_at(VARIABLE, end)
    assert "variable-rate" in {fault.code for fault in taken.faults}


def test_picture_shown_at_time_is_a_long_standing_unreferenced_one(tmp_path):
    # Skipping unreferenced pictures up to a fixed distance before the target would lose picture 6, on screen for 5 s.
    times = [0, 40, 80, 120, 160, 200, 240, 5240, 5280, 5320]
    found, _ = numbers(write_clip(tmp_path / "a.mp4", times=times, b_frames=3))
    assert found[1:5] == [6] * 4


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "a.mkv"),
        ("libx264", "a.ts"),
        ("libx265", "a.mp4"),
        ("libvpx-vp9", "a.webm"),
        ("mpeg4", "a.avi"),
        ("mpeg1video", "a.mpg"),
        ("mpeg2video", "a.mpg"),
    ],
)
def test_other_formats(tmp_path, codec, name):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    found, _ = numbers(write_clip(tmp_path / name, 70, codec=codec, sound=None, b_frames=2 if "mpeg" in codec else 3))
    assert found == steady(70)


def test_open_groups_of_pictures(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 100, gop=10, codec_options={"x264-params": "open-gop=1:bframes=3:b-adapt=0"})
    for n in (6, 25, 50, 100):
        assert numbers(path, n_frames=n)[0] == steady(100, n)


@pytest.mark.parametrize("start", [0.08, 1.0, 3.0, 3.52])
def test_cut_without_coding_anew(tmp_path, long_clip, start):
    path = cut(long_clip, tmp_path / "cut.mp4", start)
    with av.open(str(path)) as clip:
        assert any(packet.is_discard for packet in clip.demux(video=0)), "this file hides nothing"
    found, taken = numbers(path)
    hidden = round(start * 25)
    assert found == [hidden + i for i in steady(240 - hidden)]
    assert taken.duration == pytest.approx((240 - hidden) / 25)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned(tmp_path, degrees, mirrored):
    stored = write_clip(tmp_path / "stored.mp4", 40, picture=turned(degrees, mirrored))
    path = turn(stored, tmp_path / "turned.mp4", degrees, mirrored)
    found, taken = numbers(path)
    assert found == steady(40)
    assert ("rotated" in {fault.code for fault in taken.faults}) == (degrees > 0 or mirrored)


def test_turned_means_what_ffmpeg_means(tmp_path):
    path = turn(write_clip(tmp_path / "a.mp4", 5, sound=None), tmp_path / "b.mp4", 90)
    with av.open(str(path)) as clip:
        assert next(clip.decode(video=0)).rotation == -90  # counter-clockwise


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_few_frames(tmp_path, count):
    found, taken = numbers(write_clip(tmp_path / "a.mp4", count, sound=None))
    assert found == (list(range(count)) if count < 6 else steady(count))
    assert len(taken.times) == min(6, count)
    assert ("few-frames" in {fault.code for fault in taken.faults}) == (count < 6)


def test_default_stream_of_several(tmp_path):
    found, taken = numbers(write_clip(tmp_path / "a.mp4", 50, extra_video=True, sound=None))
    assert found == steady(50)
    assert "several-video-streams" in {fault.code for fault in taken.faults}


def test_packets_too_large_to_keep_are_read_again(tmp_path, long_clip, monkeypatch):
    path = cut(long_clip, tmp_path / "cut.mp4", 2.0)
    kept = extract_clip(path, "kept", functionals=False)
    monkeypatch.setattr(video, "KEPT_BYTES", 1000)
    again = extract_clip(path, "again", functionals=False)
    assert kept.frames == again.frames and len(kept.frames) == 6


def test_pictures_are_the_same_as_those_of_a_full_decoding(tmp_path, long_clip):
    taken = extract_clip(long_clip, "long", ExtractionSettings(jpeg_quality=100), functionals=False)
    with av.open(str(long_clip)) as clip:
        whole = [frame.reformat(248, 140, "rgb24").to_ndarray() for frame in clip.decode(video=0)]
    for jpeg, i in zip(taken.frames, steady(240), strict=True):
        expected = io.BytesIO()
        Image.fromarray(whole[i]).save(expected, "JPEG", quality=100)
        assert jpeg == expected.getvalue()


def test_no_picture_is_decoded_in_vain(long_clip, monkeypatch):
    decoded = []
    original = decode._decoded
    monkeypatch.setattr(decode, "_decoded", lambda *args: decoded.extend(found := original(*args)) or found)
    extract_clip(long_clip, "long", functionals=False)
    assert 6 <= len(decoded) < 240 / 2


def test_damaged_picture_gives_the_one_before(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 60, gop=60, b_frames=0, sound=None)
    wanted = steady(60)
    with av.open(str(path)) as clip:
        packet = [p for p in clip.demux(video=0) if p.size][wanted[2]]
        at, length = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[at : at + length] = b"\xff" * length
    path.write_bytes(data)
    taken = extract_clip(path, "a", functionals=False)
    assert "damaged" in {fault.code for fault in taken.faults}
    assert len(taken.frames) == 6


@pytest.mark.parametrize("kind", ["constant", "variable", "cut", "turned", "two streams"])
def test_decord_only_where_exact(tmp_path, long_clip, kind, monkeypatch):
    pytest.importorskip("decord")
    hidden = 0
    if kind == "constant":
        path = write_clip(tmp_path / "a.mp4", 50, sound=None)
    elif kind == "variable":
        path = write_clip(tmp_path / "a.mp4", times=VARIABLE, sound=None)
    elif kind == "cut":
        path, hidden = cut(long_clip, tmp_path / "a.mp4", 7.6), 190
    elif kind == "turned":
        path = turn(write_clip(tmp_path / "b.mp4", 50, picture=turned(90), sound=None), tmp_path / "a.mp4", 90)
    else:
        path = write_clip(tmp_path / "a.mp4", 50, extra_video=True, sound=None)
    used = []
    original = decode._read_decord
    monkeypatch.setattr(decode, "_read_decord", lambda *args: used.append(1) or original(*args))
    found, _ = numbers(path, decoder="decord")
    assert found == ([hidden + i for i in steady(50)] if kind != "variable" else numbers(path)[0])
    assert bool(used) == (kind == "constant")


def test_decord_that_fails_is_replaced(tmp_path, monkeypatch):
    decord = pytest.importorskip("decord")

    def fail(*_, **__):
        raise decord.DECORDError("no")

    path = write_clip(tmp_path / "a.mp4", 50, sound=None)
    monkeypatch.setattr(decord, "VideoReader", fail)
    assert numbers(path, decoder="decord")[0] == steady(50)


def test_still_and_black_pictures():
    still = [numbered(3)] * 6
    noise = [np.random.default_rng(i).integers(0, 5, (180, 320, 3)) for i in range(6)]
    noisy = [np.clip(numbered(3) + grain, 0, 255).astype(np.uint8) for grain in noise]
    mouth = [numbered(3) for _ in range(6)]
    mouth[4][100:112, 150:170] = 120  # 0.4 % of the picture
    assert [code for code, _ in decode.picture_faults(still)] == ["frozen-picture"]
    assert [code for code, _ in decode.picture_faults(noisy)] == ["frozen-picture"]
    assert decode.picture_faults(mouth) == []
    assert decode.picture_faults(still[:1]) == []
    assert [code for code, _ in decode.picture_faults([np.full((9, 9, 3), 16, np.uint8)] * 2)] == ["black-picture"]


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize("name", ["odd_variable_rate.mp4", "odd_h264_10bit.mp4", "odd_no_audio.mp4", "grid_bbaf2n.mpg"])
def test_real_clips_equal_a_full_decoding(name):
    path = CLIPS / name
    taken = extract_clip(path, name, ExtractionSettings(jpeg_quality=100), functionals=False)
    with av.open(str(path)) as clip:
        whole = [(frame.time, frame.reformat(248, 140, "rgb24").to_ndarray()) for frame in clip.decode(video=0)]
    start = whole[0][0]
    for jpeg, time in zip(taken.frames, taken.times, strict=True):
        expected = io.BytesIO()
        Image.fromarray([p for t, p in whole if t - start <= time + 1e-9][-1]).save(expected, "JPEG", quality=100)
        assert jpeg == expected.getvalue()


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
def test_real_rotated_clip_is_shown_upright():
    taken = extract_clip(CLIPS / "odd_rotated_90.mov", "r", ExtractionSettings(frame_size=(568, 320), jpeg_quality=100))
    with av.open(str(CLIPS / "odd_rotated_90.mov")) as clip:
        stored = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    shown = np.asarray(Image.open(io.BytesIO(taken.frames[0]))).astype(int)
    clockwise = np.rot90(stored, -1).astype(int)
    assert np.abs(shown - clockwise).mean() < 4 < np.abs(shown - clockwise[::-1, ::-1]).mean()
