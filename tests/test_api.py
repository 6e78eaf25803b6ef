"""The package as a library: what is imported when, and stages under a plain Trainer."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

import apt_lightning as apt


def plain_trainer(**options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )


def test_importing_the_package_imports_neither_torch_nor_lightning():
    code = (
        "import sys, apt_lightning; dir(apt_lightning); print(sorted({'torch', 'lightning', 'numpy'} & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
    assert len(apt.__all__) <= 24
    assert {*apt._PLACES, "__version__"} == {*apt.__all__}
    for name in apt.__all__:
        assert name in ("TRAITS", "__version__") or getattr(apt, name).__doc__, name
    with pytest.raises(AttributeError, match="nothing"):
        _ = apt.nothing


def test_the_data_module_works_without_a_trainer(store_dir):
    data = apt.FirstImpressionsDataModule(str(store_dir), batch_size=8)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch.inputs) == {"audio", "visual", "text"}
    assert batch.traits.shape == (8, 5) and batch.present.shape == (8, 3)
    assert batch.inputs["audio"].values.shape == (8, 88)
    frames = batch.inputs["visual"]
    assert frames.values.dtype == torch.uint8 and frames.augment
    assert not next(iter(data.val_dataloader())).inputs["visual"].augment


@pytest.mark.parametrize("stage", ["stage1_audio", "stage2", "stage4"])
def test_a_plain_trainer_returns_the_test_metrics(chain, store_dir, stage):
    module = apt.load(chain / "seed42" / stage / "best.ckpt")
    data = apt.FirstImpressionsDataModule(str(store_dir))
    (found,) = plain_trainer().test(module, datamodule=data, verbose=False)
    table = apt.read_predictions(chain / "seed42" / stage / "predictions_test.csv")
    errors = np.abs(table.predicted - table.true)
    assert found["test/1-MAE"] == pytest.approx(1 - errors.mean(), abs=1e-6)
    assert found["test/1-MAE_EXT"] == pytest.approx(1 - errors[:, 0].mean(), abs=1e-6)
    unseen = ~table.seen_source
    assert found["test/unseen_sources/1-MAE"] == pytest.approx(1 - errors[unseen].mean(), abs=1e-6)
    assert found["test/RMSE_OPE"] == pytest.approx(np.sqrt((errors[:, 4] ** 2).mean()), abs=1e-6)


def test_stage_3_returns_its_retrieval(chain, store_dir):
    module = apt.load(chain / "seed42" / "stage3" / "best.ckpt")
    (found,) = plain_trainer().test(module, datamodule=apt.FirstImpressionsDataModule(str(store_dir)), verbose=False)
    assert 0 <= found["test/precision"] <= 1


def test_a_scorer_scores_a_clip_in_one_call(chain, store_dir, clips_dir):
    scorer = apt.Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))
    table = apt.read_predictions(chain / "seed42" / "stage4" / "predictions_test.csv")
    clip = next(clip for clip in apt.Store.open(store_dir).clips if clip.name == table.clips[0])
    result = scorer.score(clip.path, clip.transcript, explain=True)
    assert list(result["traits"]) == list(apt.TRAITS)
    np.testing.assert_allclose(list(result["traits"].values()), table.predicted[0], atol=1e-3)
    assert result["modalities"] == ["audio", "visual", "text"] and set(result["shapley"]) == set(result["modalities"])
    alone = scorer.score(clip.path)
    assert alone["modalities"] == ["audio", "visual"] and alone["notes"] == ["no text: no transcript given"]
