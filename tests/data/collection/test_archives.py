"""Archives of strangers: what is hostile, damaged or no zip is refused, and growth is bounded."""

import shutil
import stat
import struct
import zipfile

import pytest
from places import CASES
from zips import CLIPS, pack, tree

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection import archives
from apt_lightning.data.collection.archives import unpack, unpack_data


def link(name, mode=stat.S_IFLNK | 0o777):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("../evil.mp4", b"x")], "no name inside"),
        ([("a/../../evil.mp4", b"x")], "no name inside"),
        ([("..\\evil.mp4", b"x")], "no name inside"),
        ([("/tmp/evil.mp4", b"x")], "no name inside"),
        ([("\\\\host\\evil.mp4", b"x")], "no name inside"),
        ([("C:evil.mp4", b"x")], "no name inside"),
        ([("a\nb.mp4", b"x")], "no name inside"),
        ([("x" * 300, b"x")], "no name inside"),
        ([(".", b"x")], "no name inside"),
        ([(link("evil.mp4"), b"/etc/passwd")], "a link or a device"),
        ([(link("evil.mp4", stat.S_IFIFO), b"")], "a link or a device"),
        ([("a", b"x"), ("a/b", b"x")], "as if it were a folder"),
        ([("a.mp4", b"x"), ("./a.mp4", b"y")], "twice"),
        ([("one.zip", pack([("two.zip", pack([("three.zip", pack([]))]))]))], "an archive in an archive"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_hostile_members_are_refused_before_anything_is_written(tmp_path, members, match):
    data = tmp_path / "in" / "data"
    data.mkdir(parents=True)
    (data / "test-1.zip").write_bytes(pack([("good.mp4", b"x"), *members]) if "in an" not in match else pack(members))
    with pytest.raises(DataError, match=match) as caught:
        unpack(data, tmp_path / "in" / "out")
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"test-1.zip"}


def test_bombs(tmp_path, monkeypatch):
    (tmp_path / "b.zip").write_bytes(pack([("a.mp4", bytes(2**20))], zipfile.ZIP_DEFLATED))
    unpack_data(tmp_path)  # a megabyte harms nobody, whatever its ratio
    monkeypatch.setattr(archives, "_SLACK", 0)
    (tmp_path / "b.zip").write_bytes(pack([("a.mp4", bytes(2**21))], zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"would grow from .* to 2097152 bytes; .* is it a zip bomb"):
        unpack_data(tmp_path)
    monkeypatch.setattr(archives, "_SLACK", 2**26)
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    with pytest.raises(DataError, match="is it a zip bomb"):
        unpack_data(tmp_path)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    (tmp_path / "b.zip").write_bytes(pack([("a", b""), ("b", b"")]))
    with pytest.raises(DataError, match="holds 2 files; at most 1"):
        unpack_data(tmp_path)


def test_a_size_that_lies_writes_no_more_than_it_says(tmp_path):
    data = bytearray(pack([("a.mp4", bytes(2**20))], zipfile.ZIP_DEFLATED))
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.rindex(signature) + offset
        data[at : at + 4] = struct.pack("<I", 10)
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        unpack_data(tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"b.zip"}


DAMAGED = r"damaged, or of a kind that cannot be read .*; download it again"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d[:-30], "its end is missing: cut short"),
        (lambda d: b"", "an empty file"),
        (lambda d: d.replace(b"one", b"0ne"), DAMAGED),
        (lambda d: b"no zip at all", DAMAGED),
    ],
)
def test_damage(tmp_path, change, match):
    (tmp_path / "b.zip").write_bytes(change(pack(CLIPS)))
    with pytest.raises(DataError, match=rf"b\.zip: {match}"):
        unpack_data(tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(tmp_path, method):
    (tmp_path / "b.zip").write_bytes(pack(CLIPS, method))
    with pytest.raises(DataError, match="is packed by method"):
        unpack_data(tmp_path)


def test_the_limit_is_for_an_archive_and_all_in_it(tmp_path, monkeypatch):
    """Inner archives, each within its own limit, that unpack to far more than the outer one may."""
    monkeypatch.setattr(archives, "_SLACK", 2**20)
    inner = pack([("z.bin", bytes(2**19))], zipfile.ZIP_DEFLATED)
    (tmp_path / "b.zip").write_bytes(pack([(f"i{i}.zip", inner) for i in range(20)], zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"b\.zip/i\d\.zip: would grow from .* is it a zip bomb"):
        unpack_data(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2**21


def test_the_limit_is_for_all_archives_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SLACK", 2**20)
    for i in range(20):
        (tmp_path / f"b{i}.zip").write_bytes(pack([("z.bin", bytes(2**19))], zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"is it a zip bomb"):
        unpack_data(tmp_path)


def test_what_macos_adds_is_no_file_of_the_archive(tmp_path):
    members = [("train-1/training80_01.zip", pack(CLIPS)), ("__MACOSX/train-1/._training80_01.zip", b"\0\5\x16\7" * 40)]
    members += [("__MACOSX/._a", b"x"), ("train-1/.DS_Store", b"x"), ("train-1/._b.mp4", b"x")]
    (tmp_path / "mac.zip").write_bytes(pack(members))
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._mac.zip").write_bytes(b"no zip")
    unpack_data(tmp_path)
    assert set(tree(tmp_path / "mac")) == {f"train-1/training80_01/{name}" for name, _ in CLIPS}


def aes(data):
    """Mark the members of a zip as WinZip marks AES: method 99, encrypted."""
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(signature) + offset
        data = data[:at] + struct.pack("<HH", 1, 99) + data[at + 4 :]
    return data


ONE = pack(CLIPS[:1])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "is an HTML page, .* no zip; download it in a browser"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(99), "is a RAR archive, no zip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "is a 7-Zip archive, no zip"),
        (aes(ONE), r"'-aB\.000\.mp4' is encrypted by AES; only the classic cipher is read: unpack it with 7-Zip"),
        (ONE[:-22] + b"PK\5\6" + struct.pack("<HH", 2, 2) + ONE[-14:], "the last part of an archive split in 3"),
        (b"PK\x07\x08" + ONE[:-40], "first part of a split archive"),
        (ONE[:-22] + ONE[-22:-10] + struct.pack("<I", 2**31) + ONE[-6:], "table of contents has 2147483648 bytes"),
    ],
)
def test_what_is_no_plain_zip_is_named_with_the_remedy(tmp_path, data, match):
    (tmp_path / "train-1.ZIP").write_bytes(data)
    with pytest.raises(DataError, match=match) as caught:
        unpack_data(tmp_path)
    assert "\n" not in str(caught.value) and {path.name for path in tmp_path.rglob("*.*")} == {"train-1.ZIP"}


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
@pytest.mark.parametrize(("case", "files"), [("mac_nested.zip", 7), ("nested_amplify.zip", None)])
def test_shared_cases(tmp_path, case, files):
    shutil.copy(CASES / case, tmp_path)
    if files is None:
        with pytest.raises(DataError, match="is it a zip bomb"):
            unpack_data(tmp_path)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2**27
    else:
        unpack_data(tmp_path)
        assert len(tree(tmp_path / case.removesuffix(".zip"))) == files
