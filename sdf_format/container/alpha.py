"""The lossless alpha plane (§3.5): a row-and-column difference, then zstandard."""

from __future__ import annotations

import numpy as np
from construct import GreedyBytes, Int8ub, Struct

from sdf_format.container.canonical import parse
from sdf_format.container.compression import compress, decompress
from sdf_format.errors import BadFile

FILTERS: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))  # table 3.4: axes differenced, 0 down and 1 across

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
    """A chunk body to (H, W) uint8; BadFile if it is not exactly that."""
    fields = parse(AlphaBody, body, "§3.5 chunk A")
    if fields.filter >= len(FILTERS):
        raise BadFile(f"§3.5 chunk A: filter {fields.filter} is unknown (table 3.4 has 0..{len(FILTERS) - 1})")
    data = decompress(fields.data, height * width, "§3.5 chunk A")
    if len(data) != height * width:
        raise BadFile(f"§3.5 chunk A: {len(data)} bytes for {width}x{height} pixels")
    plane = np.frombuffer(data, np.uint8).reshape(height, width)
    for axis in FILTERS[fields.filter]:
        plane = np.add.accumulate(plane, axis=axis, dtype=np.uint8)
    return plane
