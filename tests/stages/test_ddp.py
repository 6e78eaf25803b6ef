"""Several processes that train together against one process: gradients, files, features and predictions."""

import csv
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from forked import START, command, join, rank_environments
from lightning.pytorch import Callback, Trainer, seed_everything
from places import CONFIGS, QUICK, ROOT

from apt_lightning.common.errors import UsageError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.loading.datamodule import FirstImpressionsDataModule
from apt_lightning.data.loading.dataset import ClipDataset
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.precomputed import put_features
from apt_lightning.data.store.reader import Store
from apt_lightning.data.synthetic.features import synthetic_features
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.experiments.plan import run_units
from apt_lightning.experiments.run_settings import RunSettings
from apt_lightning.experiments.runner import run
from apt_lightning.stages import frozen as features
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.joint import JointModule
from apt_lightning.stages.load import load
from apt_lightning.stages.metric import MetricTerms
from apt_lightning.stages.modality import ModalityModule
from apt_lightning.stages.siamese import SiameseModule
from apt_lightning.training.options import TRAINER_DEFAULTS

N_CLIPS = 1300
"""Three files of frozen features."""
BATCH = 64
"""Clips of all processes together."""


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A store of feature vectors, of which some clips lack a modality, and stages 1 and 2 trained on it."""
    folder = tmp_path_factory.mktemp("ddp")
    drawn = synthetic_features(N_CLIPS, seed=2)
    names = [f"{source:04d}.{i:04d}.mp4" for i, source in enumerate(drawn.source)]
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["clip", "split", *TRAITS])
        writer.writerows([n, s, *v.tolist()] for n, s, v in zip(names, drawn.split, drawn.labels, strict=True))
    prepare(folder / "clips.csv", folder / "store")
    for i, (modality, values) in enumerate(drawn.features.items()):
        kept = np.arange(N_CLIPS) % 7 != i
        np.savez(folder / f"{modality}.npz", features=values[kept], names=np.array(names)[kept])
        put_features(Store.open(folder / "store"), modality, str(folder / f"{modality}.npz"), None)
    units = [unit for unit in run_units() if unit.name.startswith("stage1") or unit.name == "stage2"]
    run(RunSettings(str(folder / "store"), str(folder / "run"), stages=str(CONFIGS), options=QUICK), units)
    return folder


def checkpoints(folder):
    base = folder / "run" / "seed42"
    return {"checkpoints": {m: str(base / f"stage1_{m}" / "best.ckpt") for m in ("audio", "visual", "text")}}


class Joint(JointModule):
    """Without dropout, whose draws differ between processes."""

    def on_train_start(self):
        self.network.siamese.layers[2].p = 0.0


MODULES = {
    "stage 1": lambda **_: ModalityModule("audio"),
    "stage 2": FusionModule,
    "stage 1, metric": lambda **_: ModalityModule("audio", metric_weight=1.0),
    "joint": lambda **_: Joint(metric=MetricTerms(pairs="across", other_sources=True)),
    "joint, encoders in parts": lambda **_: Joint(metric=MetricTerms("multi_similarity"), encoder_batch=9),
    "stage 3": lambda **paths: SiameseModule(dropout=0.0, **paths),
    "stage 3, all anchors": lambda **paths: SiameseModule(dropout=0.0, anchors="all", denominator="anchors", **paths),
    "stage 3, triplet": lambda **paths: SiameseModule(dropout=0.0, loss="triplet", **paths),
}


class Gradients(Callback):
    """Keeps the gradients of the first step."""

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def one_step(folder, world):
    """Train every module for one step in float64; gradients, and what was logged."""
    torch.set_num_threads(1)
    found = {}
    for name, make in MODULES.items():
        seed_everything(1, verbose=False)
        keep = Gradients()
        trainer = Trainer(
            **TRAINER_DEFAULTS
            | {"devices": world, "strategy": "ddp" if world > 1 else "auto", "accelerator": "cpu"}
            | {"precision": "64-true", "max_epochs": 1, "limit_train_batches": 1, "callbacks": [keep]},
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
        trainer.fit(
            make(**checkpoints(folder)), datamodule=FirstImpressionsDataModule(str(folder / "store"), BATCH // world)
        )
        found[name] = keep.found, {key: float(value) for key, value in trainer.callback_metrics.items()}
    return found


def worker(folder, world, environment):
    os.environ |= environment
    torch.save(one_step(folder, world), folder / f"{world}.{environment['LOCAL_RANK']}.pt")


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_gradients_and_figures_are_those_of_one_process(vectors, world):
    processes = [START.Process(target=worker, args=(vectors, world, own)) for own in rank_environments(world)]
    for process in processes:
        process.start()
    whole = one_step(vectors, 1)
    join(processes)
    ranks = [torch.load(vectors / f"{world}.{rank}.pt") for rank in range(world)]
    for name in MODULES:
        gradients, metrics = whole[name]
        assert gradients and all(value.abs().sum() > 0 for key, value in gradients.items() if "missing" not in key)
        for found, logged in (rank[name] for rank in ranks):
            assert found.keys() == gradients.keys()
            for key, value in gradients.items():
                torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)
            assert logged == pytest.approx(metrics, rel=1e-6), name


def launched(words):
    """A command on two processes, of which Lightning starts the second."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "apt_lightning", *words], cwd=ROOT, env=environment, check=True)


