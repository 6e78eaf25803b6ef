"""Files of word vectors, from strangers: GloVe and word2vec, text or binary, plain or compressed, read row by row."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from apt_lightning.common.errors import DataError
from apt_lightning.common.names import shown
from apt_lightning.data.collection.signatures import LENGTH, kind_of
from apt_lightning.data.collection.zip_kinds import check_zip
from apt_lightning.data.text.keyed_vectors import read_keyed_vectors

MAX_SIZE = 4096
"""Largest vector that is accepted."""

MAX_WORDS = 5_000_000
"""Most words of a file; each takes about 150 bytes of memory."""

MAX_RATIO = 20
"""Unpacked to packed size of a compressed file; vectors as text shrink to a third."""

_SLACK = 64 * 2**20
"""Unpacked bytes to which no ratio applies."""

_MAX_LINE = 2**17
"""Longest line in bytes: a word and :data:`MAX_SIZE` numbers."""

_MAX_WORD = 1000
"""Longest word in bytes."""

_COMPRESSED: Mapping[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    **{b"BZh%d1AY&SY" % level: lambda file: bz2.BZ2File(file) for level in range(1, 10)},
    b"\xfd7zXZ\x00": lambda file: lzma.LZMAFile(file),  # noqa: SIM115  (entered by the caller)
}

Values = npt.NDArray[np.float32]


class VectorRows(NamedTuple):
    """What a file says of itself, and its rows."""

    size: int
    """Numbers a row."""
    announced: int | None
    """Rows that its header announces; ``None`` without a header."""
    rows: Iterator[tuple[int, bytes, Values]]
    """Row number from 1, word, (size,) finite values; the word is empty where a row has none."""


@contextmanager
def open_vectors(path: Path) -> Iterator[VectorRows]:
    """Open a file of word vectors, compressed by gzip, bzip2, xz or as the one file of a zip, or not.

    Args:
        path: GloVe text; word2vec text, which has a header line; word2vec binary, if the name, without the ending
            of a compression, ends in ".bin"; what gensim's ``KeyedVectors.save`` writes.

    Yields:
        Its rows, which are read as they are asked for.

    Raises:
        DataError: If the file is of another kind, damaged, or would unpack to more than :data:`MAX_RATIO` times
            its size; the message names file and row.
    """
    try:
        with ExitStack() as stack:
            file, name = _plain(path, stack)
            yield _read(path, name, file)
    except (zlib.error, lzma.LZMAError, EOFError, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError) as error:
        raise DataError(f"{path}: damaged, or encrypted ({str(error)[:200]}); download it again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path}: damaged ({error}); download it again") from error  # how bz2 says it


def _plain(path: Path, stack: ExitStack) -> tuple[IO[bytes] | _Bounded, str]:
    """The file without its compression, and its name without that of the compression."""
    packed = path.stat().st_size
    file: IO[bytes] = stack.enter_context(path.open("rb"))
    head = file.read(LENGTH)
    file.seek(0)
    inner, name = file, path.name
    for start, opener in _COMPRESSED.items():
        if head.startswith(start):
            inner, name = stack.enter_context(opener(file)), path.stem
    if head.startswith(b"PK\x03\x04"):
        check_zip(path, str(path))
        archive = stack.enter_context(zipfile.ZipFile(file))
        infos = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
        if len(infos) != 1:
            names = ", ".join(shown(info.filename) for info in infos[:5])
            raise DataError(f"{path}: an archive of {len(infos)} files ({names}); unpack it and give one of them")
        inner, name = stack.enter_context(archive.open(infos[0])), infos[0].filename
    return (file, name) if inner is file else (_Bounded(path, inner, MAX_RATIO * packed + _SLACK), name)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


class _Bounded:
    """A compressed file that refuses to give more than some bytes."""

    def __init__(self, path: Path, file: IO[bytes], limit: int) -> None:
        self.path, self.file, self.left = path, file, limit

    def read(self, size: int) -> bytes:
        return self._count(self.file.read(size))

    def readline(self, size: int) -> bytes:
        return self._count(self.file.readline(size))

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.path}: unpacks to more than {MAX_RATIO} times its size; unpack it yourself")
        return data


def _read(path: Path, name: str, file: IO[bytes] | _Bounded) -> VectorRows:
    """Find the format and the vector size, and start to read."""
    first = file.readline(_MAX_LINE)
    kind = kind_of(first[:LENGTH])
    if kind is not None:
        raise DataError(f"{path}: is {kind}, no file of word vectors")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: in UTF-16; save it as UTF-8")
    if first[:1] == b"\x80":
        if name != path.name:
            raise DataError(f"{path}: a compressed file of gensim's; unpack it and give what it holds")
        words, vectors = read_keyed_vectors(path)
        size = vectors.shape[1]
        pairs = enumerate(zip((word.encode() for word in words), vectors, strict=True), 1)
        return VectorRows(size, None, ((i, word, _checked(path, i, word, row, size)) for i, (word, row) in pairs))
    first = first.removeprefix(codecs.BOM_UTF8)
    fields = first.split()
    announced = int(fields[0]) if len(fields) == 2 and all(f.isdigit() and len(f) < 10 for f in fields) else None
    lines = [] if announced is not None else [first, file.readline(_MAX_LINE)]
    size = int(fields[1]) if announced is not None else _size(lines)
    if not 1 <= size <= MAX_SIZE:
        raise DataError(f"{path}: row 1: expected a word and 1 to {MAX_SIZE} numbers, as in glove.6B.300d.txt")
    if Path(name).suffix.lower() == ".bin":
        if announced is None:
            raise DataError(f"{path}: row 1: expected the number of words and of numbers, as word2vec writes")
        return VectorRows(size, announced, _binary_rows(path, file, size, announced))
    return VectorRows(size, announced, _text_rows(path, file, lines, size, 1 + (announced is not None)))


def _size(lines: list[bytes]) -> int:
    """Numbers a row by the first two lines, of which the first may lack its word."""
    first, second = (len(line.split()) for line in lines)
    alone = first > 1 and second == first + 1 and len(_numbers(lines[0].split())) == first
    return first if alone else first - 1


def _numbers(texts: list[bytes]) -> Values:
    """Texts as numbers; none if one of them is no number."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            return np.array([float(text) for text in texts], np.float32)
    except ValueError:
        return np.zeros(0, np.float32)


