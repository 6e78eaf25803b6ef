"""`apt score` with models of pretrained features: the encoders run on a new clip as they did on the store's."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from media import voice, write_clip
from places import HELPERS, QUICK
from tiny_models import save_onnx

from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError, UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.store.reader import Store
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.scorer import Scorer

CLASSES = {"audio": "python:simple_encoder:Loudness", "text": "python:simple_encoder:Words"}
NAMED = [f"--weights={name}={kind}" for name, kind in (("loud", CLASSES["audio"]), ("letters", CLASSES["text"]))]


@pytest.fixture(scope="module", autouse=True)
def _helpers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HELPERS))
        yield


@pytest.fixture(scope="module")
def trained(store_dir, tmp_path_factory):
    """Stage 2 on sets of sound, pictures and words; its folder, with the ONNX file of the pictures."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("sets")
    store = shutil.copytree(store_dir, folder / "store")
    file, _ = save_onnx(folder / "net", "pictures")
    more = {
        "audio": (CLASSES["audio"], "loud", "--segment=0.5"),
        "visual": (f"onnx:{file}", "colour", "--frames=3"),
        "text": (CLASSES["text"], "letters", "--tokens"),
    }
    checkpoints = {}
    for modality, (encoder, name, option) in more.items():
        assert main(["encode", str(store), modality, f"--encoder={encoder}", f"--name={name}", option]) == 0
        words = [f"--model.modality={modality}", f"--model.features=[{name}]", "--model.output_dim=8"]
        fit("stage1_features", store, folder / f"stage1_{modality}", *words)
        checkpoints[modality] = str(folder / f"stage1_{modality}" / "best.ckpt")
    fit("stage2", store, folder / "stage2", f"--model.checkpoints={json.dumps(checkpoints)}")
    return folder


def fit(config, store, folder, *more):
    words = [f"--config={config}.yaml", f"--data.store={store}", f"--run_dir={folder}", *QUICK, *more]
    assert main(["fit", *words]) == 0


def predicted(folder, name):
    words = [f"--ckpt_path={folder / 'stage2' / 'best.ckpt'}", f"--data.store={folder / 'store'}"]
    assert main(["predict", *words, f"--run_dir={folder / 'predicted'}", "--trainer.accelerator=cpu"]) == 0
    with (folder / "predicted" / "predictions_all.csv").open() as stream:
        row = next(row for row in csv.DictReader(stream) if row["clip"] == name)
    return [float(row[f"pred_{trait}"]) for trait in TRAITS]


def clip_of(folder):
    return next(
        clip for clip in Store.open(folder / "store").clips if clip.split == "test" and clip.status != "left out"
    )


def score(folder, capsys, *more, clip=None):
    clip = clip or clip_of(folder)
    words = ["score", "--json", f"--checkpoint={folder / 'stage2' / 'best.ckpt'}", f"--transcript={clip.transcript}"]
    status = main([*words, *more, "--", clip.path])
    said = capsys.readouterr()
    return status, json.loads(said.out)[0] if status == 0 else said.err


def test_a_clip_of_the_store_scores_as_it_is_predicted(trained, capsys):
    status, told = score(trained, capsys, *NAMED)
    assert status == 0 and told["modalities"] == ["audio", "visual", "text"] and told["notes"] == []
    expected = predicted(trained, clip_of(trained).name)
    np.testing.assert_allclose([told["traits"][trait] for trait in TRAITS], expected, atol=5.1e-5)  # four digits
    scorer = Scorer(
        str(trained / "stage2" / "best.ckpt"), weights={"loud": CLASSES["audio"], "letters": CLASSES["text"]}
    )
    clip = clip_of(trained)
    features = scorer.features(None, clip.transcript, scorer.sets.inputs(clip.path, clip.transcript))
    np.testing.assert_allclose(scorer.scores(features), expected, atol=1e-5)
    mute = scorer.score(clip.path, explain=True)
    assert mute["notes"] == ["no text: no transcript given"]
    assert set(mute["shapley"]) == {"audio", "visual", "text"} and mute["explanation"] == {}


def test_windows_are_encoded_one_by_one(trained, tmp_path):
    """Of a clip that changes halfway, each half scores as a file of its own does."""
    halves = [voice(2.0, 8000, seed=1), 0.2 * voice(2.0, 8000, seed=2)]
    how = {"rate": 10, "channels": 1, "sample_rate": 8000, "audio_codec": "flac"}
    whole = write_clip(tmp_path / "whole.mkv", count=40, sound=np.concatenate(halves), **how)
    first = write_clip(tmp_path / "first.mkv", count=20, sound=halves[0], **how)
    scorer = Scorer(
        str(trained / "stage2" / "best.ckpt"), weights={"loud": CLASSES["audio"], "letters": CLASSES["text"]}
    )
    told, alone = scorer.score(whole, every=2), scorer.score(first)
    assert [(window["from"], window["to"]) for window in told["windows"]] == [(0, 2), (2, 4)]
    assert [window["modalities"] for window in told["windows"]] == [["audio", "visual"]] * 2
    scores = [np.array(list(one["traits"].values())) for one in (*told["windows"], told, alone)]
    np.testing.assert_allclose(scores[0], scores[3], atol=1e-3)
    assert np.abs(scores[1] - scores[0]).max() > 0.002 < np.abs(scores[2] - scores[0]).max()


