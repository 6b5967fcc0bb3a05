"""Text from outside, such as names and what files say, in a form that a terminal can be given."""

from __future__ import annotations

import unicodedata


def escaped(character: str) -> str:
    """A character as a backslash escape; of a byte that is no text (PEP 383), the byte."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def printable(text: object) -> str:
    """One line: controls, line breaks, marks that reorder text, and bytes that are no text stand there as escapes."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else escaped(c) for c in str(text))
