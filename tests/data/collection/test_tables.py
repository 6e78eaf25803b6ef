import codecs
import math

import pytest

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection.tables import parse_number, read_table, read_text_file


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encode", [str.encode, lambda t: codecs.BOM_UTF8 + t.encode(), lambda t: t.encode("utf-16")])
def test_separators_and_byte_order_marks_give_the_same_rows(tmp_path, separator, encode):
    text = 'Openness,clip,extra\n0.5,é 1.mp4,x\n\n0.25,"b.mp4",\n'.replace(",", separator)
    rows = read_table(write(tmp_path / "t.csv", encode(text)), ["clip"], ["openness", "split"])
    assert [row.cells for row in rows] == [
        {"clip": "é 1.mp4", "openness": "0.5"},
        {"clip": "b.mp4", "openness": "0.25"},
    ]
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty; expected a header with the columns clip"),
        (b"\n\n", "empty"),
        ("name,split\na,b\n", "row 1: column clip is missing; found name, split"),
        ("clip,CLIP\na,b\n", "row 1: column clip stands twice"),
        ("clip,split\na.mp4\n", "row 2: expected 2 columns as in the header, but got 1"),
        ("clip\na,b\n", "row 2: expected 1 columns as in the header, but got 2"),
        (b"clip\nok\n" + b"caf\xe9\n", "row 3: byte 11 is not UTF-8"),
        ('clip\n"a', "row 2: "),
        ("clip\n" + "a" * 200_000, "row 2: field larger"),
    ],
)
def test_each_defect_is_one_line_with_file_and_row(tmp_path, content, match):
    path = write(tmp_path / "labels.csv", content)
    with pytest.raises(DataError, match=match) as caught:
        read_table(path, ["clip"], ["split"])
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_size_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("apt_lightning.data.collection.tables.MAX_BYTES", 4)
    with pytest.raises(DataError, match="larger than"):
        read_text_file(write(tmp_path / "t.csv", "clip\n"))


def test_numbers():
    assert parse_number("1e-3", "f", 2, "c") == 0.001
    assert math.isnan(parse_number("", "f", 2, "c"))


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1,5", "five", "0x10", "#NAME?", "1e999"])
def test_other_cells_are_refused(text):
    with pytest.raises(DataError, match=r"labels\.csv: row 7, column openness: expected a number or nothing"):
        parse_number(text, "labels.csv", 7, "openness")
