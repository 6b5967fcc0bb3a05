"""Dots per inch, which live in EXIF (tags XResolution, YResolution, ResolutionUnit), as Pillow's `dpi`.

The tags are changed in the block itself: Pillow's own writer drops an embedded thumbnail and moves what a maker's note
points to.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from sdf_format import arguments
from sdf_format.container.exif import PREFIX, UNIT, X, Y
from sdf_format.container.exif import resolution as read
from sdf_format.errors import BadInput

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # TIFF 6.0
INCH = 2
SHORT, RATIONAL = 3, 5
ENTRY = 12  # bytes
LARGEST, FINEST = 2**32 - 1, 1 << 20  # numerator and denominator of a resolution

Entry = tuple[int, bytes]  # tag, all its bytes


def checked(dpi: Any) -> tuple[float, float]:
    """(x, y) from any sequence of two numbers; BadInput for what is none, or cannot be stored."""
    values = dpi.tolist() if hasattr(dpi, "tolist") else dpi
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes, bytearray)) or len(values) != 2:
        raise BadInput(f"dpi {dpi!r:.100}: wanted two numbers, dots per inch across and down")
    x, y = (arguments.number("dpi", value, 1 / FINEST, LARGEST) for value in values)
    return x, y


def is_tiff(exif: bytes) -> bool:
    """Whether there is the head of a TIFF file, behind the prefix or without one: what readers of EXIF begin with."""
    data = exif.removeprefix(PREFIX)
    return len(data) >= 8 and data[:4] in (*ORDERS, b"II+\0", b"MM\0+")


def is_empty(exif: bytes) -> bool:
    """Whether there is not one tag in it."""
    data = exif.removeprefix(PREFIX)
    if data[:4] not in ORDERS or len(data) < 8:
        return not data
    entries, following, _ = _directory(data, ORDERS[data[:4]])
    return not entries and not following


def changed(exif: bytes, dpi: tuple[float, float] | None) -> bytes:
    """The EXIF with this resolution in its three tags, or without them; every other byte stays where it is.

    The first directory is written anew behind the rest, so that nothing that others point to moves. BadInput for EXIF
    that has no first directory to change.
    """
    if (dpi is None and (is_empty(exif) or read(exif) is None)) or (dpi is not None and read(exif) == dpi):
        return exif
    prefix = exif[: len(PREFIX)] if exif.startswith(PREFIX) else b"" if exif else PREFIX
    data = exif.removeprefix(PREFIX) or b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
    order = ORDERS.get(data[:4])
    if order is None or len(data) < 8:
        raise BadInput("dpi: the EXIF is no TIFF, so that its resolution cannot be changed; give other EXIF, or none")
    entries, following, (begin, end) = _directory(data, order)
    if (len(data) == end + 16 and _places(order, entries) == (end, end + 8)) or len(data) == end:
        data = data[:begin]  # a directory that stands at the end, with no more than its own resolution behind it
    data += bytes(len(data) % 2)
    entries = [entry for entry in entries if entry[0] not in (X, Y, UNIT)]
    place = len(data) + 2 + ENTRY * (len(entries) + 3) + 4
    values = b""
    if dpi is not None:
        for tag, number in ((X, dpi[0]), (Y, dpi[1])):
            entries.append((tag, struct.pack(f"{order}HHII", tag, RATIONAL, 1, place + len(values))))
            values += struct.pack(f"{order}II", *_rational(number))
        entries.append((UNIT, struct.pack(f"{order}HHIHH", UNIT, SHORT, 1, INCH, 0)))
    table = b"".join(entry for _, entry in sorted(entries, key=lambda e: e[0]))
    head = data[:4] + struct.pack(f"{order}I", len(data))
    own = struct.pack(f"{order}H", len(entries)) + table + struct.pack(f"{order}I", following)
    return prefix + head + data[8:] + own + values


def _directory(data: bytes, order: str) -> tuple[list[Entry], int, tuple[int, int]]:
    """What is there of the first directory's entries; where the next one is, or 0; where this one begins and ends."""
    (begin,) = struct.unpack_from(f"{order}I", data, 4)
    if begin < 8 or begin + 2 > len(data):
        return [], 0, (len(data), len(data))
    (count,) = struct.unpack_from(f"{order}H", data, begin)
    count = min(count, (len(data) - begin - 2) // ENTRY)
    places = [begin + 2 + ENTRY * i for i in range(count)]
    end = begin + 2 + ENTRY * count
    entries = [(struct.unpack_from(f"{order}H", data, p)[0], data[p : p + ENTRY]) for p in places]
    if end + 4 > len(data):
        return entries, 0, (begin, len(data) + 1)
    return entries, struct.unpack_from(f"{order}I", data, end)[0], (begin, end + 4)


def _places(order: str, entries: list[Entry]) -> tuple[int, ...]:
    """Where the values of the resolution lie."""
    return tuple(struct.unpack(f"{order}I", entry[8:])[0] for tag, entry in entries if tag in (X, Y))


def _rational(number: float) -> tuple[int, int]:
    """Numerator and denominator, of 32 bits each."""
    fraction = Fraction(number).limit_denominator(max(1, min(FINEST, int(LARGEST / number))))
    return max(1, fraction.numerator), fraction.denominator
