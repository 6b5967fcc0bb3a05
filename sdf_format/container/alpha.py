"""The lossless alpha plane (§3.5): a row-and-column difference, then zstandard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from construct import GreedyBytes, Int8ub, Struct

from sdf_format.container.canonical import parse
from sdf_format.container.compression import compress, pieces
from sdf_format.errors import BadFile
from sdf_format.tables import table

AXES = {"down": 0, "across": 1}
# Table 3.4: axes differenced
FILTERS: tuple[tuple[int, ...], ...] = tuple(tuple(AXES[way] for way in row["sums"]) for row in table("ids")["filters"])

# §3.5 Alpha plane
AlphaBody = Struct(
    "filter" / Int8ub,  # table 3.4
    "data" / GreedyBytes,  # one zstandard frame of height * width bytes
)


def encode(plane: np.ndarray) -> bytes:
    """(H, W) uint8 to a chunk body, with the filter that makes it shortest."""
    bodies = []
    for number, axes in enumerate(FILTERS):
        filtered = plane
        for axis in axes:
            filtered = np.diff(filtered, axis=axis, prepend=np.uint8(0))
        bodies.append(AlphaBody.build(dict(filter=number, data=compress(filtered.tobytes()))))
    return min(bodies, key=len)


def decode(body: bytes, height: int, width: int) -> np.ndarray:
    """A chunk body to (H, W) uint8; BadFile if it is not exactly that. Takes the plane's memory and some MiB."""
    number, filtered = _opened(body, height, width)
    across, down = 1 in FILTERS[number], 0 in FILTERS[number]
    plane = np.empty((height, width), np.uint8)
    above = np.zeros((1, width), np.uint8)
    row, left = 0, b""
    for piece in filtered:
        data = left + piece
        count = len(data) // width
        left = data[count * width :]
        if not count:
            continue
        rows = np.frombuffer(data, np.uint8, count * width).reshape(count, width)
        if down:
            rows = np.add.accumulate(np.concatenate([above, rows]), axis=0, dtype=np.uint8)[1:]
            above = rows[-1:]
        # The sums of either direction may come first: they are sums modulo 256.
        plane[row : row + count] = np.add.accumulate(rows, axis=1, dtype=np.uint8) if across else rows
        row += count
    return plane


def check(body: bytes, height: int, width: int) -> None:
    """BadFile if `decode` would raise it, in some MiB whatever the plane's size."""
    for _ in _opened(body, height, width)[1]:
        pass


def _opened(body: bytes, height: int, width: int) -> tuple[int, Iterator[bytes]]:
    """The filter, and the filtered plane row by row in pieces of any length.

    The pieces raise BadFile unless they are as long as the plane.
    """
    fields = parse(AlphaBody, body, "§3.5 chunk A")
    if fields.filter >= len(FILTERS):
        raise BadFile(f"§3.5 chunk A: filter {fields.filter} is unknown (table 3.4 has 0..{len(FILTERS) - 1})")

    def counted() -> Iterator[bytes]:
        size = 0
        for piece in pieces(fields.data, height * width, "§3.5 chunk A"):
            size += len(piece)
            yield piece
        if size != height * width:
            raise BadFile(f"§3.5 chunk A: {size} bytes for {width}x{height} pixels")

    return fields.filter, counted()
