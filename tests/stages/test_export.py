"""A model as a folder: what is written reads back as the checkpoint, and nothing damaged is taken for one."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from apt_lightning import load
from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.loading.pictures import decode_pictures
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings
from apt_lightning.data.text.tokens import tokenize
from apt_lightning.evaluation.predictions import Predictions, write_predictions
from apt_lightning.networks.frames import resize
from apt_lightning.stages.checkpoint import read_checkpoint
from apt_lightning.stages.export import graph, standalone
from apt_lightning.stages.export.card import model_card
from apt_lightning.stages.export.export import export
from apt_lightning.stages.export.hub import local_copy
from apt_lightning.stages.scorer import Scorer

STAGES = ("stage1_audio", "stage1_text", "stage2", "stage3", "stage4")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def folders(chain, tmp_path_factory):
    """Stage to the folder that `apt export` made of it."""
    base = tmp_path_factory.mktemp("exported")
    for stage in STAGES:
        assert main(["export", str(chain / "seed42" / stage / "best.ckpt"), str(base / stage)]) == 0
    return base


@pytest.fixture(scope="module")
def final(chain, tmp_path_factory):
    """Stage 4 with its ONNX graph."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("onnx") / "model"
    written, difference = export(chain / "seed42" / "stage4" / "best.ckpt", folder, onnx=True)
    assert difference < 1e-5 and len(written) == 6
    return folder


@pytest.fixture
def audio(folders, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(folders / "stage1_audio", tmp_path / "model")


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_holds_what_its_checkpoint_does(chain, folders, stage):
    old, new = read_checkpoint(chain / "seed42" / stage / "best.ckpt"), read_checkpoint(folders / stage)
    assert new["apt"] == json.loads(json.dumps(old["apt"]))
    assert new["hyper_parameters"] == json.loads(json.dumps(old["hyper_parameters"]))
    assert new["state_dict"].keys() == old["state_dict"].keys()
    assert all(torch.equal(value, old["state_dict"][name]) for name, value in new["state_dict"].items())
    module = load(folders / stage)
    assert module.stage == old["apt"]["stage"] and not module.training


def test_a_folder_scores_and_tests_as_its_checkpoint(chain, folders, clips_dir, store_dir, tmp_path, capsys):
    clip = str(next(clips_dir.glob("test-1/*/*.mp4")))
    shown = []
    for path in (chain / "seed42" / "stage4" / "best.ckpt", folders / "stage4"):
        assert main(["score", "--json", f"--checkpoint={path}", "--transcript=we are happy", "--", clip]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    words = [f"--data.store={store_dir}", "--trainer.accelerator=cpu", f"--run_dir={tmp_path}"]
    assert main(["test", f"--ckpt_path={folders / 'stage4'}", *words]) == 0
    here, there = (folder / "predictions_test.csv" for folder in (tmp_path, chain / "seed42" / "stage4"))
    assert here.read_text() == there.read_text()


def test_other_programs_read_the_weights(folders):
    from safetensors import safe_open

    with safe_open(folders / "stage1_audio" / "model.safetensors", "np") as file:
        assert file.get_tensor("encoder.layers.0.weight").shape == (1024, 88)
        assert file.metadata() == {"format": "pt"}


def test_nothing_is_written_over(folders, chain):
    before = (folders / "stage2" / "config.json").read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        export(chain / "seed42" / "stage4" / "best.ckpt", folders / "stage2")
    assert (folders / "stage2" / "config.json").read_bytes() == before


def test_the_script_beside_the_graph_scores_as_the_checkpoint(chain, final, clips_dir, tmp_path):
    clip, said = next(clips_dir.glob("test-1/*/*.mp4")), "we are happy, my friend"
    scorer = Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))
    encoder = scorer.encoders.encoders["visual"]
    taken = extract_clip(clip, "clip", ExtractionSettings())
    frames = resize(decode_pictures(taken.frames)[None], encoder.frame_size)[0].permute(0, 2, 3, 1).numpy()
    given = {"audio": taken.functionals, "visual": frames}
    assert len((final / "score.py").read_text().splitlines()) < 60
    for parts in (("audio", "visual", "text"), ("visual",), ("text",), ()):
        np.savez(tmp_path / "clip.npz", **{name: given[name] for name in parts if name != "text"})
        words = [said] if "text" in parts else []
        # -I: neither this package nor anything else of the environment's paths is there but what is installed.
        command = [sys.executable, "-I", str(final / "score.py"), str(tmp_path / "clip.npz"), *words]
        shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        found = [line.split() for line in shown.stdout.splitlines()]
        assert [row[0] for row in found] == list(TRAITS), shown.stderr
        features = scorer.features(taken, said)
        scores = scorer.scores(features, [name in parts for name in scorer.modalities])
        expected = np.stack([scores, *scorer.intervals(scores)], axis=1)
        np.testing.assert_allclose(np.array([row[1:] for row in found], float), expected, atol=2e-4)


def test_the_script_imports_nothing_of_ours(final):
    names = set(re.findall(r"^\s*(?:import|from) ([\w.]+)", (final / "score.py").read_text(), re.MULTILINE))
    assert names == {"json", "re", "sys", "unicodedata", "pathlib", "typing", "numpy", "onnxruntime"}


@pytest.mark.parametrize(
    "text", ["Don't CALL 911 [x 00:07]; it's O\u2019Brien's e-mail: a.b@c.org!", "I cannot, gonna: www.a.b"]
)
def test_the_script_splits_words_as_the_package(text):
    assert standalone.tokenize(text) == tokenize(text)


