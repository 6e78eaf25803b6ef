import io
import json
import os
import shutil
import stat
import struct
import zipfile
import zlib

import pytest
from places import CASES

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection import archives
from apt_lightning.data.collection.archives import unpack, unpack_data

KEY = "not-a-real-key"


def pack(members, compression=zipfile.ZIP_STORED):
    """Bytes of a zip; members are (name or ZipInfo, bytes)."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def zip_crypto(data, key):
    """Encrypt the members of a zip with the classic cipher (PKWARE APPNOTE 6.1), independent of zipfile."""
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ (0xEDB88320 if c & 1 else 0)
        table.append(c)
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte):
        keys[0] = (keys[0] >> 8) ^ table[(keys[0] ^ byte) & 255]
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = (keys[2] >> 8) ^ table[(keys[2] ^ (keys[1] >> 24)) & 255]

    def encrypt(plain):
        out = bytearray()
        for byte in plain:
            t = keys[2] | 2
            out.append(byte ^ (((t * (t ^ 1)) >> 8) & 255))
            update(byte)
        return bytes(out)

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = [(info.filename, archive.read(info)) for info in archive.infolist()]
    body, directory = b"", b""
    for name, plain in infos:
        crc = zlib.crc32(plain)
        keys[:] = [0x12345678, 0x23456789, 0x34567890]
        for byte in key.encode():
            update(byte)
        coded = encrypt(b"0123456789a" + bytes([crc >> 24]) + plain)
        common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 33, crc, len(coded), len(plain), len(name), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\3\4" + common + name.encode() + coded
    end = struct.pack("<HHHHIIH", 0, 0, len(infos), len(infos), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


CLIPS = [("-aB.000.mp4", b"one" * 50), ("zzz.005.mp4", b"two" * 70)]


@pytest.fixture(autouse=True)
def no_keys_and_no_terminal(monkeypatch):
    for name in [name for name in os.environ if name.startswith(archives.KEYS)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "isatty", lambda fd: False)


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def nested(data):
    (data / "train-1.zip").write_bytes(pack([("training80_01.zip", pack(CLIPS)), ("training80_02.zip", pack([]))]))
    (data / "train-annotation.zip").write_bytes(pack([("annotation_training.pkl", b"x" * 900)], zipfile.ZIP_DEFLATED))


WANTED = {
    "train-1/training80_01/-aB.000.mp4": CLIPS[0][1],
    "train-1/training80_01/zzz.005.mp4": CLIPS[1][1],
    "train-annotation/annotation_training.pkl": b"x" * 900,
}


def test_nested_zips(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    nested(data)
    unpack(data, out)
    found = tree(out)
    assert json.loads(found.pop("unpacked.json")).keys() == {"train-1.zip", "train-annotation.zip"}
    assert found == WANTED


def test_in_place_and_not_for_a_csv(tmp_path):
    nested(tmp_path)
    unpack_data(tmp_path)
    assert WANTED.items() <= tree(tmp_path).items()
    unpack_data(tmp_path / "clips.csv")
    (tmp_path / "empty").mkdir()
    unpack_data(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


def test_an_archive_of_its_own_folder_is_not_nested_twice(tmp_path):
    (tmp_path / "test-1.zip").write_bytes(pack([("test-1/", b""), ("test-1/a.mp4", b"1"), ("b.mp4", b"2")]))
    unpack_data(tmp_path)
    assert {path.name for path in (tmp_path / "test-1").iterdir()} == {"a.mp4", "b.mp4"}


def test_a_second_run_opens_nothing_and_a_lost_file_comes_back(tmp_path, monkeypatch):
    nested(tmp_path)
    unpack_data(tmp_path)
    opened = []
    original = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or original(path))
    unpack_data(tmp_path)
    assert opened == []
    lost = tmp_path / "train-1/training80_01/zzz.005.mp4"
    kept = tmp_path / "train-1/training80_01/-aB.000.mp4"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    unpack_data(tmp_path)
    assert len(opened) == 3  # the archive and the two in it
    assert lost.read_bytes() == CLIPS[1][1] and kept.stat().st_mtime_ns == before


def test_resumes_after_any_interruption(tmp_path, monkeypatch):
    copy = archives.shutil.copyfileobj
    for step in range(4):
        data = tmp_path / str(step)
        data.mkdir()
        nested(data)
        calls = iter(range(100))

        def interrupted(source, file, length, step=step, calls=calls):
            if next(calls) == step:
                file.write(source.read(3))
                raise KeyboardInterrupt
            copy(source, file, length)

        monkeypatch.setattr(archives.shutil, "copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            unpack_data(data)
        assert not list(data.rglob("*.part"))
        monkeypatch.setattr(archives.shutil, "copyfileobj", copy)
        unpack_data(data)
        assert WANTED.items() <= tree(data).items()


def test_a_wrong_half_of_a_file_is_replaced(tmp_path):
    nested(tmp_path)
    target = tmp_path / "train-1/training80_01/zzz.005.mp4"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x" * len(CLIPS[1][1]))
    unpack_data(tmp_path)
    assert target.read_bytes() == CLIPS[1][1]


def encrypted(data, key=KEY):
    (data / "test-1.zip").write_bytes(pack([("test80_01.zip", zip_crypto(pack(CLIPS), key))]))


def test_keys_are_taken_from_the_environment(tmp_path, monkeypatch, capfd):
    encrypted(tmp_path)
    monkeypatch.setenv("APT_ZIP_KEY", "another")
    monkeypatch.setenv("APT_ZIP_KEY_TEST", KEY)
    unpack_data(tmp_path)
    assert (tmp_path / "test-1/test80_01/zzz.005.mp4").read_bytes() == CLIPS[1][1]
    out, err = capfd.readouterr()
    written = "".join(map(repr, tree(tmp_path).values())) + out + err
    assert KEY not in written and "another" not in written


def test_the_key_is_asked_for_once(tmp_path, monkeypatch):
    encrypted(tmp_path)
    (tmp_path / "test-2.zip").write_bytes(zip_crypto(pack(CLIPS), KEY))
    asked = []
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    monkeypatch.setattr(archives.getpass, "getpass", lambda prompt: asked.append(prompt) or KEY)
    unpack_data(tmp_path)
    assert len(asked) == 1 and "test-1.zip/test80_01.zip (not shown)" in asked[0]
    assert (tmp_path / "test-2/zzz.005.mp4").read_bytes() == CLIPS[1][1]


@pytest.mark.parametrize("keys", [[], ["not it"], [f"not it {i}" for i in range(600)]])
def test_missing_and_wrong_keys_are_named(tmp_path, monkeypatch, keys):
    encrypted(tmp_path)
    for number, key in enumerate(keys):  # of 600, two or three pass the format's one-byte test
        monkeypatch.setenv(f"APT_ZIP_KEY_{number}", key)
    state = f"none of the {len(keys)} keys given opens it" if keys else "encrypted"
    with pytest.raises(DataError, match=f"{state}; set its key in an environment variable such as APT_ZIP_KEY") as e:
        unpack_data(tmp_path)
    assert not any(key in str(e.value) for key in keys)
    assert not (tmp_path / "test-1").exists() or tree(tmp_path / "test-1") == {}


def test_a_wrong_key_typed_in(tmp_path, monkeypatch):
    encrypted(tmp_path)
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    monkeypatch.setattr(archives.getpass, "getpass", lambda prompt: "wrong")
    with pytest.raises(DataError, match="this key does not open it"):
        unpack_data(tmp_path)


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


def test_a_full_disk_is_said_as_it_is(tmp_path, monkeypatch):
    nested(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack_data(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


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
