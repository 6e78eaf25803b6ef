"""Reads files of ``torch.save`` as plain data and tensors; nothing in them is imported or called, and they cost little.

``torch.load(weights_only=True)`` runs no foreign code, but allocates what a file claims: a pickle of some bytes can ask
for gigabytes. Here a file of N bytes costs at most 2 N + 256 MiB of memory, and 10 s beside the reading of N bytes.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

MAX_FILE = 8 * 2**30
"""Bytes of a file."""
MAX_DIRECTORY = 4 * 2**20
"""Bytes of the list of records, and of one step of reading."""
MAX_PICKLE = 8 * 2**20
"""Bytes of the description of the data; a ResNet-152 with its optimizer needs 0.4 MB."""
MAX_STEPS = 500_000
"""Instructions in it; a ResNet-152 with its optimizer needs 90 000."""
MAX_DEPTH = 32
"""Containers within containers."""
MAX_KEY = 2**20
"""Numbers of parameters in an optimizer's state, the only keys that are no text: few enough not to collide."""

_STORAGES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
DTYPES = frozenset(_STORAGES.values())
"""Types of the tensors of a checkpoint."""
_TENSOR, _DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}


class PlainFileError(ValueError):
    """A file is damaged, holds more than plain data and tensors, or would cost more than it may."""


class _Global(str):
    """What the file names, never looked up."""


class _Mark:
    """Where the items of a container begin."""


_MARK = _Mark()


class _Steps(io.FileIO):
    """A file of which no single step reads much, whatever it announces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise PlainFileError(f"its list of records is larger than {MAX_DIRECTORY >> 20} MiB")
        return super().read(MAX_DIRECTORY if size is None or size < 0 else size) or b""


class _Records:
    """The records of a file, and the tensors over them."""

    def __init__(self, file: _Steps) -> None:
        self.size = os.fstat(file.fileno()).st_size
        if self.size > MAX_FILE:
            raise PlainFileError(f"it has {self.size >> 30} GiB, at most {MAX_FILE >> 30} are read")
        self.archive = zipfile.ZipFile(file)
        infos = self.archive.infolist()
        self.infos = {info.filename: info for info in infos}
        if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
            raise PlainFileError("its records are compressed")
        if len(self.infos) < len(infos) or sum(info.file_size for info in infos) > self.size:
            raise PlainFileError("its records overlap")
        tops = [name.removesuffix("data.pkl") for name in self.infos if name.endswith("/data.pkl")]
        if len(tops) != 1:
            raise PlainFileError("it was not written by torch.save")
        self.top = tops[0]
        order = f"{self.top}byteorder"
        if order in self.infos and self.infos[order].file_size < 16 and self._bytes(order) != b"little":
            raise PlainFileError("its numbers are not little-endian")
        self.storages: dict[str, Tensor] = {}
        self.tensor_bytes = 0

    @property
    def description(self) -> bytes:
        name = f"{self.top}data.pkl"
        if self.infos[name].file_size > MAX_PICKLE:
            raise PlainFileError(f"its description is larger than {MAX_PICKLE >> 20} MiB")
        return bytes(self._bytes(name))

    def _bytes(self, name: str) -> bytearray:
        """Content of a record, its checksum compared."""
        found = bytearray(self.infos[name].file_size)
        view, done = memoryview(found), 0
        with self.archive.open(self.infos[name]) as stream:
            while chunk := stream.read(2**20):
                view[done : done + len(chunk)] = chunk
                done += len(chunk)
        if done < len(found):
            raise PlainFileError(f"its record {name!a} is cut short")
        return found

    def storage(self, mark: object) -> Tensor:
        """Flat tensor over the record that a persistent id names."""
        match mark:
            case ("storage", _Global() as kind, str(key), str(), int(count)) if kind in _STORAGES:
                name, dtype = f"{self.top}data/{key}", _STORAGES[kind]
            case _:
                raise PlainFileError("it names something that is no tensor storage")
        if name not in self.infos or self.infos[name].file_size != count * dtype.itemsize:
            raise PlainFileError(f"the record {name!a} does not hold the {count} numbers that it is said to hold")
        if name not in self.storages:
            data = self._bytes(name)
            self.storages[name] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if self.storages[name].dtype != dtype:
            raise PlainFileError(f"the record {name!a} is named with two types")
        return self.storages[name]

    def tensor(self, arguments: object) -> Tensor:
        """View of a storage, no larger than it."""
        match arguments:
            case (Tensor() as storage, int(offset), tuple(size), tuple(stride), bool(), {}) if (
                len(size) == len(stride) <= 8
            ):
                numbers = (offset, *size, *stride)
            case _:
                raise PlainFileError("it makes a tensor in an unknown way")
        if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
            raise PlainFileError("a tensor has impossible sizes")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count > len(storage) or (count and last >= len(storage)):
            shape = "x".join(str(n) for n in size)
            raise PlainFileError(f"a tensor of {shape} stands for more than the {len(storage)} numbers that are there")
        self.tensor_bytes += count * storage.dtype.itemsize
        if self.tensor_bytes > self.size + MAX_DIRECTORY:
            raise PlainFileError("its tensors stand for more than the file holds")
        return storage.as_strided(size, stride, offset) if count else storage.new_empty(size)


def read_plain(path: str | os.PathLike[str]) -> Any:
    """Read what ``torch.save`` wrote, if it is dicts, lists, tuples, texts, numbers and tensors.

    Args:
        path: A file.

    Returns:
        What it holds: keys are texts or small numbers, nothing is nested deeper than :data:`MAX_DEPTH`, and no tensor
        stands for more numbers than the file holds.

    Raises:
        PlainFileError: If it holds or claims anything else.
    """
    try:
        with _Steps(path) as file:
            records = _Records(file)
            content = _run(records.description, records)
    except PlainFileError:
        raise
    # A damaged archive or pickle surfaces as almost any built-in error.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise PlainFileError(ascii(reason)[1:-1]) from None
    check_size(content)
    return content


def _run(data: bytes, records: _Records) -> Any:
    """The pickle machine, with the instructions that ``torch.save`` writes and no others."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MAX_STEPS:
            raise PlainFileError(f"it describes its data in more than {MAX_STEPS} steps")
        match opcode.name:
            case name if name in _VALUES:
                if isinstance(argument, int) and abs(argument) >= 2**63:
                    raise PlainFileError("it holds a number of more than 64 bits")
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "BINPUT" | "LONG_BINPUT":
                memo[int(argument or 0)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(argument or 0)])
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(reversed([stack.pop() for _ in range(int(name[-1]))])))
            case "TUPLE":
                stack.append(tuple(_to_mark(stack)))
            case "APPEND":
                value = stack.pop()
                _list(stack[-1]).append(value)
            case "APPENDS":
                items = list(_to_mark(stack))
                _list(stack[-1]).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set(stack[-1], [key, value])
            case "SETITEMS":
                items = list(_to_mark(stack))
                _set(stack[-1], items)
            case "GLOBAL":
                stack.append(_Global(argument))
            case "BINPERSID":
                stack.append(records.storage(stack.pop()))
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                if type(called) is _Global and called == _DICT and arguments == ():
                    stack.append({})
                elif type(called) is _Global and called == _TENSOR:
                    stack.append(records.tensor(arguments))
                else:
                    raise PlainFileError(f"it asks for {str(called)[:80]!a}, which a checkpoint never needs")
            case "BUILD" if isinstance(stack[-2], dict):
                stack.pop()  # versions of layers, beside a state dict
            case "PROTO":
                pass
            case "STOP":
                if len(stack) == 1:
                    return stack[0]
                raise PlainFileError("its description is damaged")
            case name:
                raise PlainFileError(f"it uses the instruction {name}, which a checkpoint never needs")
    raise PlainFileError("its description is cut short")


