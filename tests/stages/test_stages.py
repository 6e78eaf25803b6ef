"""The four-stage chain through the command line, with earlier checkpoints deleted."""

import json
import shutil

import numpy as np
import pytest
import torch
from places import CONFIGS, OVERLAY, QUICK
from shared import copy_of

from apt_lightning.cli import main
from apt_lightning.common.errors import CheckpointError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store
from apt_lightning.experiments.plan import run_units
from apt_lightning.stages.checkpoint import read_stage
from apt_lightning.stages.load import load
from apt_lightning.training.callbacks import AtomicCheckpointIO


@pytest.fixture
def lone_stage4(chain, store_dir, tmp_path):
    """The folder of a stage 4; nothing of the earlier stages that it was trained on."""
    earlier = copy_of(chain, tmp_path / "run")
    folder = tmp_path / "stage4"
    flags = next(unit for unit in run_units() if unit.name == "stage4").inputs(earlier / "seed42")
    assert main(["fit", *arguments(folder, store_dir), *flags]) == 0
    assert main(["test", *arguments(folder, store_dir), f"--ckpt_path={folder / 'best.ckpt'}"]) == 0
    shutil.rmtree(earlier)
    return folder


def arguments(folder, store_dir, stage="stage4"):
    return [
        f"--config={CONFIGS / stage}.yaml",
        f"--run_dir={folder}",
        f"--data.store={store_dir}",
        *QUICK,
    ]


def test_stage4_tests_scores_and_resumes_without_earlier_files(lone_stage4, store_dir, clips_dir, capsys):
    before = (lone_stage4 / "predictions_test.csv").read_bytes()
    assert main(["test", *arguments(lone_stage4, store_dir)]) == 0
    assert (lone_stage4 / "predictions_test.csv").read_bytes() == before
    clip = next(clips_dir.glob("test-1/*/*.mp4"))
    assert main(["score", "--json", f"--checkpoint={lone_stage4 / 'best.ckpt'}", "--", str(clip)]) == 0
    capsys.readouterr()
    last = torch.load(lone_stage4 / "last.ckpt", weights_only=True)
    flags = [*arguments(lone_stage4, store_dir), "--trainer.max_epochs=2"]
    assert main(["fit", *flags, f"--ckpt_path={lone_stage4 / 'last.ckpt'}"]) == 0
    resumed = torch.load(lone_stage4 / "last.ckpt", weights_only=True)
    assert resumed["global_step"] == 2 * last["global_step"] > 0


def test_score_agrees_with_test(chain, clips_dir, capsys):
    """A clip scored alone gets what `apt test` wrote for it."""
    from apt_lightning.data.collection.annotations import read_transcripts
    from apt_lightning.evaluation.predictions import read_predictions

    table = read_predictions(chain / "seed42" / "stage4" / "predictions_test.csv")
    clip = next(clips_dir.rglob(table.clips[0]))
    transcript = read_transcripts(clips_dir / "transcription_test.pkl")[table.clips[0]]
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", "--json", f"--checkpoint={checkpoint}", f"--transcript={transcript}", "--", str(clip)]) == 0
    traits = json.loads(capsys.readouterr().out)[0]["traits"]
    assert list(traits.values()) == pytest.approx(table.predicted[0].tolist(), abs=2e-4)


@pytest.mark.parametrize("stage", ["stage2", "stage3", "stage4"])
def test_frozen_parts_stay_bit_equal(chain, stage):
    """Weights and buffers of the encoders, M1 and S are those of the stages that trained them."""
    base = chain / "seed42"
    file = read_stage(str(base / stage / "best.ckpt"))
    for modality in ("audio", "visual", "text"):
        first = read_stage(str(base / f"stage1_{modality}" / "best.ckpt")).weights("encoder")
        here = file.weights(f"encoders.encoders.{modality}")
        assert first.keys() == here.keys()
        assert all(torch.equal(first[name], here[name]) for name in first)
    if stage == "stage4":
        for name, earlier in (("fusion", "stage2"), ("siamese", "stage3")):
            first = read_stage(str(base / earlier / "best.ckpt")).weights("network")
            here = file.weights(f"network.{name}")
            assert first and all(torch.equal(first[key], here[key]) for key in first)


def test_frozen_parts_stay_in_eval_mode(chain):
    module = load(str(chain / "seed42" / "stage4" / "best.ckpt"))
    module.train()
    frozen = [module.encoders, module.network.fusion, module.network.siamese]
    assert not any(part.training for whole in frozen for part in whole.modules())
    assert module.head.training
    assert all(not p.requires_grad for whole in frozen for p in whole.parameters())


def test_stage4_refuses_embeddings_of_other_encoders(chain, store_dir, tmp_path, capsys):
    path = chain / "seed42" / "stage3" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["encoders.encoders.audio.layers.0.bias"] += 1
    torch.save(content, tmp_path / "other.ckpt")
    flags = [f"--model.fusion_ckpt={chain / 'seed42' / 'stage2' / 'best.ckpt'}"]
    flags += [f"--model.siamese_ckpt={tmp_path / 'other.ckpt'}"]
    assert main(["fit", *arguments(tmp_path / "out", store_dir), *flags]) == 2
    assert "other modality checkpoints" in capsys.readouterr().err


