"""Files of word vectors as they are published: marks, compression, rows without a word, files cut short."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest
from places import CASES

from apt_lightning.common.errors import DataError
from apt_lightning.data.text import vector_files
from apt_lightning.data.text.word_vectors import load_glove_memmap

ROWS = b"the 0.5 1 2\ni 3 4 5\nlike 6 7 8\n"
VALUES = np.array([[0.5, 1, 2], [3, 4, 5], [6, 7, 8]], np.float32)


def packed(data):
    """Gzip without a time, so that the names of tests stay."""
    return gzip.compress(data, mtime=0)


def load(tmp_path, data, name="v.txt"):
    (tmp_path / name).write_bytes(data)
    return load_glove_memmap(tmp_path / name, tmp_path / "words")


def zipped(*members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("v.txt", codecs.BOM_UTF8 + b"3 3\n" + ROWS),
        ("v.txt", codecs.BOM_UTF8 + ROWS),
        ("v.txt", ROWS.replace(b" ", b"\t")),
        ("v.txt.gz", packed(b"3 3\n" + ROWS)),
        ("v.gz", bz2.compress(ROWS)),  # by content, not by name
        ("v.txt.xz", lzma.compress(ROWS)),
        ("v.zip", zipped(("glove.txt", ROWS), ("__MACOSX/._glove.txt", b"x"))),
        ("v.bin.gz", packed(b"3 3\n" + b"".join(
            word + b" " + row.tobytes() for word, row in zip([b"the", b"i", b"like"], VALUES, strict=True)
        ))),
    ],
)  # fmt: skip
def test_marks_and_compression_change_nothing(tmp_path, name, data):
    found = load(tmp_path, data, name)
    assert found.words == ["the", "i", "like"] and found.source["skipped"] == 0
    np.testing.assert_array_equal(found.vectors, VALUES)


@pytest.mark.parametrize("empty", [b" 9 9 9\n", b"9 9 9\n", b"\t9 9 9\n"])
@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("head", [b"", b"4 3\n"])
def test_rows_without_a_word_are_skipped_and_counted(tmp_path, empty, at, head):
    rows = ROWS.splitlines(keepends=True)
    found = load(tmp_path, head + b"".join([*rows[:at], empty, *rows[at:]]))
    assert found.words == ["the", "i", "like"] and found.source["skipped"] == 1
    np.testing.assert_array_equal(found.vectors, VALUES)
    assert load_glove_memmap(tmp_path / "v.txt", tmp_path / "words").source["skipped"] == 1  # from the copy


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("v.txt", b"5 3\n" + ROWS, "announces 5 rows and holds 3: cut short"),
        ("v.bin", b"2 1\na " + bytes(4), "announces 2 rows and holds 1: cut short"),
        ("v.txt", codecs.BOM_UTF16_LE + ROWS.decode().encode("utf-16-le"), "in UTF-16; save it as UTF-8"),
        ("v.txt", b"<!DOCTYPE html>\n<html>", "is an HTML page"),
        ("v.zip", zipped(("a.txt", ROWS), ("b.txt", ROWS)), r"an archive of 2 files \(a\.txt, b\.txt\)"),
        ("v.gz", packed(ROWS)[:-12], "damaged"),
        ("v.xz", lzma.compress(ROWS)[:-12], "damaged"),
        ("v.bz2", bz2.compress(ROWS)[:-12], "damaged"),
        ("v.gz", packed(ROWS + b"a 1 2 3\n" * 200_000), "unpacks to more than 20 times its size"),
        ("v.txt", b"a 1 2\n" + b"b" * 2000 + b" 1 2\n", "is no word"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, monkeypatch, name, data, match):
    monkeypatch.setattr(vector_files, "_SLACK", 1000)
    with pytest.raises(DataError, match=match) as caught:
        load(tmp_path, data, name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
@pytest.mark.parametrize(("case", "skipped"), [("bom_header.txt", 0), ("empty_token.txt", 1)])
def test_shared_cases(tmp_path, case, skipped):
    found = load_glove_memmap(CASES / case, tmp_path)
    assert found.vectors.shape == (20, 8) and found.source["skipped"] == skipped
