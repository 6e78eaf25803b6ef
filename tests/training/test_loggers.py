"""W&B without an account and TensorBoard, by one flag each; metrics.csv always."""

import csv

import pytest
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAIT_CODES
from apt_lightning.experiments.plan import run_units


def fit(stage, folder, store_dir, chain, *flags):
    base = chain / "seed42"
    needs = next(unit for unit in run_units() if unit.name == "stage3").inputs(base)
    words = [f"--config={CONFIGS / stage}.yaml", f"--run_dir={folder}", f"--data.store={store_dir}", *QUICK]
    return main(["fit", *words, *(needs if stage == "stage3" else []), *flags])


def test_wandb_offline_needs_no_account_and_warns_of_nothing(chain, store_dir, tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert fit("stage3", tmp_path, store_dir, chain, "--log_to=[wandb]") == 0
    assert not [str(warning.message) for warning in recwarn if not issubclass(warning.category, DeprecationWarning)]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    (row,) = csv.DictReader((tmp_path / "metrics.csv").open())
    assert float(row["val/loss"]) > 0


def test_tensorboard_holds_figures_settings_and_the_picture(chain, store_dir, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert fit("stage3", tmp_path, store_dir, chain, "--log_to=[tensorboard]") == 0
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "val/loss" in events.Tags()["scalars"]
    assert "validation/retrieval/text_summary" in events.Tags()["tensors"]
    assert {f"validation/embeddings_{trait}" for trait in TRAIT_CODES} <= set(events.Tags()["images"])
