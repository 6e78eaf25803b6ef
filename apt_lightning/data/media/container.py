"""The gate that a stranger's file passes before any reader is given it, and the streams that are read of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition

from apt_lightning.common.errors import ClipError
from apt_lightning.data.collection.formats import CONTAINERS

ANNOUNCING = ("mov", "matroska", "avi", "flv", "asf", "wav", "flac")
"""Containers whose header tells their length; for the others FFmpeg guesses it."""

LARGEST = 16 << 30
"""Bytes of a clip; ours: an old disk reads as many in the time limit of a clip."""

LONGEST = 1800
"""Seconds of sound of a clip; what it takes is in docs/faults.md."""

REMEDY = (
    f"clips up to {LONGEST // 60} min work; cut a longer one:"
    " `ffmpeg -i CLIP -map 0:v:0? -map 0:a:0? -c copy -f segment -segment_time 600 -reset_timestamps 1 part%03d.mkv`"
)
"""What to do with a clip that is too long."""

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_MATROSKA = b"\x1aE\xdf\xa3"
_SIGNATURES = (
    *(_MATROSKA, b"RIFF", b"RF64", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),
    *(b"FLV", b"OggS", b"\x30\x26\xb2\x75", b"#!AMR"),
)
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails


def check_file(path: str, name: str) -> bytes:
    """Let regular files of a size that can be read pass, and none that begin as text does: playlists are text.

    Args:
        path: The file, which is not waited for: a FIFO without a writer or a device is named at once.
        name: Name of the clip, for the error.

    Returns:
        The first bytes of the file.

    Raises:
        ClipError: If the file may not be given to any reader; its ``code`` says why.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "a device")
            raise ClipError("unreadable-file", f"{name}: {path} is {kind}, no regular file")
        with open(path, "rb", opener=_without_waiting) as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(16)
    except FileNotFoundError:
        raise ClipError("missing-file", f"{name}: no file at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise ClipError("unreadable-file", f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if not head:
        raise ClipError("zero-length", f"{name}: 0 bytes")
    if size > LARGEST:
        raise ClipError("too-long", f"{name}: {size / 2**30:.1f} GiB, of at most {LARGEST >> 30}; {REMEDY}")
    if not head.startswith(_SIGNATURES) and re.match(rb"(\xef\xbb\xbf)?[\t\r\n -~]{7}", head):
        raise ClipError("not-a-video", f"{name}: it begins as a text does")
    return head


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def is_media(head: bytes) -> bool:
    """Whether a file begins like one of a known container, so that something is missing if it cannot be opened."""
    return head.startswith(_SIGNATURES) or head[4:8] in _BOXES


def is_one_to_all(head: bytes) -> bool:
    """Whether every FFmpeg, whatever else it can read, takes a file for MP4 or Matroska by its first bytes."""
    return head.startswith(_MATROSKA) or head[4:8] == b"ftyp"


def open_media(path: str | os.PathLike[str]) -> InputContainer:
    """Open a file that has passed: nothing but the file itself is read, whatever it names, and no network used."""
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    return av.open(os.fspath(path), options=options, metadata_errors="ignore")


def films(container: InputContainer) -> list[av.VideoStream]:
    """Video streams that move: no cover picture, no thumbnails of chapters."""
    return [stream for stream in container.streams.video if not stream.disposition & _NO_FILM]


def decodable(container: InputContainer, streams: Sequence[Any]) -> list[Any]:
    """Streams that have a decoder, the one that players choose first."""
    found = [stream for stream in streams if stream.codec_context]
    best = container.streams.best(found[0].type) if found else None
    return sorted(found, key=lambda one: (one is not best, not one.disposition & Disposition.default))


def codec_names(container: InputContainer, streams: Sequence[Any]) -> str:
    """Names of the codecs of streams that have no decoder, or the four characters that stand for them."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # FFmpeg's description is made as a log
    described = container.dumps_format()  # type: ignore[attr-defined]  # PyAV has it, its stubs do not
    av.logging.set_level(level)
    names = []
    for stream in streams:
        line = re.search(rf"Stream #0:{stream.index}\b.*?: \w+: (\w+)(?:.*\((\w+) / 0x)?", described)
        known = line and (line[1] if line[1] not in ("none", "unknown") else line[2])
        names.append(known or "of no name")
    return ", ".join(names)


def announced_end(container: InputContainer) -> float | None:
    """Time at which a file says that it ends, s; ``None`` if it does not say."""
    if container.format.name.split(",")[0] not in ANNOUNCING:
        return None
    streams = [*container.streams.video, *container.streams.audio]
    ends = [float((s.start_time or 0) + s.duration) * float(s.time_base) for s in streams if s.duration and s.time_base]
    # Matroska tells one length, which some writers count from 0 and some from the first picture: the earlier end.
    return max(ends, default=(container.duration or 0) / av.time_base) or None
