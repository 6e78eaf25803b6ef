import av
import numpy as np
import pytest
from media import voice, write_clip

from apt_lightning.data.media import audio
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings

opensmile = pytest.importorskip("opensmile")


@pytest.fixture(scope="module")
def plain():
    """openSMILE used as its manual says."""
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )


def decoded(path, rate=44100):
    with av.open(str(path)) as clip:
        track = audio.SoundTrack(clip.streams.audio[0], rate)
        for packet in clip.demux(audio=0):
            track.add(packet)
    return track.mono()


def test_names_are_those_of_opensmile(plain):
    assert audio.functional_names() == plain.feature_names


def test_families_share_out_the_functionals():
    members = [name for family in audio.FUNCTIONAL_FAMILIES.values() for name in family]
    assert sorted(members) == sorted(audio.functional_names())
    sizes = {family: len(names) for family, names in audio.FUNCTIONAL_FAMILIES.items()}
    assert sizes["pitch"] == 10 and sizes["formants"] == 18 and sizes["cepstrum"] == 16 and sizes["rhythm"] == 6


@pytest.mark.parametrize("seconds", [0.06, 0.5, 2.0])
def test_functionals_are_those_of_plain_opensmile_bit_for_bit(plain, seconds):
    samples = voice(seconds, seed=3)
    expected = plain.process_signal(samples, 44100).to_numpy()[0]
    found = audio.compute_functionals(samples, 44100)
    assert found.dtype == np.float32 and np.array_equal(found, expected)
    assert np.array_equal(audio.compute_functionals(samples, 44100), found), "a reused object must not remember"


def test_clip_functionals_are_those_of_its_samples(tmp_path, plain):
    path = write_clip(tmp_path / "a.mp4", 30)
    taken = extract_clip(path, "a")
    samples, _ = decoded(path)
    assert np.array_equal(taken.functionals, plain.process_signal(samples, 44100).to_numpy()[0])


def test_mono_is_the_mean_of_the_channels(tmp_path):
    samples = voice(1.0)
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([samples, -0.5 * samples]).T.reshape(1, -1).copy(), "flt", "stereo")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found, _ = decoded(tmp_path / "a.wav")
    assert found == pytest.approx(0.25 * samples, abs=1e-6)


@pytest.mark.parametrize(
    ("codec", "name"), [("aac", "a.mp4"), ("pcm_s16le", "a.avi"), ("mp2", "a.mpg"), ("flac", "a.mkv")]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_does_not_depend_on_codec_or_channels(tmp_path, codec, name, channels):
    samples = voice(1.0)
    vision = {"codec": "mpeg1video"} if name.endswith("mpg") else {}
    path = write_clip(tmp_path / name, 3, sound=samples, audio_codec=codec, channels=channels, b_frames=0, **vision)
    found, _ = decoded(path)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=0.02)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_other_rates_are_brought_to_one(tmp_path, rate):
    t = np.arange(rate) / rate
    path = write_clip(
        tmp_path / "a.wav", 0, sound=0.5 * np.sin(2 * np.pi * 440 * t), sample_rate=rate, audio_codec="pcm_s16le"
    )
    found, _ = decoded(path)
    assert len(found) == pytest.approx(44100, abs=100)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / 44100)
    assert np.abs(found - expected)[200:-200].max() < 2e-3


def test_full_scale_does_not_wrap_round(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(44100) / 44100)) * 1.5
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(square.astype(np.float32)[None], "flt", "mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
    samples, clipped = decoded(tmp_path / "a.wav")
    as_integers = (samples * 32768).astype(np.int16)
    assert np.array_equal(np.sign(as_integers), np.sign(square)) and clipped > 0.9


@pytest.mark.parametrize(
    ("samples", "clipped", "code"),
    [
        (np.zeros(0), 0, "no-audio"),
        (voice(0.059), 0, "short-audio"),
        (np.zeros(44100), 0, "silent-audio"),
        (np.full(44100, 2 / 32768), 0, "silent-audio"),
        (np.append(voice(0.5), np.nan), 0, "invalid-audio"),
        (np.append(voice(0.5), np.inf), 0, "invalid-audio"),
        (voice(0.5), 0.02, "clipped-audio"),
        (voice(0.5), 0.0005, None),
        (voice(0.06), 0, None),
    ],
)
def test_faults_before_opensmile(samples, clipped, code):
    found = audio.audio_faults(np.asarray(samples, np.float32), 44100, clipped)
    assert [fault for fault, _ in found] == ([code] if code else [])


@pytest.mark.parametrize("rate", [16000, 22050])
def test_rate_is_a_setting(tmp_path, plain, rate):
    path = write_clip(tmp_path / "a.mp4", 30)
    taken = extract_clip(path, "a", ExtractionSettings(sample_rate=rate))
    assert np.array_equal(taken.functionals, plain.process_signal(decoded(path, rate)[0], rate).to_numpy()[0])
