"""Reader of the feature store: one folder of JSON lines and flat arrays (docs/store.md), written by ``apt prepare``."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from apt_lightning.data.faults import FAULTS, Fault, Outcome
from apt_lightning.errors import StoreError

if TYPE_CHECKING:
    from apt_lightning.data.text import TextTable

FORMAT = "apt-lightning feature store"
VERSION = 1
MODALITIES = ("audio", "visual", "text")
N_FUNCTIONALS = 88
"""eGeMAPSv02 functionals; the row length of ``audio.f4``."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredClip:
    """One clip of a store, usable or not."""

    name: str
    source: str
    """Source video; clips of one source belong on one side of any split."""
    split: str
    """``train``, ``validation``, ``test`` or ``unlabelled``."""
    path: str | None
    traits: tuple[float, ...]
    """Five labels in the order of :data:`apt_lightning.traits.TRAITS`; NaN where missing."""
    transcript: str | None
    """``None`` = none was given."""
    status: str
    """``ok``, ``degraded`` (used without a modality) or ``left out``."""
    faults: tuple[Fault, ...]
    demographics: dict[str, str]


def digest(value: Any) -> str:
    """16 hexadecimal digits that change when a JSON-like value changes.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def status_of(faults: tuple[Fault, ...]) -> str:
    """``left out``, ``degraded`` or ``ok``, by the gravest of the faults."""
    outcomes = {FAULTS[fault.code].outcome for fault in faults}
    if outcomes & {Outcome.LEFT_OUT, Outcome.STOPS}:
        return "left out"
    return "degraded" if Outcome.DEGRADED in outcomes else "ok"


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``.

    Raises:
        StoreError: If the folder is no store, or one of another version.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"no feature store at {path}; make one with `apt prepare DATA {path}`") from None
    except (ValueError, NotADirectoryError) as error:
        raise StoreError(f"{path / 'manifest.json'} is not a store's manifest: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path / 'manifest.json'} is not the manifest of an {FORMAT}")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"the store {path} has version {manifest.get('version')}, this program reads version {VERSION}; "
            f"make a new one with `apt prepare DATA STORE`"
        )
    return cast(dict[str, Any], manifest)


def read_lines(path: Path) -> Iterator[Row]:
    """Yield the JSON objects of a file of lines; a last line without its end was never committed and is skipped.

    Raises:
        StoreError: If any other line is not a JSON object.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise StoreError(f"{path} line {number} is damaged; delete its folder and run `apt prepare` again")
            yield row


def audio_end(row: Row) -> int:
    """Bytes of ``audio.f4`` that a row needs to be there."""
    return 0 if row["audio"] is None else (row["audio"] + 1) * N_FUNCTIONALS * 4


def frames_end(row: Row) -> int:
    """Bytes of ``frames.bin`` that a row needs to be there."""
    return max((offset + length for offset, length, _ in row["frames"]), default=0)


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def newest_rows(path: Path, settings: str) -> dict[str, tuple[str, Row]]:
    """Read what every writer has committed, merged: per clip the newest row made with the given settings.

    Args:
        path: The store.
        settings: ``settings`` key of the manifest.

    Returns:
        Clip name -> (shard folder name, row). Rows whose data were lost, by a power cut say, are left away.

    Raises:
        StoreError: If a line of a shard is damaged.
    """
    rows: dict[str, tuple[str, Row]] = {}
    for file in sorted(path.glob("shards/*/rows.jsonl")):
        shard = file.parent
        audio, frames = size_of(shard / "audio.f4"), size_of(shard / "frames.bin")
        for row in read_lines(file):
            if row["settings"] != settings or audio_end(row) > audio or frames_end(row) > frames:
                continue
            old = rows.get(row["name"])
            if old is None or row["revision"] >= old[1]["revision"]:
                rows[row["name"]] = (shard.name, row)
    return rows


def duplicates(sums: Mapping[str, str]) -> Iterator[Fault]:
    """Name every clip whose file has the same bytes as an earlier one.

    Args:
        sums: Clip name -> SHA-256 of its file, in index order.

    Example:
        >>> [fault.clip for fault in duplicates({"a.mp4": "1", "b.mp4": "2", "c.mp4": "1"})]
        ['c.mp4']
    """
    first: dict[str, str] = {}
    for name, value in sums.items():
        if value in first:
            yield Fault("duplicate-content", name, f"the same bytes as {first[value]}")
        else:
            first[value] = name


