"""A small synthetic set, prepared and trained once, for all tests that need one."""

import os
import shutil
import signal

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # tests share the cores, and so wait less

import pytest
import torch
from fake_sets import OPTIONS, make_set
from places import CONFIGS, HELPERS, OVERLAY, QUICK
from shared import copy_of, made_once

os.environ["COLUMNS"] = "300"  # what is printed is looked for in whole lines
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would its tests


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # tests share two cores; OpenMP threads that wait for each other cost seconds


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory):
    """An official layout of 60 clips of 1.5 s."""
    from apt_lightning.data.synthetic import synthesize

    def make(folder):
        synthesize(folder / "data", n_clips=60, seed=3, seconds=1.5, size=(256, 144), workers=1)

    return made_once(tmp_path_factory, "clips", make) / "data"


@pytest.fixture(scope="session")
def whole_store(clips_dir, tmp_path_factory):
    """Its feature store, which no test writes into."""
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.preparation.share import Options

    def make(folder):
        assert prepare(clips_dir, folder / "store", Options(workers=2)) == 0

    return made_once(tmp_path_factory, "store", make) / "store"


@pytest.fixture(scope="session")
def store_dir(whole_store, tmp_path_factory):
    """This worker's own copy of the store."""
    return shutil.copytree(whole_store, tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="session")
def chain(whole_store, tmp_path_factory):
    """All stages, trained for one epoch of two batches by `apt run`."""
    from apt_lightning.experiments.run_settings import RunSettings
    from apt_lightning.experiments.runner import run

    def make(folder):
        store = str(shutil.copytree(whole_store, folder / "store"))
        run(RunSettings(store, str(folder / "run"), stages=str(CONFIGS), overlay=str(OVERLAY), options=QUICK))

    return made_once(tmp_path_factory, "chain", make) / "run"


@pytest.fixture(scope="session")
def feature_run(tmp_path_factory):
    """All stages, trained as `chain` on a store of 160 clips of synthetic feature vectors without media."""
    import numpy as np

    from apt_lightning.common.traits import TRAITS
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.store.precomputed import put_features
    from apt_lightning.data.store.reader import Store
    from apt_lightning.data.synthetic.features import synthetic_features
    from apt_lightning.experiments.run_settings import RunSettings
    from apt_lightning.experiments.runner import run

    def make(folder):
        drawn = synthetic_features(160, seed=1)
        names = [f"{source:04d}.{i:03d}.mp4" for i, source in enumerate(drawn.source)]
        rows = zip(names, drawn.split, drawn.labels, strict=True)
        lines = [",".join(["clip", "split", *TRAITS])]
        lines += [",".join([name, split, *map(repr, labels.tolist())]) for name, split, labels in rows]
        (folder / "clips.csv").write_text("\n".join(lines) + "\n")
        prepare(folder / "clips.csv", folder / "store")
        for modality, values in drawn.features.items():
            np.savez(folder / f"{modality}.npz", features=values, names=names)
            put_features(Store.open(folder / "store"), modality, str(folder / f"{modality}.npz"), None)
        run(RunSettings(str(folder / "store"), str(folder / "run"), stages=str(CONFIGS), options=QUICK))

    return made_once(tmp_path_factory, "features", make) / "run"


@pytest.fixture(scope="module")
def own_run(feature_run, tmp_path_factory):
    """A copy of `feature_run` and its store, for a module that adds to it."""
    return copy_of(feature_run.parent, tmp_path_factory.mktemp("own") / "features") / "run"


@pytest.fixture
def fake_set(tmp_path, monkeypatch):
    """The CSV of six clips that `fake_extract` reads, of which two are left out and one has no sound."""
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    (tmp_path / "data").mkdir()
    return make_set(tmp_path / "data", [{}, {"do": "no audio"}, {"do": "unreadable"}, {}, None, {}])


@pytest.fixture
def fake_store(fake_set, tmp_path):
    """Its store, open."""
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.store.reader import Store

    prepare(fake_set, tmp_path / "store", OPTIONS)
    return Store.open(tmp_path / "store")
