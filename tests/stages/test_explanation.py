"""Seconds, frames and words: shares that add up, and deletions that prove them."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from places import CONFIGS

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.store.reader import Store
from apt_lightning.stages.explanation import shares
from apt_lightning.stages.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(chain):
    return Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))


@pytest.fixture(scope="module")
def clips(store_dir):
    return [clip for clip in Store.open(store_dir).clips if clip.split == "test"]


def test_shares_over_all_orders_are_shapley_values():
    """Of a game with weights and one pair, whose values are known: the pair's worth is halved."""
    weights = np.array([[0.1], [0.0], [-0.3], [0.05]]) * np.arange(1, 6)

    def value(kept):
        return kept @ weights + 0.2 * (kept[0] and kept[2])

    found = shares(value, np.array(list(permutations(range(4)))))
    np.testing.assert_allclose(found, weights + 0.1 * np.array([[1], [0], [1], [0]]), atol=1e-12)
    few = shares(value, np.array([[0, 1, 2, 3], [3, 2, 1, 0]]))
    np.testing.assert_allclose(few.sum(0), value(np.ones(4)) - value(np.zeros(4)), atol=1e-12)


def effects(found):
    return np.array([[part["effects"][t] for t in TRAITS] for part in found["parts"]])


def test_what_is_told_adds_up(scorer, clips):
    """The parts of a modality to what the score loses without it, by a clip that lacks it; modalities to the score."""
    clip = clips[0]
    told = scorer.score(clip.path, clip.transcript, explain=True)
    extraction = extract_clip(clip.path, "clip")
    score = np.array(list(told["traits"].values()))
    lacking = {
        "audio": (replace(extraction, functionals=None), clip.transcript),
        "visual": (replace(extraction, frames=[]), clip.transcript),
        "text": (extraction, None),
    }
    for name, (rest, words) in lacking.items():
        found = told["explanation"][name]
        loss = score - scorer.scores(scorer.features(rest, words))
        np.testing.assert_allclose(effects(found).sum(0), loss, atol=6e-5 * len(found["parts"]))
        np.testing.assert_allclose(list(found["sum"].values()), loss, atol=2e-4)
    assert [part["word"] for part in told["explanation"]["text"]["parts"]] == clip.transcript.split()
    assert len(told["explanation"]["visual"]["parts"]) == 6


def test_words_said_to_matter_matter_more_than_others(store_dir, clips, tmp_path):
    """Deleting the fifth of the words with the largest shares, against as many at random: mean over clips, interval."""
    flags = ["--trainer.accelerator=cpu", "--trainer.max_epochs=40", "--trainer.enable_progress_bar=false"]
    files = [f"--config={CONFIGS / 'stage1_text.yaml'}", f"--data.store={store_dir}", f"--run_dir={tmp_path}"]
    assert main(["fit", *files, *flags, "--data.batch_size=12", "--model.lr=0.003"]) == 0  # enough to hang on to words
    scorer = Scorer(str(tmp_path / "last.ckpt"))
    rng = np.random.default_rng(0)
    gains = []
    extraction = extract_clip(clips[0].path, "clip")  # of which no part is looked at
    for clip in clips:
        words = (clip.transcript or "").split()
        if len(words) < 4:
            continue
        features = scorer.features(None, clip.transcript)
        size = max(1, len(words) // 5)

        def moved(dropped, words=words, features=features):
            rest = " ".join(word for i, word in enumerate(words) if i not in dropped)
            return np.abs(scorer.scores(scorer.features(None, rest)) - scorer.scores(features))

        found = effects(scorer.explain(features, extraction, clip.transcript)["text"])
        top = [moved(set(np.argsort(-np.abs(found[:, t]))[:size].tolist()))[t] for t in range(5)]
        chance = [moved(set(rng.choice(len(words), size, replace=False).tolist())) for _ in range(8)]
        gains.append(np.mean(top) - np.mean(chance))
    half = 1.96 * np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert len(gains) >= 8 and np.mean(gains) - half > 0


def test_command_shows_seconds_frames_and_words(chain, clips, capsys):
    flags = [f"--checkpoint={chain / 'seed42' / 'stage4' / 'best.ckpt'}", "--explain", "--transcript=the party is calm"]
    assert main(["score", *flags, "--", clips[0].path]) == 0
    shown = capsys.readouterr().out
    assert "text, 4 words" in shown and "frame of most effect" in shown and "calm" in shown
    assert main(["score", *flags, "--every=1", "--json", "--", clips[0].path]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [window["from"] for window in told["windows"]] == [0, 1]
    assert set(told["windows"][0]["traits"]) == set(TRAITS)


def test_a_page_and_pictures_of_clips(chain, clips, tmp_path, capsys):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    flags = [f"--checkpoint={chain / 'seed42' / 'stage4' / 'best.ckpt'}"]
    flags += [f"--report={tmp_path / 'page.html'}", f"--pictures={tmp_path / 'pictures'}"]
    assert main(["score", *flags, "--", clips[0].path, str(bad)]) == 1
    assert "1 of 2 clips scored" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article>") == 2 and "not-a-video" in page and "data:image/svg+xml" in page
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.name.startswith("1-") and picture.read_bytes().startswith(b"\x89PNG")