def test_missing_stage_is_named_with_its_command(store_dir, tmp_path, capsys):
    assert main(["fit", *arguments(tmp_path, store_dir, "stage3"), "--model.checkpoints.audio=nowhere.ckpt"]) == 2
    error = capsys.readouterr().err
    assert "nowhere.ckpt" in error and "apt fit --config stage1_audio.yaml" in error


def test_read_stage_checks_what_a_file_claims(chain, tmp_path):
    path = str(chain / "seed42" / "stage2" / "best.ckpt")
    with pytest.raises(CheckpointError, match="stage 'stage2'"):
        read_stage(path, "stage3")
    content = torch.load(path, weights_only=True)
    content["apt"]["traits"] = content["apt"]["traits"][::-1]
    torch.save(content, tmp_path / "order.ckpt")
    with pytest.raises(CheckpointError, match="orders the traits"):
        read_stage(str(tmp_path / "order.ckpt"))


def test_run_skips_what_is_complete(chain, store_dir, tmp_path, capsys):
    from apt_lightning.experiments.run_settings import RunSettings
    from apt_lightning.experiments.runner import run

    out = copy_of(chain, tmp_path / "run")
    stamp = (out / "seed42" / "stage4" / "best.ckpt").stat().st_mtime_ns
    settings = {"stages": str(CONFIGS), "overlay": str(OVERLAY), "options": QUICK}
    run(RunSettings(store=str(store_dir), out=str(out), **settings))
    assert capsys.readouterr().out.count("complete") == 9
    assert (out / "seed42" / "stage4" / "best.ckpt").stat().st_mtime_ns == stamp


def test_test_prints_tables_that_validate_cannot_know(chain, tmp_path, capsys):
    """Coverage of the intervals, which were fitted on validation, and errors by the groups of the set."""
    folder, store = tmp_path / "stage4", chain.parent / "store"
    shutil.copytree(chain / "seed42" / "stage4", folder)
    assert main(["test", *arguments(folder, store), "--all"]) == 0
    every = capsys.readouterr().out
    assert "unseen sources" in every and "Prediction intervals" in every and "Errors by group, gender" in every
    assert main(["validate", *arguments(folder, store), "--all"]) == 0
    shown = capsys.readouterr().out
    assert "Spearman" in shown and "Prediction intervals" not in shown
    assert main(["test", *arguments(folder, store)]) == 0
    short = capsys.readouterr().out
    assert "unseen sources" in short and "Spearman" not in short and len(short) < len(every) / 2
    assert main(["test", *arguments(folder, store), "--tables=false"]) == 0
    assert "unseen sources" not in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["stage1_text", "stage3"])
def test_stages_with_dropout_resume_to_equal_weights(stage, chain, store_dir, tmp_path, monkeypatch):
    """Going on after the first epoch draws the dropout that the uninterrupted run drew."""
    saved = tmp_path / "first_epoch.ckpt"
    save = AtomicCheckpointIO.save_checkpoint

    def keep_first(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        if str(path).endswith("last.ckpt") and not saved.exists():
            shutil.copy(path, saved)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", keep_first)
    flags = next(unit for unit in run_units() if unit.name == stage).inputs(chain / "seed42")
    flags.append("--trainer.max_epochs=3")
    for name, resume in (("whole", []), ("resumed", [f"--ckpt_path={saved}"])):
        assert main(["fit", *arguments(tmp_path / name, store_dir, stage), *flags, *resume]) == 0
    whole, resumed = (torch.load(tmp_path / n / "last.ckpt", weights_only=True) for n in ("whole", "resumed"))
    assert whole["global_step"] == resumed["global_step"] == 6
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())


@pytest.mark.parametrize("modality", ["visual", "text"])
def test_a_modality_that_no_training_clip_has_is_refused_in_a_line(modality, tmp_path, capsys):
    """As of own clips without a transcript, or sounds without a picture."""
    lines = [",".join(["clip", "split", *TRAITS])]
    lines += [f"{i}.mp4,{'train' if i < 8 else 'validation'},.4,.5,.6,.5,.{i + 30}" for i in range(12)]
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    prepare(tmp_path / "clips.csv", tmp_path / "store")
    np.savez(tmp_path / "audio.npz", features=np.eye(12, 88), names=[f"{i}.mp4" for i in range(12)])
    put_features(Store.open(tmp_path / "store"), "audio", str(tmp_path / "audio.npz"))
    capsys.readouterr()
    config = CONFIGS / f"stage1_{modality}.yaml"
    flags = [f"--config={config}", f"--data.store={tmp_path / 'store'}", f"--run_dir={tmp_path / 'run'}"]
    assert main(["fit", *flags, "--trainer.accelerator=cpu"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"no training clip of {tmp_path / 'store'} has usable {modality}" in said and "--modalities" in said
