"""One clip: scores, missing modalities, Shapley values and files that are no clips."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from media import write_clip
from whisper import FakeTranscriber

from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.store.reader import Store
from apt_lightning.stages.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(chain):
    return Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))


@pytest.fixture(scope="module")
def clip(clips_dir):
    return str(next(clips_dir.glob("test-1/*/*.mp4")))


def test_shapley_values_add_up_to_the_score(scorer, clip):
    extraction = extract_clip(clip, "clip", ExtractionSettings())
    features = scorer.features(extraction, "hello there my friend we are happy")
    values = scorer.shapley(features)
    nothing = scorer.scores(features, [False] * 3)
    np.testing.assert_allclose(nothing + sum(values.values()), scorer.scores(features), atol=1e-6)


def test_what_a_clip_lacks_is_said_and_not_read(scorer, clip):
    extraction = extract_clip(clip, "clip", ExtractionSettings())
    features = scorer.features(extraction, None)
    assert features.present.tolist() == [[True, True, False]]
    assert features.notes == ["no text: no transcript given"]
    assert np.array_equal(scorer.scores(features), scorer.scores(features, [True, True, False]))
    assert scorer.features(extraction, "xqzt vvrk").notes == ["no text: the model knows no word of the transcript"]


def test_every_stage_with_a_head_scores(chain, clip, capsys):
    for unit in ("stage1_audio", "stage1_visual", "stage2", "stage2_av", "stage4"):
        checkpoint = chain / "seed42" / unit / "best.ckpt"
        assert main(["score", "--json", f"--checkpoint={checkpoint}", "--", clip]) == 0
        (result,) = json.loads(capsys.readouterr().out)
        assert list(result["traits"]) == list(TRAITS)
        assert all(0 <= value <= 1 for value in result["traits"].values())


def test_embeddings_alone_give_no_traits(chain, clip, capsys):
    assert main(["score", f"--checkpoint={chain / 'seed42' / 'stage3' / 'best.ckpt'}", "--", clip]) == 2
    assert "stage3" in capsys.readouterr().err


def test_files_that_cannot_be_scored_are_named_and_the_others_scored(chain, clip, tmp_path, capsys):
    bad = tmp_path / "notes.mp4"
    bad.write_text("not a video")
    output = tmp_path / "scores.csv"
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    flags = [f"--checkpoint={checkpoint}", f"--output={output}", "--explain"]
    assert main(["score", *flags, "--", clip, str(bad), str(tmp_path / "absent.mp4")]) == 1
    shown = capsys.readouterr().out
    assert "1 of 3 clips scored" in shown and "not-a-video" in shown and "nan" not in shown.lower()
    rows = list(csv.DictReader(output.open()))
    assert [bool(row["extraversion"]) for row in rows] == [True, False, False]
    assert all(row["notes"] for row in rows)


def test_transcripts_by_table(chain, clip, tmp_path, capsys):
    table = tmp_path / "words.csv"
    name = clip.rsplit("/", 1)[1]
    table.write_text(f"clip,transcript\n{name},we are happy here\n")
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", "--json", f"--checkpoint={checkpoint}", f"--transcript={table}", "--", clip]) == 0
    assert json.loads(capsys.readouterr().out)[0]["modalities"] == ["audio", "visual", "text"]


def test_a_folder_and_a_table_of_words(chain, clip, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(Path(clip).read_bytes())
    (folder / "words.csv").write_text("clip,transcript\nb.mp4,we are happy here\n")
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", "--json", f"--checkpoint={checkpoint}", str(folder), str(folder / "words.csv")]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [Path(result["clip"]).name for result in results] == ["a.mp4", "b.mp4"]
    assert [result["modalities"] for result in results] == [["audio", "visual"], ["audio", "visual", "text"]]


def test_a_clip_is_held_against_the_training_clips(chain, store_dir, scorer, clip, tmp_path):
    store = Store.open(store_dir)
    labels = np.array([c.traits for c in store.clips if c.split == "train"])
    usual = scorer.score(clip)
    below = [(labels[:, j] < value).mean() for j, value in enumerate(usual["traits"].values())]
    np.testing.assert_allclose(list(usual["higher_than"].values()), below, atol=0.04)
    assert set(usual["distances"]) == {"audio", "visual"} and usual["warnings"] == []
    noise = np.clip(np.random.default_rng(0).normal(size=3 * 44100), -1, 1)
    odd = scorer.score(write_clip(tmp_path / "noise.mp4", 75, sound=noise, audio_codec="pcm_s16le"))
    assert odd["distances"]["audio"]["distance"] > 1.5 * usual["distances"]["audio"]["distance"]
    assert any(text.startswith("its audio is unlike the training clips") for text in odd["warnings"])


def test_a_checkpoint_that_does_not_know_its_training_clips_says_so(chain, clip, tmp_path):
    content = torch.load(chain / "seed42" / "stage4" / "best.ckpt", weights_only=True)
    arrays = content.pop("training_clips")
    torch.save(content, tmp_path / "old.ckpt")
    told = Scorer(str(tmp_path / "old.ckpt")).score(clip)
    assert "higher_than" not in told and told["distances"] == {}
    assert told["warnings"] == ["how far it lies from the training clips is not known: the checkpoint does not say"]
    for name, value, what in (
        ("audio.precision", arrays["audio.precision"][:5], "wrong shape"),
        ("ratings", arrays["ratings"] * torch.nan, "NaN"),
        ("ratings", "text", "no set of tensors"),
    ):
        torch.save(content | {"training_clips": arrays | {name: value}}, tmp_path / "bad.ckpt")
        with pytest.raises(CheckpointError, match=what):
            Scorer(str(tmp_path / "bad.ckpt"))


def test_words_by_a_model_are_said_to_be_so(chain, clip, tmp_path, capsys, monkeypatch):
    class Transcriber(FakeTranscriber):
        def transcribe(self, samples):
            return "we are happy here" if len(samples) > 1.2 * 16000 else ""

    monkeypatch.setattr("apt_lightning.data.text.transcribe.Transcriber", Transcriber)
    mute = write_clip(tmp_path / "mute.mp4", 30, sound=None)
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    command = ["score", "--json", f"--checkpoint={checkpoint}"]
    assert main([*command, "--transcribe=tiny", "--", clip, str(mute)]) == 0
    heard, silent = json.loads(capsys.readouterr().out)
    source = {"model": "tiny", "sha256": "0" * 64}
    assert heard["transcribed"] == source | {"text": "we are happy here"} and "text" in heard["modalities"]
    assert heard["notes"] == ["tiny found the words"]
    assert silent["transcribed"]["text"] == "" and silent["notes"][-1] == "tiny hears no speech"
    assert main([*command, "--transcribe=tiny", "--transcript=we are happy here", "--", clip]) == 0
    (given,) = json.loads(capsys.readouterr().out)
    assert "transcribed" not in given and given["traits"] == heard["traits"]
