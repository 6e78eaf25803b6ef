"""Features made elsewhere, in place of ours and back."""

import numpy as np
import pytest

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.data.store.precomputed import put_features, remove_features
from apt_lightning.data.store.reader import Store


def test_features_in_place_and_back(fake_store, tmp_path):
    names = ["clip0005.json", "clip0000.json", "nobody.json", "clip0002.json"]
    array = np.arange(4 * 7, dtype=np.float64).reshape(4, 7)
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    placed = put_features(fake_store, "visual", str(tmp_path / "x.npy"), str(tmp_path / "names.txt"))
    assert placed.used == 3 and placed.unknown == ["nobody.json"]
    assert placed.missing == ["clip0001.json", "clip0003.json", "clip0004.json"]
    new = Store.open(fake_store.path)
    assert new.kinds["visual"] == "vector" and new.fingerprint != fake_store.fingerprint
    # clip 2 cannot be decoded, but given features need no decoding; clip 4 has neither
    assert new.present[:, 1].tolist() == [True, False, True, False, False, True]
    assert new.clips[2].status == "degraded" and new.clips[4].status == "left out"
    vectors = new.vectors("visual")
    assert vectors.dtype == np.float32 and vectors.shape == (6, 7)
    np.testing.assert_array_equal(vectors[[5, 0, 2]], array[[0, 1, 3]])
    assert not vectors[[1, 3, 4]].any()
    assert remove_features(new, "visual") and not remove_features(new, "visual")
    assert Store.open(fake_store.path).fingerprint == fake_store.fingerprint
    assert list((fake_store.path / "features").iterdir()) == []


def test_features_of_all_clips_are_memory_mapped(fake_store, tmp_path):
    names = np.array([clip.name for clip in fake_store.clips])
    array = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.savez(tmp_path / "x.npz", features=array, names=names)
    put_features(fake_store, "text", str(tmp_path / "x.npz"), None)
    vectors = Store.open(fake_store.path).vectors("text")
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, array)


def test_features_from_csv(fake_store, tmp_path):
    (tmp_path / "x.csv").write_text("a,clip,b\n1,clip0000.json,2\n3,clip0001.json,4.5\n")
    put_features(fake_store, "audio", str(tmp_path / "x.csv"), None)
    np.testing.assert_array_equal(Store.open(fake_store.path).vectors("audio")[:2], [[1, 2], [3, 4.5]])


@pytest.mark.parametrize(
    ("array", "names", "match"),
    [
        (np.full((1, 2), np.nan), ["clip0000.json"], r"row 0 \(clip0000.json\), column 0: nan"),
        (np.full((1, 2), 1e300), ["clip0000.json"], "not a finite float32"),
        (np.zeros((2, 2)), ["clip0000.json"], "2 rows but 1 names"),
        (np.zeros((2, 2)), ["clip0000.json"] * 2, "stands in row 0 already"),
        (np.zeros(3), ["clip0000.json"], "expected numbers of shape"),
        (np.zeros((1, 2)), ["stranger"], "none of its 1 names"),
        (np.array([["a"]]), ["clip0000.json"], "expected numbers of shape"),
    ],
)
def test_bad_features_are_refused(fake_store, tmp_path, array, names, match):
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "names.txt").write_text("\n".join(names))
    with pytest.raises(DataError, match=match):
        put_features(fake_store, "audio", str(tmp_path / "x.npy"), str(tmp_path / "names.txt"))
    assert Store.open(fake_store.path).fingerprint == fake_store.fingerprint


def test_pickled_features_are_refused(fake_store, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled arrays are refused"):
        put_features(fake_store, "audio", str(tmp_path / "x.npy"), None)
    with pytest.raises(UsageError, match="--names"):
        np.save(tmp_path / "y.npy", np.zeros((1, 2)))
        put_features(fake_store, "audio", str(tmp_path / "y.npy"), None)
