import json
import os
import pickle
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apt_lightning.common.errors import DataError, StoreError
from apt_lightning.data.store.text_table import TextTable, read_text_table, text_table, write_text_table
from apt_lightning.data.text.tokens import encode, tokenize
from apt_lightning.data.text.word_vectors import WordVectors, load_glove_memmap, train_word_vectors


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't; you DON\u2019T; we can\x92t.", "i do n't you do n't we ca n't"),
        ("It's John's, they'll've, I'd, we're, I'm", "it 's john 's they 'll 've i 'd we 're i 'm"),
        ("cannot gonna gotta cannon", "can not gon na got ta cannon"),
        ("shouldn't've o'clock rock'n'roll 'quoted' dogs'", "should n't 've o'clock rock'n'roll quoted dogs"),
        ("so [inaudible 00:00:07] we [crosstalk 1:02] [laughs]", "so we laughs"),
        ("see https://a.b/c?d=e, www.x.org/y or youtube.com/watch now", "see or now"),
        ("mail me.you+x@mail.example.org today", "mail today"),
        ("in 1990s the 3rd mp3 costs $5.50 at 10:30", "in the costs at"),
        (
            "well-known \u201cna\u00efve\u201d caf\u00e9 \u2014 \u00fcber\u2026",
            "well known na\u00efve caf\u00e9 \u00fcber",
        ),
        ("cafe\u0301 \ufb01ne \u00bd", "caf\u00e9 fine"),
        (
            "\u041f\u0440\u0438\u0432\u0435\u0442, \u4f60\u597d",
            "\u043f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d",
        ),
        ("", ""),
        (" ... !? [00:00:07] 42", ""),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens.split()


@given(st.text())
def test_tokens_are_clean_and_stay_as_they_are(text):
    tokens = tokenize(text)
    assert tokenize(" ".join(tokens)) == tokens
    for token in tokens:
        assert token and not any(c.isspace() or c in '@[]"' for c in token)


@given(st.text("ab1.@-_:/[] '\n", max_size=200))
def test_tokens_of_text_near_the_patterns(text):
    tokens = tokenize(text)
    assert tokenize(" ".join(tokens)) == tokens


