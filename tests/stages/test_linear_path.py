"""The linear path starts where ridge is, is trained from there, and lies in the checkpoint."""

import numpy as np
import pytest
import torch
from places import CONFIGS, QUICK

from apt_lightning.cli import main
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.store.reader import Store
from apt_lightning.evaluation.baselines import ridge
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.stages.load import load


def fit(feature_run, folder, stage, *flags):
    base = feature_run / "seed42"
    firsts = {m: str(base / f"stage1_{m}" / "best.ckpt") for m in ("audio", "visual", "text")}
    inputs = (
        [f"--model.checkpoints={firsts}"]
        if stage == "stage2"
        else [f"--model.fusion_ckpt={base / 'stage2/best.ckpt'}", f"--model.siamese_ckpt={base / 'stage3/best.ckpt'}"]
    )
    arguments = [f"--config={CONFIGS / stage}.yaml", f"--data.store={feature_run.parent / 'store'}", *inputs]
    assert main(["fit", *arguments, f"--run_dir={folder}", "--model.linear_path=true", *QUICK, *flags]) == 0
    return folder / "best.ckpt"


@pytest.mark.parametrize("stage", ["stage2", "stage4"])
def test_scores_start_at_those_of_ridge_on_the_same_inputs(feature_run, tmp_path, stage):
    still = ("--model.lr=1e-12", "--model.final_lr=1e-12", "--model.weight_decay=0")
    checkpoint = fit(feature_run, tmp_path / "run", stage, *still)
    module = load(checkpoint)
    store = Store.open(feature_run.parent / "store")
    batch = ClipDataset(store, module.modalities)[torch.arange(len(store.clips))]
    with torch.inference_mode():
        inputs = module.network.inputs(module.encode(batch), batch.present).double().numpy()
    split = np.array([clip.split for clip in store.clips])
    train, held_out = split == "train", split == "validation"
    labels = batch.traits.double().numpy()
    expected, _ = ridge(inputs[train], labels[train], inputs[held_out], labels[held_out], inputs[split == "test"])
    assert main(["test", f"--ckpt_path={checkpoint}", f"--data.store={store.path}", f"--run_dir={tmp_path / 't'}"]) == 0
    table = read_predictions(tmp_path / "t" / "predictions_test.csv")
    names = [clip.name for clip in store.clips if clip.split == "test"]
    order = [names.index(clip) for clip in table.clips]
    assert table.predicted == pytest.approx(expected[order], abs=2e-4)
    assert np.abs(table.predicted - labels[train].mean(axis=0)).max() > 0.02


def test_it_is_trained_and_the_nets_output_joins_in(feature_run, tmp_path):
    start = load(fit(feature_run, tmp_path / "a", "stage2", "--model.lr=1e-12", "--model.final_lr=1e-12"))
    module = load(fit(feature_run, tmp_path / "b", "stage2"))
    n_hidden = module.network.layers[-2].out_features
    assert (start.head.weight[:, :n_hidden].abs().max() < 1e-9) and module.head.weight[:, :n_hidden].abs().max() > 1e-4
    assert not torch.equal(module.head.weight[:, n_hidden:], start.head.weight[:, n_hidden:])
    torch.testing.assert_close(module.network.path.centre, start.network.path.centre)
