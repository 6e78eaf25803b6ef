"""Settings that cannot work end in one line that says what is allowed."""

import dataclasses
import inspect

import pytest
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.errors import UsageError
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.losses.regression import RegressionTerms
from apt_lightning.stages.final import FinalModule
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.siamese import SiameseModule


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--data.batch_size=0", "`--data.batch_size` must be 1 or more, but is 0"),
        ("--data.store=nowhere", "apt prepare DATA nowhere"),
        ("--data.folds=nowhere.json", "nowhere.json"),
        ("--model.lr=-1", "`--model.lr` must be above 0, but is -1.0"),
        ("--model.loss.bell_sigma=.inf", "`--model.loss.bell_sigma` must be above 0, but is inf"),
        ("--data.seed=-1", "`--data.seed` must be 0 or more, but is -1"),
        ("--seed_everything=-1", "`--seed_everything` must be 0 or more and below 2^32, but is -1"),
        ("--model.dropout=2", "`--model.dropout` must be 0 or more and below 1, but is 2.0"),
        ("--model.output_dim=0", "`--model.output_dim` must be 1 or more, but is 0"),
        ("--patience=-1", "`--patience` must be 0 or more epochs, or null for never, but is -1"),
        ("--trainer.max_epochs=-5", "`max_epochs` must be a non-negative integer or -1"),
        ("--trainer.accelerator=tpux", "Available names are"),
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


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"embedding_dim": 0}, "1 or more"),
        ({"margin": -1.0}, "0 or more"),
        ({"dropout": 1.0}, "below 1"),
        ({"base": 2.0}, "between -1 and 1"),
        ({"beta": 0.0}, "above 0"),
        ({"alpha": float("nan")}, "above 0"),
    ],
)
def test_a_number_is_checked_before_any_file_is_read(setting, allowed):
    with pytest.raises(UsageError, match=allowed):
        SiameseModule(checkpoints={"audio": "nowhere.ckpt"}, **setting)


@pytest.mark.parametrize("stage", [ModalityModule, FusionModule, SiameseModule, FinalModule, JointModule])
def test_every_number_of_a_stage_has_a_range(stage):
    """One that is new to a stage cannot be forgotten: none takes NaN."""
    kinds = {name: parameter.annotation for name, parameter in inspect.signature(stage).parameters.items()}
    numbers = [name for name, kind in kinds.items() if kind in ("int", "float", "int | None")]
    own = {"modality": "audio"} if stage is ModalityModule else {}
    for name in numbers:
        if name == "crop":  # with the size of the frames, by the network
            continue
        with pytest.raises(UsageError, match=f"`--model.{name}` must be"):
            stage(**own, **{name: float("nan")})


def test_every_number_of_loss_and_data_has_a_range(tmp_path):
    for field in dataclasses.fields(RegressionTerms):
        if field.type == "float":
            with pytest.raises(UsageError, match=f"`--model.loss.{field.name}` must be"):
                RegressionTerms(**{field.name: float("inf")})
    for name, parameter in inspect.signature(FirstImpressionsDataModule).parameters.items():
        if parameter.annotation == "int":
            with pytest.raises(UsageError, match=f"`--data.{name}` must be"):
                FirstImpressionsDataModule(str(tmp_path), **{name: -1})
