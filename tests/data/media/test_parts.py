"""Windows of a long clip and parts of its sound, against clips cut by hand and openSMILE on the samples."""

from itertools import pairwise

import numpy as np
import pytest
from media import numbered, read_number, voice, write_clip

from apt_lightning.data.media.audio import compute_functionals
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.parts import orders, sound_parts, spans
from apt_lightning.data.preparation.share import extracting, in_time


def numbers(extraction):
    import io

    from PIL import Image

    return [read_number(np.asarray(Image.open(io.BytesIO(frame)))) for frame in extraction.frames]


@pytest.mark.parametrize("container", ["mp4", "webm", "mkv"])
def test_windows_show_their_own_seconds(tmp_path, container):
    """9 s at 25 pictures a second, cut every 3 s: the middles of six half seconds, numbered by the pictures."""
    codec, audio = ("libvpx", "libopus") if container == "webm" else ("libx264", "aac")
    options = {"sample_rate": 48000, "channels": 1} if container == "webm" else {}
    path = write_clip(tmp_path / f"a.{container}", 225, codec=codec, audio_codec=audio, **options)
    found = extract_clip(path, "a", every=3)
    assert [(w.start, w.duration) for w in found.windows] == [
        (0, 3),
        (3, 3),
        (6, pytest.approx(3, abs=0.1)),
    ]
    for i, window in enumerate(found.windows):
        assert numbers(window) == pytest.approx([75 * i + 6 + 12.5 * k for k in range(6)], abs=1.5)
        assert window.functionals.shape == (88,) and window.faults == []
    assert len(found.frames) == 6 and found.functionals is not None


def test_functionals_of_a_window_are_those_of_its_samples(tmp_path):
    samples = np.round(voice(8.0, seed=4) * 32768).astype(np.float32) / 32768  # what 16 bits hold
    path = write_clip(tmp_path / "a.mkv", 0, sound=samples, channels=1, audio_codec="pcm_s16le")
    windows = extract_clip(path, "a", every=4).windows
    for i, window in enumerate(windows):
        piece = samples[i * 4 * 44100 : (i + 1) * 4 * 44100]
        np.testing.assert_allclose(window.functionals, compute_functionals(piece, 44100), rtol=1e-4)


def test_the_sound_of_a_window_may_be_silent_and_the_picture_end_before_it(tmp_path):
    sound = np.concatenate([voice(3.0), np.zeros(3 * 44100, np.float32)])
    first, second = extract_clip(
        write_clip(tmp_path / "a.mkv", 75, sound=sound, audio_codec="pcm_s16le"), "a", every=3
    ).windows
    assert first.functionals is not None and len(first.frames) == 6
    assert second.functionals is None and second.frames == []
    assert [fault.code for fault in second.faults] == ["no-video", "silent-audio"]


@pytest.mark.parametrize("seconds", [0.2, 1, 14.9, 15, 31, 600])
def test_windows_cover_a_clip_once(seconds):
    found = spans(seconds, 15)
    assert found[0][0] == 0 and found[-1][1] == seconds
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(7.5 <= b - a < 22.5 for a, b in found) or seconds < 15


def test_parts_of_the_sound_are_those_that_are_kept():
    samples = voice(4.0, seed=1)
    found = sound_parts(samples, 44100, "eGeMAPSv02")
    np.testing.assert_allclose(found.ends, [1, 2, 3, 4])
    assert found.wave.max() == np.abs(samples).max()
    kept = {tuple(row) for row in found.kept.tolist()}
    for order in found.orders.tolist():  # all that is asked for when parts are added in this order
        assert all(tuple(i in order[:size] for i in range(4)) in kept for size in (1, 2, 3))
    for row, values in zip(found.kept, found.functionals, strict=True):
        rest = np.concatenate([samples[i * 44100 : (i + 1) * 44100] for i in range(4) if row[i]])
        np.testing.assert_array_equal(values, compute_functionals(rest, 44100))


def test_orders_are_permutations_and_their_reverses():
    found = orders(7, 3)
    assert found.shape == (6, 7) and all(sorted(order) == list(range(7)) for order in found.tolist())
    assert np.array_equal(found[::2], found[1::2, ::-1]) and orders(1, 3).tolist() == [[0]]


def test_windows_and_parts_come_through_the_pipe(tmp_path):
    path = str(write_clip(tmp_path / "a.mp4", 100, picture=numbered))
    direct = extract_clip(path, "a.mp4", every=2, explain=True)
    with extracting([path], in_time(2, explain=True)) as results:
        sent = next(results).extraction
    assert [w.frames for w in sent.windows] == [w.frames for w in direct.windows]
    for one, other in zip([sent, *sent.windows], [direct, *direct.windows], strict=True):
        np.testing.assert_array_equal(one.functionals, other.functionals)
        assert (one.start, one.duration, one.times) == (other.start, other.duration, other.times)
    for one, other in zip(sent.parts, direct.parts, strict=True):
        np.testing.assert_array_equal(one, other)
