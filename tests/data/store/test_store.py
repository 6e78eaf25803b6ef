"""Shards under any interleaving of writes and cuts; the reader against what was written."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fake_extract import expected, write_clip
from fake_sets import OPTIONS, make_set
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from places import HELPERS, ROOT

from apt_lightning.common.errors import DataError, StoreError, UsageError
from apt_lightning.data.faults import FAULTS, Outcome
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.precomputed import put_features, remove_features
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.rows import newest_rows, shard_rows
from apt_lightning.data.store.writer import ShardWriter


@pytest.fixture(autouse=True)
def _fake_extract_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return make_set(tmp_path / "data", [{}, {"do": "no audio"}, {"do": "unreadable"}, {}, None, {}])


def row_of(name, revision=0):
    return {
        "name": name,
        "status": "ok",
        "faults": [],
        "sha256": "",
        "size": 0,
        "mtime": 0,
        "duration": 1.0,
        "revision": revision,
    }


class ShardMachine(RuleBasedStateMachine):
    """Appends, kills that tear any file at any byte after the last commit, power cuts, and openings."""

    @initialize()
    def start(self):
        self.root = tempfile.TemporaryDirectory()
        self.folder = Path(self.root.name) / "shards" / "0-0"
        self.writer = ShardWriter(self.folder, "key")
        self.model = {}
        self.count = 0

    @rule(audio=st.booleans(), sizes=st.lists(st.integers(1, 50), max_size=6), name=st.integers(0, 5))
    def append(self, audio, sizes, name):
        self.count += 1
        rng = np.random.default_rng(self.count)
        functionals = rng.normal(size=88).astype(np.float32) if audio else None
        frames = [rng.bytes(size) for size in sizes]
        self.writer.append(row_of(str(name), self.count), functionals, frames, [float(k) for k in range(len(sizes))])
        self.model[str(name)] = (functionals, frames)

    @rule(audio=st.binary(max_size=500), frames=st.binary(max_size=50), line=st.binary(max_size=40))
    def killed_while_writing(self, audio, frames, line):
        self.writer.close()
        for name, data in (
            ("audio.f4", audio),
            ("frames.bin", frames),
            ("rows.jsonl", line.replace(b"\n", b"")),
        ):
            with open(self.folder / name, "ab") as file:
                file.write(data)
        self.writer = ShardWriter(self.folder, "key")

    @rule(data=st.data())
    def torn_last_line(self, data):
        """The last commit itself is undone by losing any part of its line."""
        lines = (self.folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
        if not lines or len({json.loads(line)["name"] for line in lines}) != len(lines):
            return  # an older row of the clip would come back: tested by `superseded`
        self.writer.close()
        cut = data.draw(st.integers(1, len(lines[-1])))
        os.truncate(self.folder / "rows.jsonl", sum(map(len, lines)) - cut)
        del self.model[json.loads(lines[-1])["name"]]
        self.writer = ShardWriter(self.folder, "key")

    @rule()
    def reopened(self):
        self.writer.close()
        self.writer = ShardWriter(self.folder, "key")

    @invariant()
    def holds_what_was_committed(self):
        if not hasattr(self, "model"):
            return
        rows = newest_rows(self.folder.parents[1], "key")
        assert set(rows) == set(self.model)
        audio = (self.folder / "audio.f4").read_bytes()
        frames = (self.folder / "frames.bin").read_bytes()
        for name, (functionals, pictures) in self.model.items():
            row = rows[name][1]
            assert [frames[o : o + n] for o, n, _ in row["frames"]] == pictures
            if functionals is None:
                assert row["audio"] is None
            else:
                assert audio[row["audio"] * 352 : (row["audio"] + 1) * 352] == functionals.tobytes()

    def teardown(self):
        if hasattr(self, "writer"):
            self.writer.close()
            self.root.cleanup()


TestShards = ShardMachine.TestCase
TestShards.settings = hypothesis_settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_newest_row_wins_and_other_settings_do_not_count(tmp_path):
    for shard, key, revision in (("0-0", "a", 1), ("0-1", "a", 0), ("1-0", "b", 7)):
        with ShardWriter(tmp_path / "shards" / shard, key) as writer:
            writer.append(row_of("clip", revision), None, [], [])
    assert newest_rows(tmp_path, "a")["clip"][0] == "0-0"


def test_rows_whose_data_were_lost_are_dropped_and_never_come_back(tmp_path):
    folder = tmp_path / "shards" / "0-0"
    with ShardWriter(folder, "key") as writer:
        for name in "abc":
            writer.append(row_of(name), np.ones(88, np.float32), [name.encode() * 9], [0.0])
    os.truncate(folder / "frames.bin", 20)
    assert [row["name"] for row in shard_rows(folder)] == ["a", "b"]
    with ShardWriter(folder, "key") as writer:
        writer.append(row_of("d"), None, [b"x" * 50], [0.0])
    assert [row["name"] for row in shard_rows(folder)] == ["a", "b", "d"]


def test_full_disk_leaves_the_shard_as_before(tmp_path, monkeypatch):
    folder = tmp_path / "shards" / "0-0"
    with ShardWriter(folder, "key") as writer:
        writer.append(row_of("a"), np.ones(88, np.float32), [b"first"], [0.0])
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        real, left = os.write, [100]

        def almost_full(file, view):
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            written = real(file, view[: left[0]])
            left[0] -= written
            return written

        monkeypatch.setattr(os, "write", almost_full)
        with pytest.raises(OSError, match="No space left"):
            writer.append(row_of("b"), np.ones(88, np.float32), [b"second" * 5], [0.0])
        monkeypatch.undo()
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
        writer.append(row_of("b"), None, [b"second"], [0.0])
    assert [row["name"] for row in shard_rows(folder)] == ["a", "b"]


def test_two_writers_of_one_shard_exclude_each_other(tmp_path):
    folder = tmp_path / "shards" / "0-0"
    code = (
        "import sys; from pathlib import Path; from apt_lightning.data.store.writer import ShardWriter\n"
        f"print('asks', flush=True); ShardWriter(Path({str(folder)!r}), 'key'); print('open', flush=True)"
    )
    with ShardWriter(folder, "key"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert other.stdout.readline() == b"asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1)
    assert other.communicate(timeout=120)[0] == b"open\n"


def test_damaged_middle_line_is_named(tmp_path):
    folder = tmp_path / "shards" / "0-0"
    with ShardWriter(folder, "key") as writer:
        writer.append(row_of("a"), None, [], [])
    with open(folder / "rows.jsonl", "ab") as file:
        file.write(b"not json\n")
    with pytest.raises(StoreError, match=r"rows.jsonl line 2 is damaged"):
        newest_rows(tmp_path, "key")


def test_round_trip(data, tmp_path):
    assert prepare(data, tmp_path / "store", OPTIONS) == 0
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


def test_store_travels_to_loader_workers(data, tmp_path):
    prepare(data, tmp_path / "store", OPTIONS)
    store = Store.open(tmp_path / "store")
    frames = store.frames(0)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.frames(0) == frames and copy.fingerprint == store.fingerprint


def test_open_says_what_to_do(data, tmp_path):
    with pytest.raises(StoreError, match="make one with `apt prepare DATA"):
        Store.open(tmp_path / "none")
    prepare(data, tmp_path / "store", OPTIONS)
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


def test_flipped_byte_is_found(data, tmp_path):
    prepare(data, tmp_path / "store", OPTIONS)
    file = next(f for f in (tmp_path / "store" / "shards").glob("*/frames.bin") if f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    assert len(Store.open(tmp_path / "store").damaged()) == 1


def test_fingerprint_follows_content_only(data, tmp_path):
    prepare(data, tmp_path / "a", OPTIONS)
    prepare(data, tmp_path / "b", Options(extract=OPTIONS.extract, workers=1))
    first = Store.open(tmp_path / "a").fingerprint
    assert Store.open(tmp_path / "b").fingerprint == first
    data.write_text(data.read_text().replace("train,0.3", "train,0.4"))
    prepare(data, tmp_path / "b", OPTIONS)
    labels = Store.open(tmp_path / "b").fingerprint
    write_clip(data.parent / "clip0000.json", seed=99, other=True)
    prepare(data, tmp_path / "b", OPTIONS)
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


def test_some_mutants(store):
    check_mutants(store, 200, seed=1)


@pytest.mark.slow
def test_many_mutants(store):
    check_mutants(store, 2000, seed=2)


# Features made elsewhere


@pytest.fixture
def store(data, tmp_path):
    prepare(data, tmp_path / "store", OPTIONS)
    return Store.open(tmp_path / "store")


def test_features_in_place_and_back(store, tmp_path):
    names = ["clip0005.json", "clip0000.json", "nobody.json", "clip0002.json"]
    array = np.arange(4 * 7, dtype=np.float64).reshape(4, 7)
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    placed = put_features(store, "visual", str(tmp_path / "x.npy"), str(tmp_path / "names.txt"))
    assert placed.used == 3 and placed.unknown == ["nobody.json"]
    assert placed.missing == ["clip0001.json", "clip0003.json", "clip0004.json"]
    new = Store.open(store.path)
    assert new.kinds["visual"] == "vector" and new.fingerprint != store.fingerprint
    # clip 2 cannot be decoded, but given features need no decoding; clip 4 has neither
    assert new.present[:, 1].tolist() == [True, False, True, False, False, True]
    assert new.clips[2].status == "degraded" and new.clips[4].status == "left out"
    vectors = new.vectors("visual")
    assert vectors.dtype == np.float32 and vectors.shape == (6, 7)
    np.testing.assert_array_equal(vectors[[5, 0, 2]], array[[0, 1, 3]])
    assert not vectors[[1, 3, 4]].any()
    assert remove_features(new, "visual") and not remove_features(new, "visual")
    assert Store.open(store.path).fingerprint == store.fingerprint
    assert list((store.path / "features").iterdir()) == []


def test_features_of_all_clips_are_memory_mapped(store, tmp_path):
    names = np.array([clip.name for clip in store.clips])
    array = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.savez(tmp_path / "x.npz", features=array, names=names)
    put_features(store, "text", str(tmp_path / "x.npz"), None)
    vectors = Store.open(store.path).vectors("text")
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, array)


def test_features_from_csv(store, tmp_path):
    (tmp_path / "x.csv").write_text("a,clip,b\n1,clip0000.json,2\n3,clip0001.json,4.5\n")
    put_features(store, "audio", str(tmp_path / "x.csv"), None)
    np.testing.assert_array_equal(Store.open(store.path).vectors("audio")[:2], [[1, 2], [3, 4.5]])


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
def test_bad_features_are_refused(store, tmp_path, array, names, match):
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "names.txt").write_text("\n".join(names))
    with pytest.raises(DataError, match=match):
        put_features(store, "audio", str(tmp_path / "x.npy"), str(tmp_path / "names.txt"))
    assert Store.open(store.path).fingerprint == store.fingerprint


def test_pickled_features_are_refused(store, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled arrays are refused"):
        put_features(store, "audio", str(tmp_path / "x.npy"), None)
    with pytest.raises(UsageError, match="--names"):
        np.save(tmp_path / "y.npy", np.zeros((1, 2)))
        put_features(store, "audio", str(tmp_path / "y.npy"), None)


def test_read_without_our_code(store):
    """The example of docs/store.md, run as it stands there."""
    page = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert "apt_lightning" not in code
    found = {"STORE": str(store.path)}
    exec(code, found)
    for i, clip in enumerate(store.clips):
        if store.present[i, 0]:
            np.testing.assert_array_equal(found["audio"][clip.name], store.vectors("audio")[i])
        assert found["jpegs"].get(clip.name, []) == store.frames(i)
