"""Files that no reader may be given, or that would never end: named at once."""

import io
import os
import time

import av
import numpy as np
import pytest
from media import write_clip

from apt_lightning.common.errors import ClipError
from apt_lightning.data.media import container, decode, packets
from apt_lightning.data.media.extract import extract_clip
from apt_lightning.data.media.extraction import ExtractionSettings


def fifo(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path.name)


def huge(path):
    with open(path, "wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(container.LARGEST + 1)


def dangling(path):
    path.symlink_to("nowhere.mp4")


KINDS = {
    "fifo": (fifo, "unreadable-file", "a FIFO"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "unreadable-file", "a device"),
    "folder": (lambda path: path.mkdir(), "unreadable-file", "a folder"),
    "loop of links": (loop, "unreadable-file", "[Ss]ymbolic links"),
    "dangling link": (dangling, "missing-file", "no file"),
    "huge": (huge, "too-long", "16.0 GiB, of at most 16.*ffmpeg -i"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_named_at_once(tmp_path, kind):
    make, code, detail = KINDS[kind]
    path = tmp_path / "clip.mp4"
    make(path)
    start = time.monotonic()
    with pytest.raises(ClipError, match=detail) as caught:
        extract_clip(path, "clip.mp4")
    assert caught.value.code == code and time.monotonic() - start < 20


def test_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(packets, "LONGEST", 1)
    for ending, codec in (("m4a", "aac"), ("mkv", "flac")):
        path = write_clip(tmp_path / f"a.{ending}", 0, audio_codec=codec)  # 2 s
        for functionals in (True, False):  # apt prepare, apt doctor
            with pytest.raises(ClipError, match=r"ffmpeg -i CLIP") as caught:
                extract_clip(path, "a", functionals=functionals)
            assert caught.value.code == "too-long"


LISTS = {
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{inner}\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '{inner}'\n",
    "dash": b"<?xml version='1.0'?>\n<MPD>{inner}</MPD>\n",
    "sdp": b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "marked": b"\xef\xbb\xbf#EXTM3U\n{inner}\n",
}


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("tail", ["alone", "transport stream", "mp4"])
@pytest.mark.parametrize("kind", LISTS)
def test_lists_pass_no_reader(tmp_path, kind, tail, decoder, monkeypatch):
    opened = []
    monkeypatch.setattr(packets, "open_media", lambda path: opened.append(path))
    monkeypatch.setattr(decode, "_read_decord", lambda *_: opened.append("decord"))
    inner = write_clip(tmp_path / "inner.ts", 30)
    data = LISTS[kind].replace(b"{inner}", str(inner).encode())
    more = {"alone": b"", "transport stream": inner.read_bytes(), "mp4": write_clip(tmp_path / "i.mp4", 9).read_bytes()}
    (tmp_path / "a.ts").write_bytes(data + more[tail])
    with pytest.raises(ClipError) as caught:
        extract_clip(tmp_path / "a.ts", "a.ts", ExtractionSettings(decoder=decoder))
    assert caught.value.code == "not-a-video" and not opened


@pytest.mark.parametrize(("ending", "given"), [("mp4", True), ("mkv", True), ("ts", False), ("avi", False)])
def test_decord_gets_bytes_that_are_one_thing_to_all(tmp_path, ending, given, monkeypatch):
    decord = pytest.importorskip("decord")
    got = []

    def reader(source, **_):
        got.append(source)
        raise RuntimeError("none of decord's own exceptions")

    monkeypatch.setattr(decord, "VideoReader", reader)
    path = write_clip(tmp_path / f"a.{ending}", 30, b_frames=0)
    taken = extract_clip(path, "a", ExtractionSettings(decoder="decord"), functionals=False)
    assert len(taken.frames) == 6 and not taken.faults  # by the other reader
    assert bool(got) == given and all(isinstance(source, io.BufferedReader) for source in got)


@pytest.mark.parametrize("ending", ["aac", "m4a", "wav", "flac", "mp3"])
def test_sound_alone(tmp_path, ending):
    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame"}.get(ending, "aac")
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w", format="adts" if ending == "aac" else None) as out:
        stream = out.add_stream(codec, rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (0.3 * np.sin(np.arange(88200) / 30)).astype(np.float32)[None], "fltp", "mono"
        )
        frame.sample_rate = 44100
        for part in av.AudioResampler(stream.codec_context.format.name, "mono", 44100).resample(frame):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    found = extract_clip(path, "a")
    assert found.functionals is not None and {fault.code for fault in found.faults} == {"no-video"}
