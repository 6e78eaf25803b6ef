"""The reader against what was written, whatever happens to the files."""

import pickle

import numpy as np
import pytest
from fake_extract import expected, write_clip
from fake_sets import OPTIONS
from places import ROOT

from apt_lightning.common.errors import StoreError
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store


def test_round_trip(fake_set, tmp_path):
    assert prepare(fake_set, tmp_path / "store", OPTIONS) == 0
    store = Store.open(tmp_path / "store")
    assert [clip.name for clip in store.clips] == [f"clip{i:04d}.json" for i in range(6)]
    assert [clip.status for clip in store.clips] == ["ok", "degraded", "left out", "ok", "left out", "ok"]
    assert store.present.tolist() == [
        [True, True, True],
        [False, True, True],
        [False] * 3,
        [True, True, True],
        [False] * 3,
        [True, True, True],
    ]
    assert store.clips[3].traits[0] == 0.3 and store.clips[3].traits[1:] == (0.5,) * 4
    assert store.clips[3].source == "source1" and store.clips[3].split == "train"
    vectors = store.vectors("audio")
    assert vectors.shape == (6, 88) and vectors.dtype == np.float32
    for i, clip in enumerate(store.clips):
        if clip.status == "left out":
            assert not vectors[i].any() and store.frames(i) == []
            continue
        functionals, frames, times = expected(clip.path)
        np.testing.assert_array_equal(vectors[i], functionals if store.present[i, 0] else 0)
        assert store.frames(i) == frames and store.frame_times(i) == times
    assert store.kinds == {"audio": "functionals", "visual": "frames", "text": "tokens"}
    assert store.n_frames == 6 and store.frame_size == (140, 248)
    assert store.damaged() == []
    assert (store.text.ids[:, :2] > 1).all()
    for clip in store.clips:
        for fault in clip.faults:
            assert FAULTS[fault.code].outcome in Outcome and fault.clip == clip.name


def test_store_travels_to_loader_workers(fake_set, tmp_path):
    prepare(fake_set, tmp_path / "store", OPTIONS)
    store = Store.open(tmp_path / "store")
    frames = store.frames(0)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.frames(0) == frames and copy.fingerprint == store.fingerprint


def test_open_says_what_to_do(fake_set, tmp_path):
    with pytest.raises(StoreError, match="make one with `apt prepare DATA"):
        Store.open(tmp_path / "none")
    prepare(fake_set, tmp_path / "store", OPTIONS)
    rows = next(file for file in (tmp_path / "store").glob("shards/*/rows.jsonl") if file.stat().st_size)
    lines = rows.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(StoreError, match=r"unfinished, 1 of 6 clips to do; `apt prepare .*clips.csv .*store` goes on"):
        Store.open(tmp_path / "store")
    rows.write_bytes(b"".join(lines))
    (tmp_path / "store" / "text" / "meta.json").unlink()
    with pytest.raises(StoreError, match="unfinished"):
        Store.open(tmp_path / "store")
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(StoreError, match="version 99"):
        Store.open(tmp_path / "store")


def test_flipped_byte_is_found(fake_set, tmp_path):
    prepare(fake_set, tmp_path / "store", OPTIONS)
    file = next(f for f in (tmp_path / "store" / "shards").glob("*/frames.bin") if f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    assert len(Store.open(tmp_path / "store").damaged()) == 1


def test_fingerprint_follows_content_only(fake_set, tmp_path):
    prepare(fake_set, tmp_path / "a", OPTIONS)
    prepare(fake_set, tmp_path / "b", Options(extract=OPTIONS.extract, workers=1))
    first = Store.open(tmp_path / "a").fingerprint
    assert Store.open(tmp_path / "b").fingerprint == first
    fake_set.write_text(fake_set.read_text().replace("train,0.3", "train,0.4"))
    prepare(fake_set, tmp_path / "b", OPTIONS)
    labels = Store.open(tmp_path / "b").fingerprint
    write_clip(fake_set.parent / "clip0000.json", seed=99, other=True)
    prepare(fake_set, tmp_path / "b", OPTIONS)
    assert len({first, labels, Store.open(tmp_path / "b").fingerprint}) == 3


def mutate(data, rng):
    data = bytearray(data)
    match rng.integers(4):
        case 0:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        case 1:
            del data[rng.integers(len(data)) :]
        case 2:
            start = rng.integers(len(data))
            del data[start : start + rng.integers(1, 40)]
        case 3:
            digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
            data[rng.choice(digits)] = rng.integers(256) if rng.random() < 0.3 else ord("9")
    return bytes(data)


def check_mutants(store, n, seed):
    """Whatever happens to its text files, a store opens or says why not; never another error, never NaN."""
    rng = np.random.default_rng(seed)
    files = [store.path / "manifest.json", store.path / "index.jsonl", store.path / "text" / "meta.json"]
    files += [file for file in store.path.glob("shards/*/rows.jsonl") if file.stat().st_size]
    opened = refused = 0
    for _ in range(n):
        file = files[rng.integers(len(files))]
        before = file.read_bytes()
        file.write_bytes(mutate(before, rng))
        try:
            mutant = Store.open(store.path)
            assert np.isfinite(mutant.vectors("audio")).all()
            assert mutant.present.shape == (len(mutant), 3)
            [mutant.frames(i) for i in range(len(mutant))]
            opened += 1
        except StoreError:
            refused += 1
        file.write_bytes(before)
    assert opened and refused
    assert Store.open(store.path).fingerprint == store.fingerprint


def test_some_mutants(fake_store):
    check_mutants(fake_store, 200, seed=1)


@pytest.mark.slow
def test_many_mutants(fake_store):
    check_mutants(fake_store, 2000, seed=2)


def test_read_without_our_code(fake_store):
    """The example of docs/store.md, run as it stands there."""
    page = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert "apt_lightning" not in code
    found = {"STORE": str(fake_store.path)}
    exec(code, found)
    for i, clip in enumerate(fake_store.clips):
        if fake_store.present[i, 0]:
            np.testing.assert_array_equal(found["audio"][clip.name], fake_store.vectors("audio")[i])
        assert found["jpegs"].get(clip.name, []) == fake_store.frames(i)
