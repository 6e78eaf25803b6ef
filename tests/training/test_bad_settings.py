"""Settings that cannot work end in one line that says what is allowed."""

import pytest
from places import CONFIGS, QUICK

from apt_lightning.cli import main


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--data.batch_size=0", "`data.batch_size` must be at least 1"),
        ("--data.store=nowhere", "apt prepare DATA nowhere"),
        ("--data.folds=nowhere.json", "nowhere.json"),
        ("--model.lr=-1", "must be positive"),
        ("--model.hidden_dims=[0]", "layer sizes must be at least 1"),
        ("--model.bell_sigma=0", "bell_sigma"),
        ("--model.modality=smell", "smell"),
        ("--model.no_such=1", "no_such"),
        ("--ckpt_path=nowhere.ckpt", "nowhere.ckpt"),
    ],
)
def test_one_line(flag, message, store_dir, tmp_path, capsys):
    words = [f"--config={CONFIGS / 'stage1_audio.yaml'}", f"--data.store={store_dir}", f"--run_dir={tmp_path}"]
    assert main(["fit", *words, *QUICK, flag]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
