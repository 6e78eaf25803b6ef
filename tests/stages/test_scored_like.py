"""The training clips that a clip is scored like: found in the model's space, named only from a store at hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from apt_lightning.cli import main
from apt_lightning.common.errors import DataError, StoreError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.store.reader import Store
from apt_lightning.stages.scorer import Scorer


@pytest.fixture(scope="module")
def store(store_dir):
    return Store.open(store_dir)


@pytest.fixture(scope="module")
def known(store):
    """A training clip with all modalities."""
    return next(c for c, p in zip(store.clips, store.present, strict=True) if c.split == "train" and p.all())


@pytest.mark.parametrize("unit", ["stage1_audio", "stage2", "stage4"])
def test_a_training_clip_is_scored_like_itself(unit, chain, store, known):
    scorer = Scorer(str(chain / "seed42" / unit / "best.ckpt"), store=str(store.path))
    told = scorer.score(known.path, known.transcript, explain=True)
    like = told["scored_like"]
    first, *others = like["clips"]
    assert (first["clip"], first["source"]) == (known.name, known.source)
    assert first["distance"] < 0.01 * like["usual_distance"]
    assert list(first["traits"].values()) == pytest.approx(known.traits, abs=1e-4)
    by_name = {clip.name: clip for clip in store.clips}
    labels = [by_name[one["clip"]].traits for one in like["clips"]]
    assert list(like["traits"].values()) == pytest.approx(np.mean(labels, axis=0), abs=1e-4)
    assert {by_name[one["clip"]].split for one in like["clips"]} == {"train"}
    assert like["sources"] == len({by_name[one["clip"]].source for one in like["clips"]})
    distances = [one["distance"] for one in like["clips"]]
    assert len(others) == 4 and distances == sorted(distances)
    assert not any("not those" in text for text in told["warnings"])


def test_near_in_the_space_is_near_in_the_scores(chain, store, known):
    """What p reads is the space: no clip differs more in its scores than p's weights times its distance."""
    scorer = Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"), store=str(store.path))
    norm = float(torch.linalg.matrix_norm(scorer.head.weight.detach(), 2))
    told = scorer.score(known.path, known.transcript, explain=True)
    by_name = {clip.name: clip for clip in store.clips}
    for one in told["scored_like"]["clips"][1:3]:
        clip = by_name[one["clip"]]
        other = scorer.score(clip.path, clip.transcript)["traits"]
        apart = np.linalg.norm([other[trait] - told["traits"][trait] for trait in TRAITS])
        assert apart <= norm * (one["distance"] + 0.01 * told["scored_like"]["usual_distance"]) + 1e-6


def test_the_command_names_them_in_table_page_and_json(chain, store, known, tmp_path, capsys):
    checkpoint = chain / "seed42" / "stage2" / "best.ckpt"
    page = tmp_path / "page.html"
    flags = [f"--checkpoint={checkpoint}", f"--neighbours={store.path}", f"--transcript={known.transcript}"]
    assert main(["score", *flags, f"--report={page}", "--", known.path]) == 0
    shown = capsys.readouterr().out
    assert f"scored like {known.name} (" in shown and "- like it, rated" in shown
    assert main(["score", *flags, "--json", "--", known.path]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    text = page.read_text()
    for one in told["scored_like"]["clips"]:
        assert f'<th scope="row">{one["clip"]}</th><td>{one["source"]}</td>' in text
    names = {clip.name for clip in store.clips} - {known.name}
    assert not any(name.encode() in checkpoint.read_bytes() for name in names)


def test_nothing_is_named_unless_asked_for(chain, known):
    told = Scorer(str(chain / "seed42" / "stage2" / "best.ckpt")).score(known.path, known.transcript, explain=True)
    assert "scored_like" not in told and known.name not in json.dumps({**told, "clip": ""})


def test_a_store_that_is_not_that_of_the_training(chain, store, known, tmp_path, monkeypatch):
    checkpoint = chain / "seed42" / "stage1_audio" / "best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["training_clips"]["ratings"] = content["training_clips"]["ratings"] * 0.9
    torch.save(content, tmp_path / "other.ckpt")
    told = Scorer(str(tmp_path / "other.ckpt"), store=str(store.path)).score(known.path, explain=True)
    assert any("are not those that the model was trained on" in text for text in told["warnings"])
    with pytest.raises(StoreError):
        Scorer(str(checkpoint), store=str(tmp_path))
    bare = Store.open(store.path)
    bare.clips[:] = [replace(clip, split="test") for clip in bare.clips]
    monkeypatch.setattr(Store, "open", lambda path: bare)
    with pytest.raises(DataError, match="no labelled training clips"):
        Scorer(str(checkpoint), store=str(store.path))