def test_a_graph_that_is_another_model_is_not_written(chain, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")

    class Wrong(graph._OnnxGRU):
        def __init__(self, gru):
            super().__init__(gru)
            self.biases.add_(2)

    monkeypatch.setattr(graph, "_OnnxGRU", Wrong)
    with pytest.raises(CheckpointError, match="differs from its checkpoint"):
        export(chain / "seed42" / "stage1_text" / "best.ckpt", tmp_path / "new", onnx=True)
    assert not list(tmp_path.iterdir())


def test_embeddings_have_no_graph_of_traits(chain, tmp_path):
    with pytest.raises(CheckpointError, match="stage3"):
        export(chain / "seed42" / "stage3" / "best.ckpt", tmp_path / "new", onnx=True)


def test_the_card_tells_use_seed_and_figures(folders, tmp_path):
    rng = np.random.default_rng(0)
    true, predicted = rng.uniform(0.2, 0.8, (2, 40, 5))
    names = [f"{i:02d}.000.mp4" for i in range(40)]
    seen = np.arange(40) < 30
    write_predictions(tmp_path / "predictions_test.csv", Predictions(names, names, seen, true, predicted))
    (tmp_path / "config.yaml").write_text("seed_everything: 42\ndata: {store: /home/somebody/store, folds: null}\n")
    card = model_card("mine", read_checkpoint(folders / "stage4"), tmp_path, 1e-7)
    head, body = yaml.safe_load(card.split("---\n")[1]), card.split("---\n", 2)[2]
    assert head["library_name"] == "apt-lightning"
    (metric,) = [m for m in head["model-index"][0]["results"][0]["metrics"] if m["type"] == "1-MAE"]
    assert metric["value"] == pytest.approx(1 - np.abs(predicted - true).mean(), abs=1e-4)
    for told in ("Seed: 42", "Intended", "Forbidden: to hire", "unseen sources: 10 clips", "1.0e-07", "`store`"):
        assert told in body
    assert re.search(r"\| 1-MAE \|.*\[\.\d{4}, \.\d{4}\]", body) and "somebody" not in card


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def weights(folder, **values):
    state = safetensors.load_file(folder / "model.safetensors")
    safetensors.save_file(state | values, folder / "model.safetensors")


DAMAGES = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut short": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:5000]
    ),
    "header of 2^62 bytes": lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 7 + b"\x40{}"),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a list": lambda folder: (folder / "config.json").write_text("[]"),
    "deep": lambda folder: (folder / "config.json").write_text("[" * 100_000 + "]" * 100_000),
    "less deep": lambda folder: change(folder, apt=json.loads('{"a":' * 40 + "1" + "}" * 40)),
    "huge description": lambda folder: change(folder, apt="x" * (9 << 20)),
    "other stage": lambda folder: change(folder, apt={"format": 1, "stage": "thesis"}),
    "no networks": lambda folder: change(folder, hyper_parameters=None),
    "NaN": lambda folder: weights(folder, **{"head.bias": torch.full((5,), torch.nan)}),
    "a type of its own": lambda folder: weights(folder, **{"head.bias": torch.zeros(5, dtype=torch.complex64)}),
    "other shape": lambda folder: weights(folder, **{"head.weight": torch.zeros(5, 7)}),
    "more weights": lambda folder: weights(folder, another=torch.zeros(1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_named_in_one_line(audio, damage):
    load(audio)
    DAMAGES[damage](audio)
    with pytest.raises(CheckpointError) as caught:
        load(audio)
    text = str(caught.value)
    assert str(audio) in text and "\n" not in text and len(text) < 700


def test_an_export_that_fails_leaves_nothing(chain, tmp_path, monkeypatch):
    monkeypatch.setattr("apt_lightning.stages.export.export.write_model", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(chain / "seed42" / "stage2" / "best.ckpt", tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hub(folders, tmp_path, monkeypatch):
    """A cache of the hub as its client makes it, with one model and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--somebody--traits"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "blobs").mkdir()
    (model / "snapshots" / commit).mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folders / "stage1_audio" / name, model / "blobs" / name)
        (model / "snapshots" / commit / name).symlink_to(f"../../blobs/{name}")
    return model / "snapshots" / commit


def test_a_model_of_the_hub_is_read_from_its_cache(folders, hub):
    assert local_copy("hf://somebody/traits") == local_copy("hf://somebody/traits@main") == str(hub)
    assert local_copy("hf://somebody/traits@0123456789abcdef0123456789abcdef01234567") == str(hub)
    assert torch.equal(load("hf://somebody/traits").head.weight, load(folders / "stage1_audio").head.weight)


def test_the_hub_is_asked_only_on_request(hub, monkeypatch):
    with pytest.raises(CheckpointError, match="--allow-download"):
        load("hf://somebody/else")
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: asked.append(options) or str(hub))
    load("hf://somebody/else@v1")
    load("hf://somebody/else", allow_download=True)
    assert [(options["local_files_only"], options["revision"]) for options in asked] == [(True, "v1"), (False, None)]


@pytest.mark.parametrize("name", ["hf://", "hf://one", "hf://a/b/c", "hf://../../etc", "hf://a/b@", "hf://a/b c"])
def test_names_that_are_none(name):
    with pytest.raises(UsageError, match="hf://owner/name"):
        load(name)
