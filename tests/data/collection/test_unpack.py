"""Zips are unpacked once, whatever interrupts it, by the keys that are given."""

import io
import json
import os
import struct
import zipfile
import zlib

import pytest
from zips import CLIPS, pack, tree

from apt_lightning.common.errors import DataError
from apt_lightning.data.collection import archives
from apt_lightning.data.collection.archives import unpack, unpack_data

KEY = "not-a-real-key"


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


@pytest.fixture(autouse=True)
def no_keys_and_no_terminal(monkeypatch):
    for name in [name for name in os.environ if name.startswith(archives.KEYS)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "isatty", lambda fd: False)


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


def test_a_full_disk_is_said_as_it_is(tmp_path, monkeypatch):
    nested(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack_data(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