@pytest.mark.parametrize("unit", ["a", "a.", "a-", "[0:00", "a1", "www.", "a@", "'", "n't", "a'", "http://"])
def test_time_grows_with_the_text_only(unit):
    start = time.process_time()
    tokenize(unit * (200_000 // len(unit)))
    assert time.process_time() - start < 3


def vectors(words, size=3):
    values = np.random.default_rng(0).standard_normal((len(words), size)).astype(np.float32)
    return WordVectors(list(words), values, {"trained": "for a test"})


def test_encode_against_a_plain_loop():
    known = vectors(["we", "do", "n't", "know"])
    texts = ["We don't KNOW you", None, "", "you", "know " * 9]
    ids, lengths = encode(texts, known, max_tokens=5)
    assert ids.dtype == lengths.dtype == np.int32
    assert ids.tolist() == [[2, 3, 4, 5, 1], [0] * 5, [0] * 5, [1, 0, 0, 0, 0], [5] * 5]
    assert lengths.tolist() == [5, 0, 0, 1, 5]


def test_store_part_is_read_back(tmp_path):
    known = vectors(["caf\u00e9", "n't"])
    table = text_table(["Caf\u00e9 isn't", None], known)
    write_text_table(tmp_path / "text", table, known.source)
    back = read_text_table(tmp_path / "text")
    assert isinstance(back.vectors, np.memmap) and isinstance(back.ids, np.memmap)
    assert back.words == known.words and back.ids.shape == (2, 80)
    np.testing.assert_array_equal(back.vectors[:2], 0)
    np.testing.assert_array_equal(back.vectors[2:], known.vectors)
    np.testing.assert_array_equal(back.ids, table.ids)
    assert json.loads((tmp_path / "text" / "source.json").read_text()) == known.source
    assert sorted(path.name for path in (tmp_path / "text").iterdir()) == [
        "ids.npy", "lengths.npy", "source.json", "vectors.npy", "words.txt",
    ]  # fmt: skip


def test_a_set_without_words_is_stored_and_read(tmp_path):
    table = text_table([None, ""], train_word_vectors([]))
    write_text_table(tmp_path, table, {})
    assert read_text_table(tmp_path).vectors.shape == (2, 50)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("ids.npy", lambda p: p.unlink(), r"ids\.npy: cannot be read"),
        ("vectors.npy", lambda p: p.write_bytes(p.read_bytes()[:-4]), r"vectors\.npy: cannot be read"),
        ("vectors.npy", lambda p: np.save(p, np.array([{}], object), allow_pickle=True), "cannot be read"),
        ("lengths.npy", lambda p: np.save(p, np.zeros(2)), r"expected 1-D int32, got \(2,\) float64"),
        ("vectors.npy", lambda p: np.save(p, np.full((4, 3), np.nan, np.float32)), "NaN or infinite"),
        ("words.txt", lambda p: p.write_bytes(b"\xff\n"), r"words\.txt: cannot be read"),
        ("words.txt", lambda p: p.write_text("one\n"), "do not fit each other"),
        ("ids.npy", lambda p: np.save(p, np.full((2, 80), 4, np.int32)), "out of range"),
        ("ids.npy", lambda p: np.save(p, np.full((2, 80), -1, np.int32)), "out of range"),
        ("lengths.npy", lambda p: np.save(p, np.full(2, 81, np.int32)), "out of range"),
        ("lengths.npy", lambda p: np.save(p, np.array([0, -1], np.int32)), "out of range"),
    ],
)
def test_damage_is_named(tmp_path, name, change, match):
    known = vectors(["a", "b"])
    write_text_table(tmp_path, text_table(["a b", "b"], known), known.source)
    change(tmp_path / name)
    with pytest.raises(StoreError, match=match):
        read_text_table(tmp_path)


WORDS = ["the", "caf\u00e9", ". . .", "at name@domain.com", "the", "z"]
VALUES = np.arange(18, dtype=np.float32).reshape(6, 3) / 7


def rows(form):
    return "".join(f"{w} {' '.join(form % x for x in v)}\n" for w, v in zip(WORDS, VALUES, strict=True))


@pytest.mark.parametrize("head", ["", "6 3\n"], ids=["glove", "word2vec"])
def test_text_files_of_vectors(tmp_path, head):
    path = tmp_path / "glove.txt"
    path.write_text(head + rows("%.9g"), encoding="utf-8")
    found = load_glove_memmap(path, tmp_path / "words")
    assert found.words == ["the", "caf\u00e9", ". . .", "at name@domain.com", "z"]  # the first "the" counts
    np.testing.assert_array_equal(found.vectors, VALUES[[0, 1, 2, 3, 5]])
    assert isinstance(found.vectors, np.memmap) and found.index["z"] == 4
    assert len(found.source["sha256"]) == 64 and found.source["path"] == str(path)


@pytest.mark.parametrize("binary", [False, True])
def test_files_that_gensim_writes(tmp_path, binary):
    gensim = pytest.importorskip("gensim")
    keyed = gensim.models.KeyedVectors(3)
    words = ["the", "caf\u00e9", "n't"]
    keyed.add_vectors(words, VALUES[:3])
    path = tmp_path / ("v.bin" if binary else "v.txt")
    keyed.save_word2vec_format(str(path), binary=binary)
    found = load_glove_memmap(path, tmp_path / "words")
    assert found.words == words
    np.testing.assert_allclose(found.vectors, VALUES[:3], rtol=1e-6)


