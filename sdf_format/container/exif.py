"""A look at EXIF in a few reads, whatever is in it: its resolution, and whether a full reader may be trusted with it.

Nothing is allocated in proportion to what a directory claims.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

PREFIX = b"Exif\0\0"
X, Y, UNIT = 0x011A, 0x011B, 0x0128  # tags of TIFF 6.0
INCHES: dict[float, float] = {2: 1.0, 3: 2.54}  # ResolutionUnit: what a unit is of an inch's dots
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # byte orders for struct, by a TIFF's first bytes
TAKEN = {**ORDERS, b"II\0*": "<", b"MM*\0": ">"}  # the same with what is no TIFF's head, but is read as one by Pillow
DIRECTORIES = {
    0x8769,
    0x8825,
    0xA005,
    0x014A,
}  # tags whose values are places of directories: Exif, GPS, interoperability, SubIFDs
SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}  # bytes of a value, by type
BYTES = {1, 2, 6, 7}  # types that readers keep as one piece
NUMBERS = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}  # of one value, by type
MOST_ENTRIES = 4096  # of all directories; cameras write some hundred
MOST_NUMBERS = 1 << 15  # of all entries but bytes
MOST_DIRECTORIES = 64

Entry = tuple[int, int, int, int]  # tag, type, count, offset of the value


def _unprefixed(exif: bytes, orders: Mapping[bytes, str] = ORDERS) -> tuple[bytes, str]:
    """The TIFF in it, and its byte order for struct; "" for what is none."""
    data = exif[len(PREFIX) :] if exif.startswith(PREFIX) else exif
    return data, orders.get(data[:4], "") if len(data) >= 8 else ""


def _directory(data: bytes, order: str, offset: int) -> tuple[list[Entry], int]:
    """What is there of the entries of the directory at `offset`, and where the next directory is, or 0."""
    if offset + 2 > len(data):
        return [], 0
    (count,) = struct.unpack_from(f"{order}H", data, offset)
    end = offset + 2 + 12 * count
    entries = []
    for place in range(offset + 2, min(end, len(data) - 11), 12)[: MOST_ENTRIES + 1]:
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, place)
        far = SIZES.get(kind, 0) * number > 4
        entries.append((tag, kind, number, struct.unpack_from(f"{order}I", data, place + 8)[0] if far else place + 8))
    return entries, struct.unpack_from(f"{order}I", data, end)[0] if end + 4 <= len(data) else 0


def resolution(exif: bytes) -> tuple[float, float] | None:
    """(x, y) dots per inch, or None if the EXIF says nothing usable of it: no number above 0, several of them, or no
    EXIF at all.
    """
    data, order = _unprefixed(exif)
    if not order:
        return None
    found: dict[int, float] = {}
    for tag, kind, count, offset in _directory(data, order, struct.unpack_from(f"{order}I", data, 4)[0])[0]:
        if tag not in (X, Y, UNIT) or tag in found or kind not in NUMBERS or count != 1:
            continue
        form = order + NUMBERS[kind]
        if offset + struct.calcsize(form) <= len(data):
            value = struct.unpack_from(form, data, offset)
            found[tag] = value[0] if len(value) == 1 else value[0] / value[1] if value[1] else math.nan
    x, y, scale = (
        found.get(X, math.nan),
        found.get(Y, found.get(X, math.nan)),
        INCHES.get(found.get(UNIT, 2), math.nan),
    )
    dpi = x * scale, y * scale
    return dpi if all(0 < n < math.inf for n in dpi) else None  # nan is not above 0


def harmless(exif: bytes) -> bool:
    """Whether a reader that takes every claim at its word stays within time and memory in proportion to the block.

    False for more entries, directories or numbers than any camera writes, for values that together claim more bytes
    than there are, and for a prefix behind the first. What is no EXIF at all is harmless.
    """
    data, order = _unprefixed(exif, TAKEN)
    if not order:
        return not data.startswith(PREFIX)
    claimed = entries = numbers = 0
    waiting, seen = [struct.unpack_from(f"{order}I", data, 4)[0]], {0}
    while waiting:
        offset = waiting.pop()
        if offset in seen:
            continue
        seen.add(offset)
        found, following = _directory(data, order, offset)
        waiting.append(following)
        entries += len(found)
        if entries > MOST_ENTRIES or len(seen) > MOST_DIRECTORIES:
            return False
        for tag, kind, count, place in found:
            size = SIZES.get(kind, 0) * count
            if place + size > len(data):
                continue  # readers leave it out
            claimed += size
            numbers += 0 if kind in BYTES else count
            if claimed > len(data) + 4 * MOST_ENTRIES or numbers > MOST_NUMBERS:
                return False
            if tag in DIRECTORIES and kind in (4, 13):
                waiting += struct.unpack_from(f"{order}{min(count, MOST_DIRECTORIES)}I", data, place)
    return True