def test_a_class_is_run_only_if_it_is_named(trained, capsys):
    status, said = score(trained, capsys)
    assert status == 2 and f"--weights loud={CLASSES['audio']}" in said and said.count("\n") == 1


def test_weights_given_are_those_trained_on(trained, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(trained / "net", moved)
    assert score(trained, capsys, *NAMED, f"--weights=visual/colour={moved / 'net.onnx'}")[0] == 0
    other, _ = save_onnx(tmp_path / "other", "pictures")
    data = bytearray(other.read_bytes())
    at = data.index(np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32).tobytes()[:8])
    data[at] ^= 1
    other.write_bytes(data)
    status, said = score(trained, capsys, *NAMED, f"--weights=colour={other}")
    assert status == 2 and "holds other weights than those" in said and said.count("\n") == 1
    status, said = score(trained, capsys, f"--weights=loud={CLASSES['audio']}:2", *NAMED[1:])
    assert status == 2 and "holds other weights" in said
    status, said = score(trained, capsys, *NAMED, f"--weights=colour={tmp_path / 'none.onnx'}")
    assert status == 2 and f"no file of weights at {tmp_path / 'none.onnx'}" in said and said.count("\n") == 1
    status, said = score(trained, capsys, "--weights=taste=x")
    assert status == 2 and "visual/colour" in said


def test_another_preprocessing_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / "net", tmp_path / "net")
    how = json.loads((tmp_path / "net" / "net.json").read_text())
    (tmp_path / "net" / "net.json").write_text(json.dumps(how | {"channels": "RGB"}))
    status, said = score(trained, capsys, *NAMED, f"--weights=colour={tmp_path / 'net' / 'net.onnx'}")
    assert status == 2 and "differs from the one trained on in preprocessing" in said


def test_another_version_of_the_library_is_told(trained, monkeypatch, capsys):
    from apt_lightning.data.encoding import onnx_file

    monkeypatch.setattr(onnx_file, "version", lambda _: "0.0")
    _, told = score(trained, capsys, *NAMED)
    assert any("here it is onnxruntime 0.0" in text for text in told["warnings"])


def test_features_from_elsewhere_are_said_and_the_rest_scores(trained, tmp_path, capsys):
    store = Store.open(trained / "store")
    np.savez(tmp_path / "a.npz", features=np.ones((len(store), 4)), names=[clip.name for clip in store.clips])
    assert main(["features", str(store.path), "visual", str(tmp_path / "a.npz"), "--name=theirs"]) == 0
    words = ["--model.modality=visual", "--model.features=[theirs]", "--model.output_dim=8"]
    fit("stage1_features", store.path, tmp_path / "stage1", *words)
    both = {"visual": str(tmp_path / "stage1" / "best.ckpt"), "text": str(trained / "stage1_text" / "best.ckpt")}
    fit("stage2", store.path, tmp_path / "stage2", f"--model.checkpoints={json.dumps(both)}")
    capsys.readouterr()
    _, told = score(tmp_path, capsys, NAMED[1], clip=clip_of(trained))
    note = "no visual: the model was trained on visual features made elsewhere, the set theirs"
    assert told["modalities"] == ["text"] and told["notes"] == [note]


def test_a_model_for_others_names_no_folder_and_scores(trained, tmp_path, capsys):
    assert main(["export", str(trained / "stage2" / "best.ckpt"), str(tmp_path / "model")]) == 0
    assert str(trained) not in (tmp_path / "model" / "config.json").read_text()
    clip = clip_of(trained)
    capsys.readouterr()
    words = ["score", "--json", f"--checkpoint={tmp_path / 'model'}", *NAMED, "--", clip.path]
    assert main(words) == 2
    assert "give `--weights colour=PATH`" in capsys.readouterr().err
    assert main([*words[:-2], f"--weights=colour={trained / 'net' / 'net.onnx'}", *words[-2:]]) == 0


def test_a_strangers_description_costs_a_line(trained, tmp_path):
    file = read_stage(trained / "stage1_visual" / "best.ckpt")
    content = torch.load(trained / "stage1_visual" / "best.ckpt", weights_only=True)
    (about,) = content["apt"]["networks"]["encoders"]["visual"]["sets"]
    assert about["specification"] == file.networks["encoders"]["visual"]["sets"][0]["specification"]
    take = about["specification"]["take"]
    for place, key, value in (
        (about, "specification", {}),
        (about, "origin", [1]),
        (about["origin"], "encoder", "os:system"),
        (about["origin"], "weights", 5),
        (about["specification"], "dtype", "O"),
        (about["specification"], "pooling", {"hop": 1e-9}),
        (take, "sense", "taste"),
    ):
        right, place[key] = place[key], value
        torch.save(content, tmp_path / "bad.ckpt")
        with pytest.raises((CheckpointError, UsageError)) as caught:
            Scorer(str(tmp_path / "bad.ckpt")).score(clip_of(trained).path)
        assert "\n" not in str(caught.value)
        place[key] = right
