"""Features made elsewhere as feature sets: every form, names with and without their ending, and what is refused."""

import re

import numpy as np
import pytest

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.store.reader import Store

NAMES = [f"c{i}.mp4" for i in range(4)]
RNG = np.random.default_rng(3)
STEPS = {name: RNG.normal(size=(1 + i, 5)).astype(np.float32) for i, name in enumerate(NAMES[:3])}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    lines = [f"clip,source,split,{','.join(TRAITS)},transcript"]
    lines += [f"{name},s{i},train,0.5,0.5,0.5,0.5,0.5,some words" for i, name in enumerate(NAMES)]
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    prepare(folder / "clips.csv", folder / "store")
    return folder / "store"


def folder_of(path, steps=STEPS, ending=".npy"):
    path.mkdir()
    for name, values in steps.items():
        np.save(path / f"{name.removesuffix('.mp4')}{ending}", values)
    return path


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in STEPS.items():
            file[f"train/{name}"] = values
    return path


def parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    clips = [name for name, values in STEPS.items() for _ in values]
    pq.write_table(pa.table({"clip": clips, "values": [row.tolist() for v in STEPS.values() for row in v]}), path)
    return path


@pytest.mark.parametrize(
    "make", [lambda p: folder_of(p / "f"), lambda p: hdf5(p / "x.h5"), lambda p: parquet(p / "x.parquet")]
)
def test_sequences_of_every_form(store, tmp_path, make, capsys):
    assert main(["features", str(store), "visual", str(make(tmp_path)), "--name", "mine"]) == 1
    assert "3 of 4 clips" in (told := capsys.readouterr().out) and "lack mine from now on: c3.mp4" in told
    found = Store.open(store).feature_set("visual", "mine")
    for name, (start, end) in zip(NAMES, found.spans(NAMES), strict=True):
        np.testing.assert_array_equal(found.values[start:end, 0], STEPS.get(name, np.zeros((0, 5))))
    assert main(["features", str(store)]) == 0
    assert re.search(r"visual\s.*mine\s.*3 of 4\s.*6 x 1 x 5 float32", capsys.readouterr().out)
    assert main(["features", str(store), "visual", "--name", "mine", "--remove"]) == 0
    assert Store.open(store).sets("visual") == {}


def test_vector_is_a_sequence_of_one_and_half_precision_stays(store, tmp_path):
    values = RNG.normal(size=(4, 3)).astype(np.float16)
    np.save(tmp_path / "v.npy", values)
    (tmp_path / "n.txt").write_text("\n".join(name.removesuffix(".mp4") for name in NAMES))
    words = [str(tmp_path / "v.npy"), "--names", str(tmp_path / "n.txt"), "--name", "vectors"]
    assert main(["features", str(store), "audio", *words]) == 0
    found = Store.open(store).feature_set("audio", "vectors")
    assert found.values.dtype == np.float16 and found.offsets.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found.values[:, 0], values)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"c0": np.array([[1.0, np.nan]])}, r"c0\.mp4, step 0: holds a number that is no finite"),
        (
            {"c0": np.ones((2, 3)), "c1": np.ones((2, 4))},
            r"c1\.mp4 has steps of \(1, 4\) float32, but c0\.mp4 of",
        ),
        ({"c0": np.ones(3), "c0.mp4": np.ones(3)}, r"c0\.mp4 is given twice"),
        ({"other": np.ones(3)}, r"none of its 1 names is a clip"),
        ({"c0": np.ones((1, 1, 1, 1))}, r"expected numbers \(D,\), \(T, D\) or \(T, L, D\)"),
        ({"c0": np.ones((0, 3))}, r"no clip has anything"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(store, tmp_path, steps, message, capsys):
    path = tmp_path / "bad"
    path.mkdir()
    for name, values in steps.items():
        np.save(path / f"{name}.npy", values)
    assert main(["features", str(store), "visual", str(path), "--name", "bad"]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert Store.open(store).sets("visual") == {}
