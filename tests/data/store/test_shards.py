"""Shards under any interleaving of writes and cuts."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from apt_lightning.common.errors import StoreError
from apt_lightning.data.store.rows import newest_rows, shard_rows
from apt_lightning.data.store.writer import ShardWriter


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
