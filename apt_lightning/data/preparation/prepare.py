"""From clips to a feature store: what is missing or changed is extracted, everything else stays."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.common.files import TEMPORARY, digest, file_digest, locked, write_bytes
from apt_lightning.data.collection.archives import unpack_data
from apt_lightning.data.collection.collection import SYNTHETIC, Collection
from apt_lightning.data.preparation.index import load_collection
from apt_lightning.data.preparation.share import DEFAULTS, Options, extract, settings_of
from apt_lightning.data.store.index import FORMAT, VERSION, needs_row
from apt_lightning.data.store.rows import Row, line_of, newest_rows

PACKAGES = ("apt-lightning", "av", "decord", "numpy", "opensmile")
"""Packages whose version a feature can depend on."""
IN_USE = "use.lock"
"""Held in common by all who extract clips, and alone by one who changes what there is to extract."""


def prepare(data: str | os.PathLike[str], store: str | os.PathLike[str], options: Options = DEFAULTS) -> int:
    """Bring a store up to date with its data; interrupted at any moment, the next call goes on.

    Several processes (``options.devices`` and ``options.num_nodes``) each do a share into shards of their own;
    they need nothing but the common file system.

    Args:
        data: Official folder layout, zipped or not, or a CSV of clips.
        store: Folder of the store, made if absent.
        options: How.

    Returns:
        Clips still to do after this call: the shares of other processes, 0 if the store is finished.

    Raises:
        DataError: If the data cannot be read.
        UsageError: If ``store`` is a folder of something else.
        StoreError: If it cannot be written, or is being written with other data or settings.
    """
    path = Path(store)
    _check_folder(path)
    if not os.path.exists(data):
        raise DataError(f"{data} does not exist; give the folder of the data set or a CSV of clips")
    with locked(path / "store.lock", blocking=True):
        unpack_data(data)
    collection, entries = load_collection(data, options.quarantine)
    with ExitStack() as stack:
        with locked(path / "store.lock", blocking=True):
            if options.transcribe is not None:
                from apt_lightning.data.preparation.speech import transcribe_entries

                entries = transcribe_entries(path, entries, options)
            _write_head(path, data, collection, entries, options)
            _write_text_table(path, entries, options)
            stack.enter_context(locked(path / IN_USE, shared=True))
        if options.devices * options.num_nodes == 1:
            for _ in extract(path, entries, options):
                pass
        else:
            from apt_lightning.data.preparation.distribute import predict_share

            predict_share(partial(extract, path, entries, options), options.devices, options.num_nodes)
    rows = newest_rows(path, digest(settings_of(options.extraction)))
    return sum(needs_row(entry) and entry["name"] not in rows for entry in entries)


def _check_folder(path: Path) -> None:
    """Refuse to write a store among other things; what a killed run left there is no obstacle."""
    if path.is_dir() and not (path / "manifest.json").exists():
        others = [file.name for file in path.iterdir() if file.suffix not in (".lock", TEMPORARY)]
        if others:
            raise UsageError(f"{path} is no feature store and holds {others[0]}; give another folder for STORE")


def _write_head(
    path: Path, data: str | os.PathLike[str], collection: Collection, entries: list[Row], options: Options
) -> None:
    """Write manifest and index if they differ from what is there, and remove what a killed run left."""
    for part in (*path.glob(f"*{TEMPORARY}"), *path.glob(f"*/*{TEMPORARY}")):
        part.unlink()
    settings = settings_of(options.extraction)
    names = {entry["name"] for entry in entries}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "data": os.path.abspath(data),
        "key": digest(settings),
        "settings": settings,
        "packages": {name: version(name) for name in PACKAGES if name != "decord" or find_spec(name)},
        "faults": [[fault.code, fault.clip, fault.detail] for fault in collection.faults if fault.clip not in names],
        "others": collection.others,
        "synthetic": Path(data, SYNTHETIC).is_file(),
    }
    wanted = {
        path / "manifest.json": json.dumps(manifest, indent=2).encode() + b"\n",
        path / "index.jsonl": b"".join(map(line_of, entries)),
    }
    changed = {file: content for file, content in wanted.items() if not file.exists() or file.read_bytes() != content}
    if changed:
        with locked(path / IN_USE):  # nobody extracts what would no longer be in the index
            for file, content in changed.items():
                write_bytes(file, content)


def _write_text_table(path: Path, entries: list[Row], options: Options) -> None:
    """Encode the transcripts if they, the vectors or K have changed; ``meta.json``, the last, is the seal."""
    file = path / "text" / "meta.json"
    wanted: Row = {
        "index": file_digest(path / "index.jsonl"),
        "max_tokens": options.max_tokens,
        "given": None,
    }
    if options.vectors is not None:
        stat = os.stat(options.vectors)
        wanted["given"] = [os.path.abspath(options.vectors), stat.st_size, stat.st_mtime_ns]
    if file.exists():
        with suppress(ValueError, AttributeError, RecursionError):  # damaged: it is written anew
            if json.loads(file.read_text(encoding="utf-8")).items() >= wanted.items():
                return
    from apt_lightning.data.store.text_table import TextTable, text_table, write_text_table
    from apt_lightning.data.text.tokens import N_SPECIAL, tokenize
    from apt_lightning.data.text.word_vectors import WordVectors, load_glove_memmap, train_word_vectors

    tokens = [tokenize(entry["transcript"] or "") for entry in entries]
    if options.vectors is None:
        split = [words for entry, words in zip(entries, tokens, strict=True) if entry["split"] == "train"]
        vectors = train_word_vectors(split)
    else:
        every = load_glove_memmap(options.vectors, path / "words")
        used = {word for words in tokens for word in words}
        kept = [row for row, word in enumerate(every.words) if word in used]
        vectors = WordVectors([every.words[row] for row in kept], np.asarray(every.vectors[kept]), every.source)
    table: TextTable = text_table([entry["transcript"] for entry in entries], vectors, options.max_tokens)
    # Without vectors, whether a word is known is up to the model that reads the store.
    mute = (table.ids < N_SPECIAL).all(axis=1) if vectors.words else np.array([not words for words in tokens], bool)
    faults = [
        ["no-known-word", entries[i]["name"], ""]
        for i in np.flatnonzero(mute)
        if (entries[i]["transcript"] or "").strip()
    ]
    file.unlink(missing_ok=True)
    write_text_table(file.parent, table, vectors.source)
    sums = [file_digest(file.parent / name) for name in ("ids.npy", "words.txt", "vectors.npy")]
    write_bytes(file, json.dumps(wanted | {"content": digest(sums), "faults": faults}).encode())
