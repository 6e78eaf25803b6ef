"""NumPy files whose headers announce more than there is, and JSON of many levels: one line, before memory is taken."""

import io
import struct
import zipfile

import numpy as np
import pytest

from apt_lightning.common.errors import AptError, DataError
from apt_lightning.data.collection import arrays
from apt_lightning.data.collection.arrays import check_arrays
from apt_lightning.data.store.reader import Store


def npy(shape="(2, 3)", descr="'<f4'", data=bytes(24)):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + data


def npz(*members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize("data", [npy(), npz(("features.npy", npy()), ("names.npy", npy("(2,)", "'<U1'", bytes(8))))])
def test_whole_files_pass(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    check_arrays(tmp_path / "a.npy")
    np.load(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (npy("(10000000000000,)"), "announces an array of 40000000000000 bytes"),
        (npz(("a.npy", npy("(10000000000000,)"))), "announces an array of 40000000000000 bytes"),
        (npz(("a.npy", npy("(2,)", "'<U100000000'"))), "announces an array of 800000000 bytes"),
        (npy("(-1, 3)"), "damaged"),
        (npy("(1,)", "'|O'"), "pickled arrays are refused"),
        (npy("(" * 200 + ")" * 200), "no readable NumPy file"),
        (npz(("a.npy", bytes(2**21))), "holds 2097152 bytes"),
        (b"", "no readable NumPy file"),
    ],
)
def test_headers_that_announce_more_than_there_is(tmp_path, monkeypatch, data, match):
    monkeypatch.setattr(arrays, "MAX_BYTES", 2**20)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(DataError, match=match) as caught:
        check_arrays(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)


def test_json_of_many_levels_is_damage(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(AptError, match="is damaged"):
        Store.open(tmp_path)
