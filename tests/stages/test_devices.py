"""Every stage, ``predict`` and ``score`` on another accelerator with the same flags but one."""

import json

import numpy as np
import pytest
import torch
from places import CONFIGS, OVERLAY, QUICK, inputs

from apt_lightning.cli import main
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.stages.scorer import Scorer

ACCELERATORS = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
"""On the CPU the tests test themselves."""


def words_of(stage, chain, store, folder, accelerator):
    """Flags that run a stage of the chain on an accelerator."""
    files = [CONFIGS / f"{stage}.yaml", *[f for f in [OVERLAY / f"{stage}.yaml"] if f.is_file()]]
    words = [f"--config={file}" for file in files]
    words += inputs(stage, chain / "seed42")
    return [*words, f"--data.store={store}", f"--run_dir={folder}", *QUICK, f"--trainer.accelerator={accelerator}"]


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("stage", ["stage1_text", "stage3", "stage4"])
def test_stage_trains_and_predicts(chain, store_dir, tmp_path, stage, accelerator):
    words = words_of(stage, chain, store_dir, tmp_path, accelerator)
    assert main(["fit", *words]) == 0
    trained = chain / "seed42" / stage / "best.ckpt"
    assert main(["predict", *words, f"--ckpt_path={trained}"]) == 0
    if stage == "stage3":
        assert np.load(tmp_path / "embeddings_all.npz")["present"].any()
        return
    assert main(["predict", *words_of(stage, chain, store_dir, tmp_path / "cpu", "cpu"), f"--ckpt_path={trained}"]) == 0
    here, there = (read_predictions(folder / "predictions_all.csv") for folder in (tmp_path, tmp_path / "cpu"))
    assert here.clips == there.clips
    np.testing.assert_allclose(here.predicted, there.predicted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_score(chain, clips_dir, accelerator, capsys):
    clip = str(next(clips_dir.glob("test-1/*/*.mp4")))
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    words = [clip, f"--checkpoint={checkpoint}", "--transcript=hello my friend", "--json", "--explain"]
    assert main(["score", *words]) == 0
    (expected,) = json.loads(capsys.readouterr().out)
    assert main(["score", *words, f"--trainer.accelerator={accelerator}"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["traits"] == pytest.approx(expected["traits"], abs=1e-3)
    for modality, values in found["shapley"].items():
        assert values == pytest.approx(expected["shapley"][modality], abs=1e-3)


def test_score_without_the_accelerator_says_so(chain, clips_dir, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    clip = str(next(clips_dir.glob("test-1/*/*.mp4")))
    checkpoint = chain / "seed42" / "stage4" / "best.ckpt"
    assert main(["score", clip, f"--checkpoint={checkpoint}", "--trainer.accelerator=gpu"]) == 2
    assert "gpu" in capsys.readouterr().err


def test_scorer_runs_where_it_is_told(chain):
    """No tensor stays behind on the CPU: an operation of mixed devices would be an error."""
    scorer = Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"), "meta")
    devices = {p.device.type for part in (scorer.encoders, scorer.network, scorer.head) for p in part.parameters()}
    assert devices == {"meta"}
    clip = scorer.features(None, None)
    assert clip.features.device.type == clip.present.device.type == "meta"
