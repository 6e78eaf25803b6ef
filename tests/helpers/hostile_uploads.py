"""Uploads that nobody means well with, made by code: names, types, contents."""

import gzip
import io
import random
import struct
import zipfile

NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\system32\\config.mp4",
    "/etc/passwd.mp4",
    "C:\\clip.mp4",
    "a" * 4000 + ".mp4",
    "<script>alert(1)</script>.mp4",
    '"quoted";rm -rf \'.mp4',
    "line\nfeed\r\nX-Header: 1.mp4",
    "nul\0.mp4",
    "\u202egpj.4pm",
    "\x1b[2J\x1b[1;1H.mp4",
    "-rf.mp4",
    ".mp4",
    "....",
    " ",
    "con.mp4",
    "~root.webm",
    "$(touch pwned).mp4",
    "`id`.mkv",
    "%2e%2e%2f%00.mp4",
    "clip.mp4/",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x.mp4",
    "concat:a|b.ts",
    "pipe:0",
    "\U0001f600" * 60 + ".mov",
    "caf\u0301.mp4",
    "{{ 7 * 7 }}.mp4",
]
TYPES = [
    "video/mp4",
    "text/html",
    "application/x-sh",
    "multipart/form-data; boundary=x",
    "",
    "\u00e9",
    "video/" + "x" * 999,
]


def _box(kind, payload=b"", size=None):
    return struct.pack(">I4s", len(payload) + 8 if size is None else size, kind) + payload


def _zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../escape.mp4", b"\0" * 1_000_000)
    return stream.getvalue()


def contents(good, port):
    """What uploads hold, by a word for each; ``good`` is a sound clip, which some are made of.

    Those that point elsewhere do so to a port of this machine, where a test may listen.
    """
    site = b"http://127.0.0.1:%d/" % port
    film = b"\0\0\0\0url " + struct.pack(">I", len(site)) + site
    for kind in (b"rdrf", b"rmda", b"rmra", b"moov"):
        film = _box(kind, film)
    rng = random.Random(0)
    made = {
        "nothing": b"",
        "a text": b"I am a video, believe me.\n" * 40,
        "a page": b"<html><script>fetch('%s')</script>" % site,
        "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="%sx"/></svg>' % site,
        "a playlist of a site": b"#EXTM3U\n#EXTINF:1,\n%sx.ts\n" % site,
        "a playlist of files": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "a playlist with a key": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="%sk"\n#EXTINF:1,\nx.ts\n' % site,
        "a list of stations": b"[playlist]\nNumberOfEntries=1\nFile1=%s\n" % site,
        "a list to join from a site": b"ffconcat version 1.0\nfile '%sx.mp4'\n" % site,
        "a film that refers to another": _box(b"ftyp", b"qt  \0\0\0\0") + film,
        "a list to join": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "a session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video %d TCP/RTP/AVP 96\n" % port,
        "a manifest": b'<?xml version="1.0"?><MPD><BaseURL>%s</BaseURL></MPD>' % site,
        "a zip": _zip(),
        "a bomb": gzip.compress(b"\0" * 50_000_000),
        "a program": b"\x7fELF" + rng.randbytes(500),
        "a picture": b"\x89PNG\r\n\x1a\n" + rng.randbytes(300),
        "a pickle": b"\x80\x04cposix\nsystem\n(X\x02\x00\x00\x00idtR.",
        "noise": rng.randbytes(5000),
        "zeros": b"\0" * 100_000,
        "huge box": _box(b"ftyp", b"isom\0\0\0\0") + _box(b"moov", b"\0" * 64, 0xFFFFFFF0),
        "box of no size": _box(b"ftyp", b"isom\0\0\0\0") + _box(b"mdat", b"", 1) + b"\xff" * 8,
        "nested boxes": _box(b"ftyp", b"isom\0\0\0\0")
        + b"".join(_box(b"moov", b"", 8 + 8 * k) for k in range(300, 0, -1)),
        "a sound of 4 GiB": b"RIFF\xff\xff\xff\xffWAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 44100, 88200, 2, 16)
        + b"data\xff\xff\xff\xff",
        "matroska without end": b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + rng.randbytes(800),
        "avi of nothing": b"RIFF\x00\x00\x00\x00AVI LIST" + b"\xff" * 200,
        "flash": b"FLV\x01\x05\0\0\0\x09" + b"\xff" * 400,
        "good, then a zip": good + _zip(),
        "good, then a page": good + b"<script>alert(1)</script>",
        "a page, then good": b"<html><!--" + good,
        "good twice": good + good,
        "good, backwards": good[::-1],
    }
    for share in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        made[f"{share:.0%} of good"] = good[: int(len(good) * share)]
    for k in range(10):
        data = bytearray(good)
        for _ in range(2**k):
            data[rng.randrange(len(data))] = rng.randrange(256)
        made[f"good with {2**k} bytes changed"] = bytes(data)
    return made


def uploads(good, port, count=200):
    """(name, type, what, bytes) of ``count`` uploads; every name, type and content among them."""
    made = list(contents(good, port).items())
    for i in range(count):
        what, data = made[i % len(made)]
        yield NAMES[i % len(NAMES)], TYPES[i % len(TYPES)], what, data
