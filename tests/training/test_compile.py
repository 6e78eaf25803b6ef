"""The compiled frame encoder: the same names in the checkpoint, the same predictions after training."""

import shutil

import pytest
import torch
from places import CONFIGS, OVERLAY, QUICK

from apt_lightning.cli import main
from apt_lightning.stages.checkpoint import read_stage


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_training_gives_the_same_checkpoint(chain, store_dir, tmp_path):
    words = [f"--config={CONFIGS / 'stage1_visual.yaml'}", f"--config={OVERLAY / 'stage1_visual.yaml'}", *QUICK]
    words += [
        f"--data.store={store_dir}",
        "--data.batch_size=60",
    ]  # one step: later ones amplify rounding
    states = []
    for compiled in ("false", "true"):
        assert main(["fit", *words, f"--run_dir={tmp_path / compiled}", f"--model.compile={compiled}"]) == 0
        states.append(read_stage(str(tmp_path / compiled / "best.ckpt"), "visual").state)
    plain, compiled = states
    assert plain.keys() == compiled.keys()
    means = [name for name in plain if "running_mean" in name]
    assert means
    for name in means:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-3, atol=1e-4)