def _text_rows(
    path: Path, file: IO[bytes] | _Bounded, lines: list[bytes], size: int, start: int
) -> Iterator[tuple[int, bytes, Values]]:
    number = start - 1
    while line := lines.pop(0) if lines else file.readline(_MAX_LINE):
        number += 1
        # From the right: tokens of GloVe 840B hold blanks.
        word, *texts = line.rstrip().rsplit(None, size) or [b""]
        if len(texts) == size - 1:  # no word: as many numbers as there must be
            word, texts = b"", [word, *texts]
        yield number, word, _checked(path, number, word, _numbers(texts), size)


def _binary_rows(path: Path, file: IO[bytes] | _Bounded, size: int, count: int) -> Iterator[tuple[int, bytes, Values]]:
    for number in range(1, count + 1):
        first = file.read(1)
        letters = iter(lambda: file.read(1).rstrip(b" "), b"")
        word = b"" if first in (b"", b" ") else (first + b"".join(islice(letters, _MAX_WORD))).lstrip(b"\n")
        data = file.read(4 * size)
        if not first and not data:
            return
        values = np.frombuffer(data[: len(data) // 4 * 4], "<f4").astype(np.float32, copy=False)
        yield number, word, _checked(path, number, word, values, size)


def _checked(path: Path, number: int, word: bytes, values: Values, size: int) -> Values:
    if len(values) != size or not np.isfinite(values).all():
        raise DataError(f"{path}: row {number}: expected a word and {size} finite numbers")
    if len(word) > _MAX_WORD or b"\n" in word:
        raise DataError(f"{path}: row {number}: {word[:40]!r} is no word")
    return values
