"""Zips made in memory, and what a folder holds."""

import io
import zipfile

CLIPS = [("-aB.000.mp4", b"one" * 50), ("zzz.005.mp4", b"two" * 70)]


def pack(members, compression=zipfile.ZIP_STORED):
    """Bytes of a zip; members are (name or ZipInfo, bytes)."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
