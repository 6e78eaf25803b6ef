r"""What strangers wrote, in a form that any file and any terminal can hold.

File names are bytes, and labels, tables and archives hold any character: bytes that are no UTF-8, line ends, escape
sequences, marks that turn the direction of writing. :func:`shown` writes each of these as an escape; nothing foreign is
printed without it. A clip's *name* is the :func:`name_form` of its file name, from which :func:`raw_name` gives the
file name back; nearly every name is its own form.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

ERRORS = "apt-shown"
"""Name of the codec error handler that writes as :func:`shown` does what an encoding cannot hold."""

_JOINERS = "\u200c\u200d"
"""Format characters that languages and emoji need and that do nothing else."""
_PLAIN = re.compile(r"[ -~]*")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_LIKE_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def shown(text: str) -> str:
    r"""Write as escapes all that a terminal or a line could take for more than a character.

    These are control characters, line ends, format characters such as those that turn the direction of writing, and
    lone surrogates, as which Python holds bytes of a name that are no UTF-8. Doing it twice changes nothing.

    Args:
        text: Anything.

    Returns:
        One line.

    Example:
        >>> print(shown("caf\udce9\x1b[2J\u202egpj.mp4"))
        caf\xe9\x1b[2J\u202egpj.mp4
    """
    return text if _PLAIN.fullmatch(text) else "".join(map(_shown, text))


def _shown(character: str) -> str:
    kind = unicodedata.category(character)
    hidden = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS)
    return _escape(character) if hidden else character


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:  # ASCII, or a byte of a name that is no UTF-8 (PEP 383)
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def name_form(raw: str) -> str:
    r"""Write a file name, or a path, so that any file can hold it, one a line; :func:`raw_name` undoes it.

    Escapes are those of :func:`shown`; blanks at an end, which readers of tables drop, and a backslash that looks
    like the begin of an escape are escapes too.

    Args:
        raw: As the operating system gives it.

    Example:
        >>> print(name_form(" a\nb.mp4"), name_form(r"C:\x41"), name_form("plain name.mp4"))
        \x20a\x0ab.mp4 C:\x5cx41 plain name.mp4
    """
    text = shown(_LIKE_ESCAPE.sub(lambda _: r"\x5c", raw))
    if text != text.strip():
        inner = text.strip()
        left = text.index(inner) if inner else len(text)
        text = "".join(map(_escape, text[:left])) + inner + "".join(map(_escape, text[left + len(inner) :]))
    return text


def raw_name(form: str) -> str:
    r"""Give back the file name of which :func:`name_form` made ``form``.

    Example:
        >>> raw_name(name_form("\udcff\\x41 \u2028")) == "\udcff\\x41 \u2028"
        True
    """
    return _ESCAPE.sub(_character, form)


def _character(found: re.Match[str]) -> str:
    code = int(next(filter(None, found.groups())), 16)
    if found[1] and code >= 0x80:
        code += 0xDC00
    return chr(code) if code <= 0x10FFFF else found[0]


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


codecs.register_error(ERRORS, _replace)
