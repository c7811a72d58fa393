"""Text from outside made fit for a terminal, a page and a line of an error.

A name may hold what moves a cursor, clears a screen or turns the text around it (control, C1 and
bidirectional characters), bytes that are no text, and a million characters.
"""

from __future__ import annotations

import re

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline, C1, line separators, direction marks, half characters."""
_ECHOED = 80
"""Characters of a value that a message shows."""
_ECHOED_PATH = 300
"""Characters shown of the name of a file, which has to be found by it."""
_MESSAGE = 690
_VALUE = re.compile(
    r"""(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)"(?:[^"\\]|\\.)*"(?!\w)|\[[^\]]*\]|\{[^}]*\}|\S+"""
)
"""A quoted value, a list, an object, or a word of a message."""


def printable(text: str) -> str:
    """Returns the text with every character that a terminal would obey written as its escape."""
    return _OBEYED.sub(_escape, text)


def one_line(message: str) -> str:
    """Returns a message as one line that can be printed, the values in it cut to 80 characters."""
    return _VALUE.sub(_cut, " ".join(printable(message[: 20 * _MESSAGE]).split()))[:_MESSAGE]


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _cut(found: re.Match[str]) -> str:
    value = found[0]
    most = _ECHOED_PATH if "/" in value else _ECHOED
    if len(value) <= most + 2:
        return value
    end = value[-1] if value[0] in "'\"[{" else ""
    return f"{value[: most - 3]}...{end}"
