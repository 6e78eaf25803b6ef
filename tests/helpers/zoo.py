"""A folder with files of every kind: good and bad clips, sounds, texts, hidden files, links, duplicates, odd names."""

import os
import shutil

from media import write_clip

GOOD = {
    "a.mp4": {},
    "b.webm": {"codec": "libvpx", "audio_codec": "libopus", "sample_rate": 48000},
    "c.mkv": {"audio_codec": "flac"},
    "d.AVI": {"codec": "mpeg4", "audio_codec": "mp3", "b_frames": 0},
    "e.MOV": {},
    "f.ts": {},
    "g.flv": {"sample_rate": 44100},
    "h.3gp": {"codec": "mpeg4", "b_frames": 0},
    "i.wav": {"count": 0, "audio_codec": "pcm_s16le"},
    "j.flac": {"count": 0, "audio_codec": "flac"},
    "k.opus": {"count": 0, "audio_codec": "libopus", "sample_rate": 48000},
}
"""Name to arguments of :func:`media.write_clip`."""


def make_zoo(root):
    """Fill a folder; returns how many files it has, a hidden folder counted as one.

    Of the clips, 19 can be opened, and 5 cannot: an empty one, a text, a cut one, a pipe and a link to nothing.
    """
    root = os.fsencode(root)

    def at(name):
        return os.path.join(root, os.fsencode(name))

    for name, how in GOOD.items():
        write_clip(os.fsdecode(at(name)), **{"count": 12, "size": (64, 48)} | how)
    for name in ("copy.mp4", "two\nlines.mp4", "-dash.mp4", "A.MP4", b"caf\xe9.mp4", "\x1b[2J.mp4", "sub/new.mp4"):
        os.makedirs(os.path.dirname(at(name)), exist_ok=True)
        shutil.copy(at("a.mp4"), at(name))
    shutil.copy(at("c.mkv"), at("sub/c.mkv"))  # the second of its name
    shutil.copy(at("i.wav"), at("a.wav"))  # the sound of a film
    os.symlink(at("a.mp4"), at("link.mp4"))
    os.symlink(root, at("sub/loop"))
    with open(at("a.mp4"), "rb") as file:
        bad = {"empty.mp4": b"", "text.mp4": b"I am a text.\n" * 50, "cut.mp4": file.read(2000)}
    others = {"notes.txt": b"x", "README": b"x", "photo.JPG": b"x", ".DS_Store": b"x", ".hidden.mp4": b"x"}
    for name, data in (bad | others | {"sub/words.csv": b"clip,transcript\n", ".git/config": b"x"}).items():
        os.makedirs(os.path.dirname(at(name)), exist_ok=True)
        with open(at(name), "wb") as file:
            file.write(data)
    os.mkfifo(at("pipe.mp4"))
    os.symlink(at("nowhere"), at("dangling.mp4"))
    return sum(len(files) for folder, _, files in os.walk(root) if b".git" not in folder) + 1
