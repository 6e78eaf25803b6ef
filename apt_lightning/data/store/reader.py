"""Reader of the feature store, a folder of JSON lines and flat arrays (docs/store.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import StoreError
from apt_lightning.common.files import digest, file_digest, reading
from apt_lightning.data.faults import Fault
from apt_lightning.data.store.index import PREPARED, StoredClip, duplicates, needs_row, read_manifest
from apt_lightning.data.store.rows import (
    AUDIO,
    FRAMES,
    N_FUNCTIONALS,
    Row,
    newest_rows,
    read_lines,
    status_of,
)
from apt_lightning.data.store.sequences import FOLDER, FeatureSet, read_set, set_folder
from apt_lightning.data.store.text_table import TextTable, read_text_table
from apt_lightning.data.text.tokens import UNKNOWN

FloatArray = npt.NDArray[np.float32]


class Store:
    """Memory-mapped view of a finished feature store.

    Open it with :meth:`open`. Clips that were left out stay in :attr:`clips` with no modality present,
    so that every table can say how many clips it rests on. May be pickled into loader workers: each maps the
    files anew.

    Attributes:
        path: Folder of the store.
        manifest: Contents of ``manifest.json``.
        clips: All clips given, in index order.
        present: (N, M) bool, modality usable for this clip; columns in the order of :attr:`modalities`.
        kinds: Per modality what the store serves: audio ``functionals``, visual ``frames``, text ``tokens``;
            ``vector`` for features made elsewhere, in place of ours or under a name of their own; ``sequences`` for
            a modality that has nothing but feature sets of ``apt encode``.
        fingerprint: Hexadecimal digest over settings, labels, texts and every clip's features; equal for
            equal content, whoever wrote it and in how many runs.
    """

    path: Path
    manifest: dict[str, Any]
    clips: list[StoredClip]
    present: npt.NDArray[np.bool_]
    kinds: dict[str, str]
    fingerprint: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a finished store.

        Raises:
            StoreError: If it is absent, of another version, unfinished or damaged; the message says which
                command to run.
        """
        store = cls()
        store.path = Path(path)
        store.manifest = read_manifest(store.path)
        try:
            store._load()
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise StoreError(
                f"the store {store.path} is damaged ({type(error).__name__}: {error}); delete it and run "
                "`apt prepare DATA STORE`"
            ) from error
        return store

    def _load(self) -> None:
        again = f"`apt prepare {self.manifest['data']} {self.path}` goes on"
        index, seal_file = self.path / "index.jsonl", self.path / "text" / "meta.json"
        if not index.exists() or not seal_file.exists():
            raise StoreError(f"the store {self.path} is unfinished; {again}")
        entries = list(read_lines(index))
        seal = json.loads(seal_file.read_text(encoding="utf-8"))
        rows = newest_rows(self.path, self.manifest["key"])
        todo = sum(needs_row(entry) and entry["name"] not in rows for entry in entries)
        if todo or seal["index"] != file_digest(index):
            raise StoreError(f"the store {self.path} is unfinished, {todo} of {len(entries)} clips to do; {again}")
        self._precomputed = self._read_precomputed()
        self.kinds = PREPARED | dict.fromkeys(self._precomputed, "vector")
        encoded = dict.fromkeys(sorted(file.parents[1].name for file in self.path.glob(f"{FOLDER}/*/*/set.json")))
        self.kinds |= dict.fromkeys((name for name in encoded if name not in self.kinds), "sequences")
        found = [rows.get(entry["name"]) if needs_row(entry) else None for entry in entries]
        self._place(found)
        self._judge(entries, [None if at is None else at[1] for at in found], seal)

    def _place(self, found: list[tuple[str, Row] | None]) -> None:
        """Note where each clip's data lie: shard, row of audio.f4 (-1: none), spans of frames.bin."""
        self._shards = sorted({at[0] for at in found if at is not None})
        number = {shard: i for i, shard in enumerate(self._shards)}
        self._shard = np.array([-1 if at is None else number[at[0]] for at in found], np.int32)
        audio = [None if at is None else at[1]["audio"] for at in found]
        self._audio = np.array([-1 if row is None else row for row in audio], np.int64)
        frames = [[] if at is None else at[1]["frames"] for at in found]
        self._first = np.cumsum([0, *map(len, frames)])
        spans = [span for clip in frames for span in clip]
        self._spans = np.array([span[:2] for span in spans], np.int64).reshape(-1, 2)
        self._times = np.array([span[2] for span in spans], np.float64)

    def _judge(self, entries: list[Row], rows: list[Row | None], seal: Row) -> None:
        """Fill clips, present and fingerprint."""
        names = [entry["name"] for entry in entries]
        known = {modality: set(meta["names"]) for modality, meta in self._precomputed.items()}
        precomputed = [[name in known.get(modality, ()) for modality in self.modalities] for name in names]
        later: dict[str, list[Fault]] = {}
        sums = {name: row["sha256"] for name, row in zip(names, rows, strict=True) if row and row["sha256"]}
        for fault in (*duplicates(sums), *(Fault(*fault) for fault in seal["faults"])):
            later.setdefault(fault.clip, []).append(fault)
        self.clips = []
        for entry, row, elsewhere in zip(entries, rows, map(any, precomputed), strict=True):
            name = entry["name"]
            own = [Fault(code, name, detail) for code, detail in entry["faults"] + (row["faults"] if row else [])]
            faults = (*own, *later.get(name, ()))
            status = status_of(faults)
            if status == "left out" and elsewhere and all(fault.code != "quarantined" for fault in faults):
                status = "degraded"
            traits = tuple(np.nan if value is None else float(value) for value in entry["traits"])
            about = (entry["source"], entry["split"], entry["path"], traits, entry["transcript"])
            self.clips.append(StoredClip(name, *about, status, faults, entry["demographics"], entry.get("transcribed")))
        self.present = np.array(precomputed, bool).reshape(-1, len(self.modalities))
        spoken = (np.asarray(self.text.ids) > UNKNOWN).any(axis=1)
        ours = {"audio": self._audio >= 0, "visual": np.diff(self._first) > 0, "text": spoken}
        for modality, there in ours.items():
            if modality not in self._precomputed:
                self.present[:, self.columns([modality])[0]] = there
        for modality in (name for name, kind in self.kinds.items() if kind == "sequences"):
            spans = [self.feature_set(modality, name).spans(names) for name in self.sets(modality)]
            self.present[:, self.columns([modality])[0]] = (np.diff(spans, axis=-1) > 0).any(axis=(0, 2))
        self.present &= np.array([clip.status != "left out" for clip in self.clips], bool)[:, None]
        labelled = [{key: value for key, value in entry.items() if key != "path"} for entry in entries]
        self._contents = [row and row["content"] for row in rows]
        elsewhere_sums = {modality: meta["sha256"] for modality, meta in self._precomputed.items()}
        self.fingerprint = digest([self.manifest["key"], labelled, self._contents, seal["content"], elsewhere_sums])

    def _read_precomputed(self) -> dict[str, Row]:
        """Modality to the description of its features made elsewhere: ours in their order, then others by name."""
        files = {file.stem: file for file in sorted((self.path / "features").glob("*.json"))}
        described: dict[str, Row] = {}
        for modality in [*(m for m in PREPARED if m in files), *(m for m in files if m not in PREPARED)]:
            meta: Row = json.loads(files[modality].read_text(encoding="utf-8"))
            names = (self.path / "features" / meta["names"]).read_text(encoding="utf-8").split("\n")[:-1]
            described[modality] = meta | {"names": names}
        return described

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the columns of :attr:`present`: audio, visual, text, then others put there by ``apt features``."""
        return tuple(self.kinds)

    def columns(self, modalities: Sequence[str]) -> list[int]:
        """Columns of :attr:`present` of some modalities.

        Raises:
            StoreError: If the store has no such modality.
        """
        if unknown := [name for name in modalities if name not in self.kinds]:
            raise StoreError(
                f"{self.path} has no modality {unknown[0]!r}, only {', '.join(self.kinds)};"
                f" `apt features {self.path} {unknown[0]} ARRAY --names FILE` adds one"
            )
        return [self.modalities.index(name) for name in modalities]

    @property
    def synthetic(self) -> bool:
        """Whether the clips were drawn by ``apt synthesize``; no score then says anything about people."""
        return bool(self.manifest.get("synthetic"))

    def sets(self, modality: str) -> dict[str, str]:
        """Names of the feature sets of a modality, each with the digest of its specification."""
        files = sorted(self.path.glob(f"{FOLDER}/{modality}/*/set.json"))
        return {file.parent.name: read_set(file.parent).key for file in files}

    def feature_set(self, modality: str, name: str) -> FeatureSet:
        """A feature set.

        Raises:
            StoreError: If it is absent or damaged.
        """
        return read_set(set_folder(self.path, modality, name))

    @property
    def n_frames(self) -> int:
        """Frames asked for per clip; a clip can have fewer."""
        return int(self.manifest["settings"]["n_frames"])

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of every stored frame in pixels."""
        height, width = self.manifest["settings"]["frame_size"]
        return int(height), int(width)

    @cached_property
    def text(self) -> TextTable:
        """Token ids, lengths, words and word vectors, in index order."""
        return read_text_table(self.path / "text")

    @property
    def text_source(self) -> dict[str, Any]:
        """Where the word vectors are from: a file with its digest, or training on the transcripts."""
        file = self.path / "text" / "source.json"
        with reading(file, "run `apt prepare` again"):
            return dict(json.loads(file.read_text(encoding="utf-8")))

    def vectors(self, modality: str) -> FloatArray:
        """One vector a clip: our 88 functionals for audio, or features made elsewhere.

        Args:
            modality: One whose kind is ``functionals`` or ``vector``.

        Returns:
            (N, D) in index order, memory-mapped where the file has that order; rows of clips that lack the
            modality are 0 (see :attr:`present`).

        Raises:
            StoreError: If the modality has no vectors.
        """
        if modality in self._precomputed:
            return self._precomputed_vectors(**self._precomputed[modality])
        if self.kinds.get(modality) != "functionals":
            raise StoreError(
                f"{self.path} holds {self.kinds.get(modality)} for {modality!r}, not vectors; "
                f"`apt features {self.path} {modality} ARRAY --names FILE` puts some in place"
            )
        vectors = np.zeros((len(self), N_FUNCTIONALS), np.float32)
        for number in range(len(self._shards)):
            clips = np.flatnonzero(self.present[:, 0] & (self._shard == number))
            if len(clips):
                vectors[clips] = self._functionals(number, self._audio[clips])
        return vectors

    def _precomputed_vectors(self, array: str, names: list[str], **_: Any) -> FloatArray:
        # Copy on write: torch refuses to share read-only memory without a warning.
        file = self.path / "features" / array
        with reading(file, "put the features there again by `apt features`"):
            rows: FloatArray = np.load(file, mmap_mode="c", allow_pickle=False)
            if rows.ndim != 2 or len(rows) != len(names) or rows.dtype != np.float32:
                raise ValueError(f"it holds {rows.dtype} of shape {rows.shape} for {len(names)} clips")
        if names == [clip.name for clip in self.clips]:
            return rows
        at = {name: row for row, name in enumerate(names)}
        clips = [i for i, clip in enumerate(self.clips) if clip.name in at]
        vectors = np.zeros((len(self), rows.shape[1]), np.float32)
        vectors[clips] = rows[[at[self.clips[i].name] for i in clips]]
        return vectors

    def frames(self, i: int) -> list[bytes]:
        """JPEGs of clip ``i`` in the order of their times; empty if it has none."""
        spans = self._spans[self._first[i] : self._first[i + 1]]
        if not len(spans):
            return []
        path = self.path / "shards" / self._shards[self._shard[i]] / FRAMES
        with open(path, "rb", buffering=0) as file:  # a file held open a shard would be too many for some systems
            return [os.pread(file.fileno(), length, offset) for offset, length in spans.tolist()]

    def frame_times(self, i: int) -> list[float]:
        """Display times of the frames of clip ``i`` in s."""
        return cast(list[float], self._times[self._first[i] : self._first[i + 1]].tolist())

    def damaged(self) -> list[str]:
        """Names of the clips whose features are not those written; reads the whole store, clip by clip."""
        found = []
        for i, content in enumerate(self._contents):
            if content is not None:
                audio = b"" if self._audio[i] < 0 else self._functionals(self._shard[i], self._audio[[i]]).tobytes()
                if hashlib.sha256(b"".join([audio, *self.frames(i)])).hexdigest() != content:
                    found.append(self.clips[i].name)
        return found

    def _functionals(self, shard: int, rows: npt.NDArray[np.int64]) -> FloatArray:
        shape = (int(rows.max()) + 1, N_FUNCTIONALS)
        file = np.memmap(self.path / "shards" / self._shards[shard] / AUDIO, "<f4", "r", shape=shape)
        return np.asarray(file[rows])

    def __len__(self) -> int:
        return len(self.clips)
