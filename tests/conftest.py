"""A small synthetic set, prepared and trained once, for all tests that need one."""

import os
import signal

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # tests share the cores, and so wait less

import pytest
import torch
from places import CONFIGS, OVERLAY, QUICK

os.environ["COLUMNS"] = "300"  # what is printed is looked for in whole lines
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would its tests


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # tests share two cores; OpenMP threads that wait for each other cost seconds


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory):
    """An official layout of 60 clips of 1.5 s."""
    from apt_lightning.data.synthetic import synthesize

    folder = tmp_path_factory.mktemp("synthetic") / "data"
    synthesize(folder, n_clips=60, seed=3, seconds=1.5, size=(256, 144), workers=1)
    return folder


@pytest.fixture(scope="session")
def store_dir(clips_dir, tmp_path_factory):
    """Its feature store."""
    from apt_lightning.data.preparation.prepare import prepare
    from apt_lightning.data.preparation.share import Options

    folder = tmp_path_factory.mktemp("store") / "store"
    assert prepare(clips_dir, folder, Options(workers=2)) == 0
    return folder


@pytest.fixture(scope="session")
def chain(store_dir, tmp_path_factory):
    """All stages, trained for one epoch of two batches by `apt run`."""
    from apt_lightning.experiments.run_settings import RunSettings
    from apt_lightning.experiments.runner import run

    folder = tmp_path_factory.mktemp("runs") / "run"
    run(RunSettings(store=str(store_dir), out=str(folder), stages=str(CONFIGS), overlay=str(OVERLAY), options=QUICK))
    return folder


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

    folder = tmp_path_factory.mktemp("features")
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
    out = folder / "run"
    run(RunSettings(store=str(folder / "store"), out=str(out), stages=str(CONFIGS), options=QUICK))
    return out
