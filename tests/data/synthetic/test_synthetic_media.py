"""The media themselves: words, voice, face, mp4."""

import sys
from dataclasses import replace

import av
import numpy as np
import pytest

from apt_lightning.common.errors import UsageError
from apt_lightning.data.synthetic.build import plan_clips
from apt_lightning.data.synthetic.clip import ClipFormat, make_clip
from apt_lightning.data.synthetic.face import draw_frames, look_of
from apt_lightning.data.synthetic.speech import SAMPLE_RATE, VOICES, Voice, speak, voice_of
from apt_lightning.data.synthetic.words import LEXICON, compose, transcribe

TEXT = "My garden was lovely and calm so I plan the festival and invite a friend."


def _voice(**changes):
    plain = Voice("m3", rate=180, pitch=50, pitch_range=40, gain=-14.0, tilt=0.0, breath=-60.0)
    return replace(plain, **changes)


def _say(seconds=5.0, **changes):
    return speak(TEXT, _voice(**changes), seconds, np.random.default_rng(0))


def _pitch(sound):
    """Median fundamental frequency in Hz, by autocorrelation."""
    found = []
    for start in range(0, len(sound) - 4096, 4096):
        part = sound[start : start + 4096] - sound[start : start + 4096].mean()
        if part.std() < 0.02:
            continue
        correlation = np.correlate(part, part, "full")[len(part) - 1 :]
        lag = 100 + int(np.argmax(correlation[100:700]))
        found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


def _frames(look, loudness):
    return list(draw_frames(look, np.asarray(loudness), 25, (320, 180), np.random.default_rng(0)))


def test_speech_is_the_same_after_any_other_speech():
    first = _say()
    _say(variant="f4", rate=240)
    speak("Something else.", _voice(variant="linda"), 1.0, np.random.default_rng(3))
    np.testing.assert_array_equal(_say(), first)


def test_speech_has_the_length_asked_for_and_no_clipping():
    for seconds in (1.0, 5.3):
        sound = _say(seconds, gain=-2.0)
        assert len(sound) == round(seconds * SAMPLE_RATE)
        assert 0.5 < np.abs(sound).max() <= 1 and np.isfinite(sound).all()


def test_each_setting_of_the_voice_is_heard():
    assert _pitch(_say(pitch=80)) > 1.2 * _pitch(_say(pitch=20))
    end = [np.flatnonzero(np.abs(_say(8.0, rate=rate)) > 0.05).max() for rate in (140, 220)]
    assert end[0] > 1.2 * end[1]
    level = [np.sqrt(np.mean(_say(gain=gain) ** 2)) for gain in (-20.0, -14.0)]
    assert level[1] / level[0] == pytest.approx(10 ** (6 / 20), rel=0.01)
    bright = [np.abs(np.fft.rfft(_say(tilt=tilt)))[5 * 2000 :].sum() for tilt in (-4.0, 2.0)]
    assert bright[1] > 1.5 * bright[0]


@pytest.mark.parametrize("variant", VOICES)
def test_every_voice_speaks(variant):
    assert np.sqrt(np.mean(_say(2.0, variant=variant) ** 2)) > 0.005


def test_voice_and_look_move_with_their_cues():
    def pair(level):
        return [chosen(np.full(5, level), *np.random.default_rng(1).spawn(2)) for chosen in (voice_of, look_of)]

    (low_voice, low_look), (high_voice, high_look) = pair(-1.5), pair(1.5)
    assert high_voice.gain > low_voice.gain and high_voice.rate > low_voice.rate
    assert high_voice.pitch < low_voice.pitch and high_voice.pitch_range > low_voice.pitch_range
    assert high_voice.variant == low_voice.variant
    assert high_look.head > low_look.head and high_look.smile > low_look.smile
    assert sum(high_look.wall) > sum(low_look.wall) and high_look.wall[0] > high_look.wall[2]
    assert high_look.hair == low_look.hair


@pytest.mark.parametrize("level", [-9.0, 9.0])
def test_extreme_cues_still_draw(level):
    look = look_of(np.full(5, level), *np.random.default_rng(0).spawn(2))
    picture = _frames(look, [0.0, 1.0])[1]
    assert picture.shape == (180, 320, 3) and picture.std() > 5


def test_mouth_opens_with_the_loudness():
    look = look_of(np.zeros(5), *np.random.default_rng(4).spawn(2))

    def opening(level):
        picture = _frames(look, [level])[0].astype(int)
        return int((np.abs(picture - [95, 25, 35]).sum(axis=2) < 40).sum())  # pixels of the mouth's inside

    assert opening(1.0) > opening(0.5) > opening(0.0)


def test_words_follow_the_cues_and_nothing_else():
    def share_high(level):
        rng, high, low = np.random.default_rng(0), 0, 0
        for _ in range(40):
            words = compose(np.full(5, level), 40, *rng.spawn(2)).lower().replace(".", "").split()
            for by_trait in LEXICON.values():
                for poles in by_trait:
                    low += sum(word in poles[0].split() for word in words)
                    high += sum(word in poles[1].split() for word in words)
        return high / (high + low)

    assert share_high(-2) < 0.1 < 0.4 < share_high(0) < 0.6 < 0.9 < share_high(2)


def test_text_has_the_length_asked_for():
    for n in (4, 14, 43):
        assert len(compose(np.zeros(5), n, *np.random.default_rng(n).spawn(2)).split()) == n


def test_some_transcripts_have_the_real_defects():
    rng = np.random.default_rng(0)
    made = [transcribe(TEXT, rng) for _ in range(20_000)]
    assert 5 < sum(not text for text in made) < 50
    assert 100 < sum("[inaudible 00:00:" in text for text in made) < 300
    assert sum(text == TEXT for text in made) > 19_000


@pytest.mark.parametrize(("size", "fps"), [((320, 180), 25.0), ((640, 360), 12.5)])
def test_clip_is_a_whole_mp4(tmp_path, size, fps):
    (plan,) = plan_clips(None, 1, 3, 1.5)
    make_clip(plan, ClipFormat(1.5, size, fps), tmp_path)
    path = tmp_path / plan.folder / plan.name
    with av.open(str(path)) as container:
        (video,), (audio,) = container.streams.video, container.streams.audio
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, float(video.average_rate)) == (*size, fps)
        assert audio.rate == 44100
        assert container.duration / 1e6 == pytest.approx(1.5, abs=0.09)
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(pictures) == round(1.5 * fps)
    assert np.abs(pictures[0].astype(int) - pictures[-1]).max() > 50  # something moves
    assert sound.std() > 0.005
    assert sorted(p.name for p in path.parent.iterdir()) == [plan.name]


def test_missing_espeak_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UsageError, match=r'pip install "apt-lightning\[synthetic\]"'):
        _say()
