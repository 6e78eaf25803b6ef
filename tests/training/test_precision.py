"""Every stage in bfloat16 mixed precision: finite losses, float32 weights, and predictions near those in float32."""

import csv
import math
import shutil

import numpy as np
import pytest
import torch
from places import CONFIGS, OVERLAY, QUICK, STAGES, inputs

from apt_lightning.cli import main
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.training import fit as lightning
from apt_lightning.training.precision import best_precision


@pytest.mark.parametrize("stage", STAGES)
def test_stage_trains_in_bfloat16(chain, store_dir, tmp_path, stage):
    files = [CONFIGS / f"{stage}.yaml", *[f for f in [OVERLAY / f"{stage}.yaml"] if f.is_file()]]
    words = [f"--config={file}" for file in files]
    words += inputs(stage, chain / "seed42")
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


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
@pytest.mark.parametrize("stage", ["stage1_audio", "stage2", "stage3", "stage4"])
def test_stage_trains_in_a_true_precision(feature_run, tmp_path, stage, precision):
    store = shutil.copytree(feature_run.parent / "store", tmp_path / "store")  # its frozen features are others
    words = [f"--config={CONFIGS / stage}.yaml", f"--data.store={store}", f"--run_dir={tmp_path / 'run'}"]
    words += inputs(stage, feature_run / "seed42")
    assert main(["fit", *words, *QUICK, f"--trainer.precision={precision}"]) == 0
    state = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)["state_dict"]
    assert {x.dtype for x in state.values() if x.is_floating_point()} == {
        torch.float64 if precision == "64-true" else torch.bfloat16
    }
    assert main(["test", *words, *QUICK, f"--trainer.precision={precision}"]) == 0


@pytest.mark.parametrize(
    ("cuda", "native", "cpu", "expected"),
    [
        (True, True, {}, "bf16-mixed"),
        (True, False, {"avx512_bf16": True}, "16-mixed"),
        (False, False, {"avx512_bf16": True}, "bf16-mixed"),
        (False, False, {"amx_bf16": True}, "bf16-mixed"),
        (False, False, {"avx2": True}, "32-true"),
    ],
)
def test_best_precision_is_what_the_hardware_computes_in(monkeypatch, cuda, native, cpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    assert best_precision("auto") == expected
    assert best_precision("cpu") == ("bf16-mixed" if any("bf16" in name for name in cpu) else "32-true")


def test_mixed_precision_is_one_flag(store_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lightning, "best_precision", {"cpu": "bf16-mixed"}.__getitem__)
    used = []
    monkeypatch.setattr(ModalityModule, "on_fit_start", lambda self: used.append(self.trainer.precision))
    words = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={store_dir}", f"--run_dir={tmp_path}", *QUICK]
    assert main(["fit", *words, "--mixed_precision=true"]) == 0
    assert used == ["bf16-mixed"]
    assert main(["fit", *words, "--mixed_precision=true", "--trainer.precision=16-mixed"]) == 2
    assert "drop one" in capsys.readouterr().err
