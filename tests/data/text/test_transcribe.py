"""Words found by a Whisper model: what is said, and nothing where nobody speaks."""

import numpy as np
import pytest
from media import write_clip
from whisper import FakeTranscriber, whisper_folder

from apt_lightning.common.errors import UsageError
from apt_lightning.data.media.extract import extract_speech
from apt_lightning.data.media.extraction import SPEECH_RATE
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.preparation.speech import transcribe_clips
from apt_lightning.data.synthetic.speech import Voice, speak
from apt_lightning.data.text.tokens import tokenize
from apt_lightning.data.text.transcribe import Transcriber

TIME = np.arange(8 * SPEECH_RATE) / SPEECH_RATE


@pytest.fixture(scope="module")
def transcriber():
    return Transcriber(str(whisper_folder()), allow_download=False)


def melody():
    """Plucked tones of a scale over a chord."""
    rng = np.random.default_rng(0)
    tones = np.repeat(rng.choice([220, 247, 262, 294, 330, 392], 32), SPEECH_RATE // 4)
    chord = sum(np.sin(2 * np.pi * pitch * TIME) for pitch in (110, 165, 220))
    return 0.2 * np.sin(2 * np.pi * np.cumsum(tones) / SPEECH_RATE) * np.exp(-4 * (TIME * 4 % 1)) + 0.05 * chord


@pytest.mark.parametrize(
    "sound",
    [0 * TIME, np.random.default_rng(0).normal(0, 0.1, TIME.size), melody(), np.zeros(0)],
    ids=["silence", "noise", "music", "nothing"],
)
def test_no_words_where_nobody_speaks(transcriber, sound):
    assert transcriber.transcribe(sound.astype(np.float32)) == ""


def test_speech_is_written_down(transcriber):
    voice = Voice("f1", 140, 50, 40, -14.0, 0.0, -60.0)
    said = "my friends and I drink coffee in the garden every morning"
    sound = speak(said, voice, 5.0, np.random.default_rng(0))
    samples = np.interp(TIME[: 5 * SPEECH_RATE], np.arange(len(sound)) / 44100, sound)
    heard = transcriber.transcribe(samples.astype(np.float32))
    missed = set(tokenize(said)) - set(tokenize(heard))
    assert len(missed) <= 3, heard  # of 11: a robot's voice and the smallest model
    assert set(transcriber.source) == {"model", "sha256"} and len(transcriber.source["sha256"]) == 64


def test_no_network_is_asked_for_a_model(monkeypatch, tmp_path):
    pytest.importorskip("faster_whisper")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    asked = []
    monkeypatch.setattr("faster_whisper.download_model", lambda name, **options: asked.append(options) or tmp_path)
    with pytest.raises(UsageError, match="holds no model"):
        Transcriber("tiny.en")
    assert asked == [{"local_files_only": True}]
    with pytest.raises(UsageError, match="holds no model"):
        Transcriber("tiny.en", allow_download=True)
    assert asked[1] == {"local_files_only": False}


def test_a_folder_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("faster_whisper")
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=f"{tmp_path} holds no Whisper model"):
        Transcriber(str(tmp_path))


def test_the_sound_arrives_as_it_is_in_the_file(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * 44100) / 44100)
    heard = extract_speech(write_clip(tmp_path / "a.mkv", sound=tone, audio_codec="pcm_s16le"), "a").speech
    assert abs(len(heard) - 2 * SPEECH_RATE) <= 16
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(spectrum.argmax() * SPEECH_RATE / len(heard) - 440) < 1
    assert abs(np.abs(heard[2000:-2000]).max() - 0.5) < 0.01


def test_every_clip_is_answered(tmp_path):
    class Recorder(FakeTranscriber):
        def transcribe(self, samples):
            return f"{len(samples)} {np.abs(samples).max(initial=0):.2f}"

    sound = 0.25 * np.ones(44100, np.float32)
    loud = write_clip(tmp_path / "loud.mkv", 10, sound=sound, audio_codec="pcm_s16le")
    mute = write_clip(tmp_path / "mute.mp4", 10, sound=None)
    text = tmp_path / "text.mp4"
    text.write_text("#EXTM3U\nhttp://127.0.0.1/x\n")
    found = dict(transcribe_clips(Recorder(), [loud, mute, text, tmp_path / "gone.mp4"], Options(workers=1)))
    assert found.pop(str(loud)).endswith("0.25")
    assert found == {str(mute): "0 0.00", str(text): None, str(tmp_path / "gone.mp4"): None}
