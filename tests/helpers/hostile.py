"""Checkpoints as an attacker or a bad disk would make them, 40 kinds, from a good one."""

import io
import pickle
import struct
import zipfile
from copy import deepcopy

import torch

P = 2**61 - 1
"""Integers that differ by it have one hash."""


def saved(content):
    """Bytes of ``torch.save``."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def archive(description, records=(), compression=zipfile.ZIP_STORED):
    """A file in the form of ``torch.save`` with a pickle made by hand."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("a/data.pkl", description)
        file.writestr("a/byteorder", "little")
        for name, data in records:
            file.writestr(f"a/data/{name}", data)
    return stream.getvalue()


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(size, stride, offset=0, kind="FloatStorage", key="0", count=4):
    """Instructions that make a tensor over a record."""
    mark = (
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count) + b"tQ"
    )
    parts = mark + number(offset) + numbers(*size) + numbers(*stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"tR"


def alone(instructions, records=(("0", bytes(16)),), **options):
    """A file of one dict with one entry."""
    return archive(b"\x80\x02}" + text("weights") + instructions + b"s.", records, **options)


def changed(good, *keys, value):
    """The good file with one thing other."""
    content = deepcopy(good)
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return saved(content)


def overlapping():
    """Two names for the same bytes, as zip bombs have."""
    data = bytearray(alone(tensor([4], [1], key="1"), [("0", bytes(16)), ("1", bytes(16))]))
    first, second = data.index(b"a/data/0"), data.rindex(b"a/data/1")
    assert first < second
    data[second - 46 + 42 : second - 46 + 46] = struct.pack("<I", first - 30)
    return bytes(data)


def long_directory():
    """A list of 60 000 records."""
    return alone(tensor([4], [1]), [("0", bytes(16)), *((f"{i:0100}", b"") for i in range(1, 60_000))])


def flipped(data):
    """One bit of the largest record is other."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        info = max(file.infolist(), key=lambda info: info.file_size)
    broken = bytearray(data)
    broken[info.header_offset + 400] ^= 1
    return bytes(broken)


def legacy(good):
    stream = io.BytesIO()
    torch.save(good, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def laughs():
    """Tuples of ten times the same tuple, 9 deep."""
    return alone(b"(" * 9 + b"]q\x00" + b"".join((b"h" + bytes([i])) * 9 + b"tq" + bytes([i + 1]) for i in range(9)))


def hostile(good):
    """Name to bytes and what the refusal says.

    Args:
        good: Content of a checkpoint of stage 1 for vectors.
    """
    spec = ("apt", "networks", "encoders", "audio")
    weight = torch.full((3,), float("nan"))
    many = {f"w{i}": torch.zeros(1) for i in range(10_001)}
    return {
        "empty": (b"", "not a readable checkpoint"),
        "a text": (b"weights " * 999, "not a readable checkpoint"),
        "a pickle": (pickle.dumps(good["apt"]), "not a readable checkpoint"),
        "old form": (legacy(good), "not a readable checkpoint"),
        "cut": (saved(good)[:-5000], "not a readable checkpoint"),
        "one bit": (flipped(saved(good)), "CRC"),
        "system": (alone(b"cos\nsystem\n" + text("touch run") + b"\x85R"), "asks for 'os system'"),
        "getattr": (alone(b"cbuiltins\ngetattr\n" + text("a") + text("b") + b"\x86R"), "asks for 'builtins getattr'"),
        "bytearray": (alone(b"cbuiltins\nbytearray\n" + number(10**10) + b"\x85R"), "builtins bytearray"),
        "set state": (alone(tensor([4], [1]) + b"}b"), "BUILD"),
        "equal hashes": (alone(b"}(" + b"".join(number(P * i) + b"N" for i in range(1, 100_000)) + b"u"), "64 bits"),
        "colliding keys": (
            alone(b"}(" + b"".join(number(i << 40) + b"N" for i in range(1, 99_999)) + b"u"),
            "text nor",
        ),
        "tuple keys": (alone(b"}" + b")" + b"\x85" * 100_000 + b"Ns"), "neither text nor"),
        "large number": (alone(b"\x8a\xff" + b"\x01" * 255), "more than 64 bits"),
        "stride 0": (alone(tensor([1_250_000_000], [0])), "stands for more"),
        "10^13": (alone(tensor([10**13], [1])), "stands for more"),
        "negative": (alone(tensor([2], [-1], 2)), "impossible sizes"),
        "outside": (alone(tensor([2], [1], 3)), "stands for more"),
        "many views": (
            alone(b"](" + tensor([2**18], [1], count=2**18) * 20 + b"e", [("0", bytes(2**20))]),
            "more than the file holds",
        ),
        "storage missing": (alone(tensor([4], [1], key="../../9")), "does not hold"),
        "storage claims": (alone(tensor([4], [1], count=10**12)), "does not hold"),
        "two types": (alone(b"](" + tensor([4], [1]) + tensor([4], [1], kind="IntStorage") + b"e"), "two types"),
        "unknown type": (alone(tensor([4], [1], kind="ComplexFloatStorage")), "no tensor storage"),
        "deep": (alone(b"]" * 200_000 + b"a" * 199_999), "nested"),
        "laughs": (laughs(), "parts"),
        "circle": (archive(b"\x80\x02}q\x00" + text("a") + b"h\x00s."), "nested"),
        "memo": (alone(b"]r\xff\xff\xff\x7f" * 1), "not a checkpoint of this program"),
        "steps": (alone(b"](" + b"N" * 2_000_000 + b"e"), "steps"),
        "large description": (alone(text("x" * 9_000_000)), "description is larger"),
        "compressed": (alone(tensor([4], [1]), [("0", bytes(10**8))], compression=zipfile.ZIP_DEFLATED), "compressed"),
        "overlapping": (overlapping(), "not a readable checkpoint"),
        "long directory": (long_directory(), "list of records"),
        "NaN": (changed(good, "state_dict", "encoder.low", value=weight), "NaN or infinite"),
        "no tensor": (changed(good, "state_dict", "encoder.low", value="low"), "is no tensor"),
        "100 000 weights": (changed(good, "state_dict", value=many), "weights"),
        "other shape": (changed(good, "state_dict", "encoder.low", value=torch.zeros(7)), "do not fit"),
        "one weight less": (changed(good, "state_dict", "head.weight", value=None), "do not fit"),
        "no stage": (changed(good, "apt", "stage", value=["audio"]), "stage ['audio']"),
        "format": (changed(good, "apt", "format", value={"a": 1}), "has format"),
        "traits": (changed(good, "apt", "traits", value={"extraversion": 0}), "orders the traits"),
        "networks": (changed(good, "apt", "networks", value=[]), "what its networks are"),
        "no encoder": (changed(good, "hyper_parameters", "encoder", value=None), "what its networks are"),
        "100 000 layers": (changed(good, *spec, "hidden_dims", value=[4] * 100_000), "entries"),
        "layers of 10^13": (changed(good, *spec, "hidden_dims", value=[10**13]), "no setting"),
        "layers of 10^8": (changed(good, "hyper_parameters", "hidden_dims", value="4"), None),
        "large encoder": (changed(good, "hyper_parameters", "encoder", "hidden_dims", value=[10**8] * 9), "do not fit"),
        "kind": (changed(good, "hyper_parameters", "encoder", "kind", value="os.system"), "no network"),
        "argument": (changed(good, "hyper_parameters", "run", value="os.system"), "no network"),
        "rate": (changed(good, "hyper_parameters", "lr", value="0.1"), "no network"),
        "infinite rate": (changed(good, "hyper_parameters", "lr", value=float("inf")), "no setting"),
        "intervals": (changed(good, "apt", "conformal", "error", value=[1.0]), "interval parameters"),
        "version": (changed(good, "pytorch-lightning_version", value="x" * 99), "of Lightning"),
    }
