"""Every stage in bfloat16 mixed precision: finite losses, float32 weights, and predictions near those in float32."""

import csv
import math

import numpy as np
import pytest
import torch
from conftest import CONFIGS, OVERLAY, QUICK

from apt_lightning.cli import main
from apt_lightning.evaluation.predictions import read_predictions

INPUTS = {
    "stage1_audio": {},
    "stage1_visual": {},
    "stage1_text": {},
    "stage2": {f"{name}_ckpt": f"stage1_{name}" for name in ("audio", "visual", "text")},
    "stage3": {f"{name}_ckpt": f"stage1_{name}" for name in ("audio", "visual", "text")},
    "stage4": {"fusion_ckpt": "stage2", "siamese_ckpt": "stage3"},
}


@pytest.mark.parametrize("stage", INPUTS)
def test_stage_trains_in_bfloat16(chain, store_dir, tmp_path, stage):
    files = [CONFIGS / f"{stage}.yaml", *[f for f in [OVERLAY / f"{stage}.yaml"] if f.is_file()]]
    words = [f"--config={file}" for file in files]
    words += [f"--model.{name}={chain / 'seed42' / earlier / 'best.ckpt'}" for name, earlier in INPUTS[stage].items()]
    words += [f"--data.store={store_dir}", f"--run_dir={tmp_path}", "--trainer.precision=bf16-mixed"]
    assert main(["fit", *words, *QUICK]) == 0
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        assert all(math.isfinite(float(value)) for row in csv.DictReader(stream) for value in row.values())
    state = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    floating = [value for value in state.values() if value.is_floating_point()]
    assert floating and all(value.dtype == torch.float32 and value.isfinite().all() for value in floating)
    if stage == "stage3":
        return
    trained = chain / "seed42" / stage
    assert main(["test", *words, *QUICK, f"--ckpt_path={trained / 'best.ckpt'}"]) == 0
    here, float32 = (read_predictions(folder / "predictions_test.csv") for folder in (tmp_path, trained))
    assert here.clips == float32.clips
    np.testing.assert_allclose(here.predicted, float32.predicted, rtol=0, atol=0.02)