@pytest.mark.parametrize("form", ["inline", "apart", "fortran", "trained"])
def test_the_pickle_that_gensim_saves(tmp_path, form):
    gensim = pytest.importorskip("gensim")
    path = tmp_path / "v.kv"
    if form == "trained":
        keyed = gensim.models.Word2Vec([["a", "b", "c"]] * 9, vector_size=4, min_count=1, workers=1).wv
    else:
        keyed = gensim.models.KeyedVectors(3)
        keyed.add_vectors(["the", "caf\u00e9", "n't"], VALUES[:3])
        if form == "fortran":
            keyed.vectors = np.asfortranarray(keyed.vectors)
    keyed.save(str(path), separately=["vectors"] if form == "apart" else None)
    assert (tmp_path / "v.kv.vectors.npy").exists() == (form == "apart")
    found = load_glove_memmap(path, tmp_path / "words")
    assert found.words == list(keyed.index_to_key)
    np.testing.assert_array_equal(found.vectors, keyed.vectors)


def test_the_copy_is_made_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    path, folder = tmp_path / "glove.txt", tmp_path / "words"
    path.write_text("a 1 2\nb 3 4\n")
    load_glove_memmap(path, folder)
    before = (folder / "vectors.npy").stat().st_mtime_ns
    load_glove_memmap(path, folder)
    assert (folder / "vectors.npy").stat().st_mtime_ns == before
    path.write_text("a 1 2\nb 3 5\nc 0 0\n")
    assert load_glove_memmap(path, folder).vectors[1].tolist() == [3, 5]
    assert sorted(p.name for p in folder.iterdir()) == ["source.json", "vectors.npy", "words.txt"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "row 1: expected a word and 1 to 4096 numbers"),
        (b"word\n", "row 1: expected a word"),
        (b"3 99999\n", "row 1: expected a word"),
        (b"a 1 2\nb 3\n", "row 2: expected a word and 2 finite numbers"),
        (b"a 1 2\nb 3 x\n", "row 2: expected a word and 2 finite numbers"),
        (b"a 1 2\nb nan 1\n", "row 2: expected a word and 2 finite"),
        (b"a 1 2\nb 1e300 1\n", "row 2: expected a word and 2 finite"),
        (b"2 2\na 1 2\nb 1 inf\n", "row 3: expected a word and 2 finite"),
        (b"a 1 2\n\n", "row 2: "),
        (b"a 1 2\n" + b"b" * 300_000 + b" 1 2\n", "row 2: "),
        (b"\x80\x04\x95", "refused as gensim's KeyedVectors: .*; save it in gensim with"),
        (pickle.dumps({"a": [1.0]}), "refused as gensim's KeyedVectors: it holds no KeyedVectors"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "it asks for os.system, which data never needs"),
    ],
)
def test_defects_of_vector_files_name_the_row(tmp_path, data, match):
    path = tmp_path / "glove.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=match):
        load_glove_memmap(path, tmp_path / "words")
    assert not list(tmp_path.glob("words/source.json"))


def test_a_truncated_binary_file_names_the_row(tmp_path):
    path = tmp_path / "v.bin"
    path.write_bytes(b"2 2\n" + b"a " + struct.pack("<2f", 1, 2) + b"\nb " + struct.pack("<f", 1))
    with pytest.raises(DataError, match="row 2: expected a word and 2 finite numbers"):
        load_glove_memmap(path, tmp_path / "words")


def test_trained_vectors_are_the_same_in_another_process():
    code = (
        "from apt_lightning.data.text.word_vectors import train_word_vectors as t\n"
        "v = t([['red', 'blue', 'red'], [], ['blue', 'green']] * 5, size=8, seed=3)\n"
        "print(v.words, v.vectors.tolist(), v.source)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert "on 10 training transcripts" in outputs[0]


def test_trained_vectors_bring_words_of_one_context_together():
    rng = np.random.default_rng(0)
    groups = [["cat", "dog", "bird"], ["car", "bus", "train"]]
    texts = [list(rng.choice(groups[i % 2], 8)) for i in range(400)]
    found = train_word_vectors(texts, size=16)
    unit = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    similarity = {(a, b): unit[found.index[a]] @ unit[found.index[b]] for a in found.words for b in found.words}
    assert similarity["cat", "dog"] > 0.5 > similarity["cat", "bus"]


def test_table_fields():
    assert TextTable._fields == ("ids", "lengths", "words", "vectors")