class Store:
    """Memory-mapped view of a finished feature store.

    Open it with :meth:`open`. Clips that were left out stay in :attr:`clips` with no modality present, so that
    every table can say how many clips it rests on. Safe to pickle into loader workers: each maps the files anew.

    Attributes:
        path: Folder of the store.
        manifest: Contents of ``manifest.json``.
        clips: All clips given, in index order.
        present: (N, 3) bool, modality usable for this clip; columns audio, visual, text.
        kinds: Per modality what :meth:`vectors` or :meth:`frames` serve: audio ``functionals``, visual
            ``frames``, text ``tokens``; ``vector`` where features made elsewhere are in place of ours.
        fingerprint: Hexadecimal digest over settings, labels, texts and every clip's features; equal for equal content,
            whoever wrote it and in how many runs.
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
        store._load()
        return store

    def _load(self) -> None:
        again = f"`apt prepare {self.manifest['data']} {self.path}` goes on"
        index_file = self.path / "index.jsonl"
        meta_file = self.path / "text" / "meta.json"
        if not index_file.exists() or not meta_file.exists():
            raise StoreError(f"the store {self.path} is unfinished; {again}")
        entries = list(read_lines(index_file))
        meta = json.loads(meta_file.read_text(encoding="utf-8"))
        rows = newest_rows(self.path, self.manifest["key"])
        missing = sum(needs_row(entry) and entry["name"] not in rows for entry in entries)
        if missing or meta["index"] != file_digest(index_file):
            raise StoreError(f"the store {self.path} is unfinished ({missing} of {len(entries)} clips to do); {again}")
        self._rows = [rows.get(entry["name"]) if needs_row(entry) else None for entry in entries]
        self._foreign = {m: meta for m in MODALITIES if (meta := self._foreign_meta(m)) is not None}
        self.kinds = {"audio": "functionals", "visual": "frames", "text": "tokens"}
        self.kinds |= dict.fromkeys(self._foreign, "vector")
        self._gather(entries, meta["faults"])

    def _gather(self, entries: list[Row], text_faults: list[list[str]]) -> None:
        """Fill clips, present and fingerprint from the index, the rows and the text table's faults."""
        names = [entry["name"] for entry in entries]
        sums = {name: row[1]["sha256"] for name, row in zip(names, self._rows, strict=True) if row is not None}
        extra: dict[str, list[Fault]] = {}
        for fault in (*duplicates({n: s for n, s in sums.items() if s}), *(Fault(c, n, d) for n, c, d in text_faults)):
            extra.setdefault(fault.clip, []).append(fault)
        foreign = np.zeros((len(entries), 3), bool)
        for modality, meta in self._foreign.items():
            known = set(meta["names"])
            foreign[:, MODALITIES.index(modality)] = [name in known for name in names]
        ours = np.zeros((len(entries), 3), bool)
        ours[:, 2] = self.text.lengths > 0
        self.clips = []
        for i, entry in enumerate(entries):
            row = self._rows[i]
            faults = [Fault(code, entry["name"], detail) for code, detail in entry["faults"]]
            if row is not None:
                faults += [Fault(code, entry["name"], detail) for code, detail in row[1]["faults"]]
                ours[i, :2] = row[1]["audio"] is not None, bool(row[1]["frames"])
            faults += extra.get(entry["name"], [])
            status = status_of(tuple(faults))
            if status == "left out" and foreign[i].any() and all(fault.code != "quarantined" for fault in faults):
                status = "degraded"
            self.clips.append(
                StoredClip(
                    entry["name"],
                    entry["source"],
                    entry["split"],
                    entry["path"],
                    tuple(np.nan if value is None else float(value) for value in entry["traits"]),
                    entry["transcript"],
                    status,
                    tuple(faults),
                    entry["demographics"],
                )
            )
        for modality in self._foreign:
            ours[:, MODALITIES.index(modality)] = foreign[:, MODALITIES.index(modality)]
        self.present = ours & np.array([clip.status != "left out" for clip in self.clips], bool).reshape(-1, 1)
        content = [None if row is None else row[1]["content"] for row in self._rows]
        self.fingerprint = digest(
            [
                self.manifest["key"],
                [{k: v for k, v in entry.items() if k != "path"} for entry in entries],
                content,
                json.loads((self.path / "text" / "meta.json").read_text(encoding="utf-8"))["source"],
                {m: meta["sha256"] for m, meta in self._foreign.items()},
            ]
        )

    def _foreign_meta(self, modality: str) -> Row | None:
        try:
            text = (self.path / "features" / f"{modality}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        meta: Row = json.loads(text)
        names = (self.path / "features" / meta["names"]).read_text(encoding="utf-8").splitlines()
        return {**meta, "names": names}

    @cached_property
    def text(self) -> TextTable:
        """Token ids, lengths, words and word vectors, in index order."""
        from apt_lightning.data.text import read_text

        return read_text(self.path / "text")

    def vectors(self, modality: str) -> npt.NDArray[np.float32]:
        """One vector a clip: our 88 functionals for audio, or features made elsewhere.

        Args:
            modality: One whose kind is ``functionals`` or ``vector``.

        Returns:
            (N, D) float32 in index order, memory-mapped where the file has that order; rows of clips that lack the
            modality are 0 (see :attr:`present`).

        Raises:
            StoreError: If the modality has no vectors.
        """
        if self.kinds.get(modality) not in ("functionals", "vector"):
            raise StoreError(
                f"{self.path} holds {self.kinds.get(modality)} for {modality!r}, not vectors; "
                f"`apt features {self.path} {modality} ARRAY --names FILE` puts some in place"
            )
        if modality in self._foreign:
            meta = self._foreign[modality]
            array = np.load(self.path / "features" / meta["array"], mmap_mode="r", allow_pickle=False)
            if meta["names"] == [clip.name for clip in self.clips]:
                return cast(npt.NDArray[np.float32], array)
            at = {name: j for j, name in enumerate(meta["names"])}
            pairs = np.array([(i, at[c.name]) for i, c in enumerate(self.clips) if c.name in at], int).reshape(-1, 2)
            vectors = np.zeros((len(self.clips), array.shape[1]), np.float32)
            vectors[pairs[:, 0]] = array[pairs[:, 1]]
            return vectors
        vectors = np.zeros((len(self.clips), N_FUNCTIONALS), np.float32)
        by_shard: dict[str, list[tuple[int, int]]] = {}
        for i in np.flatnonzero(self.present[:, 0]):
            shard, row = self._rows[i]  # type: ignore[misc]
            by_shard.setdefault(shard, []).append((int(i), row["audio"]))
        for shard, found in by_shard.items():
            to, at_rows = np.array(found).T
            file = np.memmap(self.path / "shards" / shard / "audio.f4", "<f4", "r").reshape(-1, N_FUNCTIONALS)
            vectors[to] = file[at_rows]
        return vectors

    def frames(self, i: int) -> list[bytes]:
        """JPEGs of clip ``i`` in the order of their times; empty if it has none."""
        if self._rows[i] is None:
            return []
        shard, row = self._rows[i]  # type: ignore[misc]
        data = self._map(shard) if row["frames"] else b""
        return [data[offset : offset + length] for offset, length, _ in row["frames"]]

    def frame_times(self, i: int) -> list[float]:
        """Display times of the frames of clip ``i`` in s."""
        row = self._rows[i]
        return [] if row is None else [float(time) for _, _, time in row[1]["frames"]]

    @cached_property
    def _maps(self) -> dict[str, mmap.mmap]:
        return {}

    def _map(self, shard: str) -> mmap.mmap:
        if shard not in self._maps:
            with open(self.path / "shards" / shard / "frames.bin", "rb") as file:
                self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_maps"}

    def __len__(self) -> int:
        return len(self.clips)


def needs_row(entry: Row) -> bool:
    """Whether an index entry's file is to be opened: it has one, and is not quarantined."""
    return entry["path"] is not None and all(code != "quarantined" for code, _ in entry["faults"])


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