def _to_mark(stack: list[Any]) -> Iterator[Any]:
    """Items above the last mark, which is taken off with them."""
    at = len(stack) - 1
    while stack[at] is not _MARK:  # an index below 0 ends in an IndexError at the latest
        at -= 1
    items = stack[at + 1 :]
    del stack[at:]
    return iter(items)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise PlainFileError("its description is damaged")
    return value


def _set(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise PlainFileError("its description is damaged")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (type(key) is str or (type(key) is int and 0 <= key < MAX_KEY)):
            raise PlainFileError(f"it holds a key that is neither text nor a number from 0 to {MAX_KEY}")
        target[key] = value


def check_size(content: Any) -> None:
    """Refuse what is deep, circular, or small only because its parts are named many times.

    Raises:
        PlainFileError: If it is, or holds something that is neither plain data nor a tensor.
    """
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen + len(waiting) > MAX_STEPS:
            raise PlainFileError(f"its data is nested more than {MAX_DEPTH} deep, or has more than {MAX_STEPS} parts")
        if isinstance(value, dict | list | tuple):
            parts = value.values() if isinstance(value, dict) else value
            if len(parts) > MAX_STEPS:
                raise PlainFileError(f"its data has more than {MAX_STEPS} parts")
            waiting.extend((part, depth + 1) for part in parts)
        elif not (value is None or type(value) in (str, int, float, bool) or isinstance(value, Tensor)):
            raise PlainFileError("it holds something that is neither data nor a tensor")