def joined(words):
    """A command on two processes, which something like ``torchrun`` starts."""
    processes = [START.Process(target=command, args=(words, os.devnull, own)) for own in rank_environments(2)]
    for process in processes:
        process.start()
    join(processes)


TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


@pytest.mark.parametrize("start", [joined, pytest.param(launched, marks=pytest.mark.slow)])
def test_fit_on_two_processes_writes_what_one_would(vectors, tmp_path, start):
    frozen = vectors / "store" / "frozen"
    alone = {path.relative_to(frozen): np.load(path) for path in frozen.rglob("*.npy")}
    for path in alone:
        (frozen / path).unlink()
    inputs = [f"--model.{name}={path}" for name, path in checkpoints(vectors).items()]
    common = [f"--config={CONFIGS / 'stage3.yaml'}", f"--data.store={vectors / 'store'}", f"--run_dir={tmp_path}"]
    start(["fit", *common, *QUICK, *inputs, *TWO])
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "embeddings_validation.npz"} <= names
    assert not [name for name in names if "tmp" in name or name.startswith("best-")]
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0"]
    written = {path.relative_to(frozen): np.load(path) for path in frozen.rglob("*.npy")}
    assert len(written) == 3
    assert all(np.array_equal(values, alone[path]) for path, values in written.items())
    positions = FirstImpressionsDataModule(str(vectors / "store"))
    positions.setup("validate")
    assert len(np.load(tmp_path / "embeddings_validation.npz")["clips"]) == len(positions.positions("validation"))


def test_predictions_of_two_processes_are_those_of_one(vectors):
    folder = vectors / "run" / "seed42" / "stage2"
    alone = read_predictions(folder / "predictions_test.csv")
    (folder / "predictions_test.csv").unlink()
    flags = [f"--config={CONFIGS / 'stage2.yaml'}", f"--data.store={vectors / 'store'}", f"--run_dir={folder}"]
    joined(["test", *flags, *QUICK, *TWO])
    together = read_predictions(folder / "predictions_test.csv")
    assert together.clips == alone.clips
    np.testing.assert_allclose(together.predicted, alone.predicted, rtol=0, atol=2e-6)


def test_each_process_computes_its_share_of_the_frozen_features(tmp_path, vectors, monkeypatch):
    encoders = load(str(vectors / "run" / "seed42" / "stage2" / "best.ckpt")).encoders
    store = Store.open(vectors / "store")
    written, thread = [], threading.local()
    replacing = features.replacing

    def recorded(file):
        if file.name != features.JOINED:
            written.append((thread.rank, file.name))
        return replacing(file)

    monkeypatch.setattr(features, "replacing", recorded)
    together = threading.Barrier(2)

    def rank_features(rank):
        thread.rank = rank
        cpu = torch.device("cpu")
        data = (lambda name: ClipDataset(store, [name]), tmp_path, "", cpu, torch.no_grad)
        return features.frozen_features(encoders, *data, rank, 2, together.wait)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(rank_features, range(2))
    assert sorted(set(written)) == [(0, "000000000.npy"), (0, "000001024.npy"), (1, "000000512.npy")]
    assert len(written) == 9
    every = torch.arange(N_CLIPS)
    assert torch.equal(one[every], other[every])
    assert one[every].shape == (N_CLIPS, 3, 256)
    assert torch.equal(one[every].abs().sum(2) > 0, torch.from_numpy(np.array(store.present)))
    assert [path.name for path in tmp_path.glob("*/*.npy")] == ["features.npy"] * 3
    monkeypatch.setattr(features, "locked", None)  # what is there is only read
    again = features.frozen_features(
        encoders, lambda name: ClipDataset(store, [name]), tmp_path, "", torch.device("cpu"), torch.no_grad
    )
    assert torch.equal(again[every], one[every])


def test_run_refuses_to_be_one_of_several_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UsageError, match="isolate"):
        run(RunSettings(str(tmp_path), str(tmp_path / "run")))
