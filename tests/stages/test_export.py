"""A model as a folder: what is written reads back as the checkpoint, and nothing damaged is taken for one."""

import json
import shutil

import pytest
import torch

from apt_lightning import load
from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.stages.checkpoint import read_checkpoint
from apt_lightning.stages.export.export import export
from apt_lightning.stages.export.hub import local_copy

STAGES = ("stage1_audio", "stage1_text", "stage2", "stage3", "stage4")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def folders(chain, tmp_path_factory):
    """Stage to the folder that `apt export` made of it."""
    base = tmp_path_factory.mktemp("exported")
    for stage in STAGES:
        assert main(["export", str(chain / "seed42" / stage / "best.ckpt"), str(base / stage)]) == 0
    return base


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
