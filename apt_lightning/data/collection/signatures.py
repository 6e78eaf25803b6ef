"""What a file is by its first bytes, when it is not what its name says."""

import re

_SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x8b": "a gzip file",
    **{b"BZh%d1AY&SY" % level: "a bzip2 file" for level in range(1, 10)},
    b"\xfd7zXZ\x00": "an xz file",
    b"%PDF-": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document",
    b"\x89HDF": "an HDF5 file",
}
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|\?xml[^>]*>\s*<(?:!doctype\s+html|html))\b", re.I
)

LENGTH = 1024
"""Bytes to look at."""


def kind_of(head: bytes) -> str | None:
    """Name a kind of file that is taken for another one.

    Args:
        head: Its first :data:`LENGTH` bytes.

    Returns:
        What it is, or ``None`` if it is of no kind known here.

    Example:
        >>> kind_of(b"<!DOCTYPE html><title>Log in</title>")
        'an HTML page, as a site gives in place of a file that needs a login'
        >>> kind_of(b"clip,split") is None
        True
    """
    if _HTML.match(head):
        return "an HTML page, as a site gives in place of a file that needs a login"
    if head.startswith(b"PK\x03\x04") and re.search(rb"\[Content_Types\]\.xml|_rels/|mimetypeapplication/vnd", head):
        return "an Excel or Word document"
    return next((kind for start, kind in _SIGNATURES.items() if head.startswith(start)), None)
