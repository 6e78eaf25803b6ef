"""Damaged and hostile files of every kind that is parsed: a result or a typed error, nothing else."""

import io
import math
import pickle
import shutil
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mutate

from apt_lightning.common.errors import AptError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.annotations import load_pickle, read_annotations, read_demographics, read_transcripts
from apt_lightning.data.collection.archives import unpack_data
from apt_lightning.data.collection.collection import SPLITS, read_collection
from apt_lightning.data.collection.tables import read_table
from apt_lightning.data.store.text_table import read_text_table, text_table, write_text_table
from apt_lightning.data.text.word_vectors import WordVectors, load_glove_memmap

CLIPS = ["AbCdEfGhIjK.000.mp4", "-bCdEfGhIjK.005.mp4", "zzzzzzzzzzz.001.mp4"]
LABELS = {t: {clip: np.float64(0.25) for clip in CLIPS} for t in (*TRAITS, "interview")}
TEXTS = {clip: f"Hello from {clip} [inaudible 00:00:07]" for clip in CLIPS}


def pickles():
    for protocol in (0, 2, 4):
        yield pickle.dumps(LABELS, protocol=protocol)
        yield pickle.dumps(TEXTS, protocol=protocol)


def archive():
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        for clip in CLIPS:
            file.writestr(clip, clip.encode() * 20)
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr("training80_01.zip", inner.getvalue())
        file.writestr("readme.txt", b"hello")
    yield outer.getvalue()
    yield inner.getvalue()


def read_both_pickles(path):
    for read in (read_annotations, read_transcripts):
        try:
            table = read(path)
        except AptError:
            continue
        for value in table.values():
            assert isinstance(value, str) or all(type(label) is float for label in value.values())
    load_pickle(path)


def read_archive(path):
    root = path.parent
    before = {p.name for p in root.parent.iterdir()}
    try:
        unpack_data(root)
    finally:
        assert {p.name for p in root.parent.iterdir()} == before
        assert not list(root.rglob("*.part"))
        assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) < 2**27


def read_clips(path):
    for clip in read_collection(path).clips:
        assert clip.split in SPLITS and clip.name and len(clip.traits) == 5
        assert all(math.isnan(value) or 0 <= value <= 1 for value in clip.traits)


def read_vectors(path):
    found = load_glove_memmap(path, path.parent / "words")
    assert len(found.words) == len(found.vectors) and np.isfinite(found.vectors).all()


def keyed():
    """What gensim saves, made without gensim's own file names in it."""
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(4)
    vectors.add_vectors(["a", "bc", "d"], np.arange(12, dtype=np.float32).reshape(3, 4))
    data = io.BytesIO()
    vectors.save(data)
    return data.getvalue()


GLOVE = b"".join(b"word%d %s\n" % (i, b" ".join(b"%.4f" % (i * k / 7) for k in range(8))) for i in range(12))
BINARY = b"3 4\n" + b"".join(word + np.arange(4, dtype="<f4").tobytes() + b"\n" for word in (b"a ", b"bc ", b"d "))
TABLE = (
    "clip,source,split," + ",".join(TRAITS) + ",scale,transcript\n"
    'a.mp4,s,train,.1,.2,.3,.4,.5,0-1,"Hello, ""you"""\nb.mp4,,val,1,1,1,1,,,\nc.mp4,,test,3,3,4,5,1,1-7,x\n'
)
PEOPLE = "VideoName;Ethnicity;Gender;AgeGroup\n" + "".join(f"{clip};2;1;4\n" for clip in CLIPS)

KINDS = {
    "annotation.pkl": (read_both_pickles, list(pickles())),
    "train-1.zip": (read_archive, list(archive())),
    "clips.csv": (
        read_clips,
        [TABLE.encode(), TABLE.encode("utf-16"), TABLE.replace(",", ";").encode("utf-8-sig")],
    ),
    "people.csv": (read_demographics, [PEOPLE.encode()]),
    "glove.txt": (read_vectors, [GLOVE, b"12 8\n" + GLOVE]),
    "vectors.bin": (read_vectors, [BINARY]),
    "vectors.kv": (read_vectors, [keyed()]),
}


def attack(kind, number, tmp_path):
    read, seeds = KINDS[kind]
    for seed in seeds:  # undamaged, each is read
        path = tmp_path / "seed" / "data" / kind
        path.parent.mkdir(parents=True)
        path.write_bytes(seed)
        read(path)
        shutil.rmtree(tmp_path / "seed")
    rng = np.random.default_rng(20240506)
    refused = 0
    for i in range(number):
        data = mutate(seeds[i % len(seeds)], rng)
        path = tmp_path / "data" / kind
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(path)
        except AptError as error:
            refused += 1
            assert "\n" not in str(error) and 10 < len(str(error)) < 2000
        except Exception as error:
            raise AssertionError(f"mutant {i} of {kind}: {data[:300]!r}") from error
        shutil.rmtree(path.parent)
    assert refused > number // 20  # the damage does reach the parser


@pytest.mark.parametrize("kind", KINDS)
def test_some_mutants(kind, tmp_path):
    attack(kind, 60, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutants(kind, tmp_path):
    attack(kind, 500, tmp_path)


def attack_text_store(number, tmp_path):
    known = WordVectors(["a", "b"], np.ones((2, 3), np.float32), {})
    rng = np.random.default_rng(7)
    names = ("ids.npy", "lengths.npy", "vectors.npy", "words.txt")
    for i in range(number):
        folder = tmp_path / str(i)
        write_text_table(folder, text_table(["a b", "b", None], known), {})
        path = folder / names[i % len(names)]
        path.write_bytes(mutate(path.read_bytes(), rng))
        try:
            table = read_text_table(folder)
        except AptError:
            continue
        assert table.ids.max(initial=0) < len(table.vectors) == len(table.words) + 2


def test_some_mutants_of_the_text_store(tmp_path):
    attack_text_store(60, tmp_path)


@pytest.mark.slow
def test_many_mutants_of_the_text_store(tmp_path):
    attack_text_store(500, tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_no_trouble(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any" / "data" / "file"
    path.parent.mkdir(parents=True, exist_ok=True)
    for head, read in (
        (b"\x80\x02", load_pickle),
        (b"", read_clips),
        (b"clip,split\n", read_clips),
        (b"", read_vectors),
    ):
        path.write_bytes(head + data)
        with suppress(AptError):
            read(path)
    shutil.rmtree(path.parent)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12).map(str.strip)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(cells, cells), max_size=6), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_tables_that_python_writes_are_read_back(tmp_path_factory, rows, encoding):
    import csv

    path = Path(tmp_path_factory.getbasetemp()) / "roundtrip.csv"
    rows = [row for row in rows if any(row)]
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([("clip", "transcript"), *rows])
    found = read_table(path, ["clip"], ["transcript"])
    assert [(row.cells["clip"], row.cells["transcript"]) for row in found] == rows


names = st.from_regex(r"[\w-]{11}\.00[0-5]\.mp4", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.text(max_size=40), max_size=8), st.sampled_from([2, 3, 4, 5]))
def test_pickles_that_python_writes_are_read_back(tmp_path_factory, texts, protocol):
    path = tmp_path_factory.getbasetemp() / "roundtrip.pkl"
    path.write_bytes(pickle.dumps(texts, protocol=protocol))
    assert read_transcripts(path).keys() == texts.keys()
