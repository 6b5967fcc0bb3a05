"""What the rows of the suite are made of: chunks with right checksums around whatever fields they ask for, and
reproducible bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sdf_format.container import chunks, parameters
from sdf_format.container.chunks import HEADER_OFFSET, SIGNATURE
from sdf_format.container.header import HASH_SHORT
from sdf_format.diffusion import schedule
from sdf_format.models.loading import MODELS

TINY = 1  # table 4.1
WEIGHTS = bytes.fromhex(MODELS[TINY].sha256)[:HASH_SHORT]
WIDTH, HEIGHT = 40, 24  # of a picture whose size does not matter
PAYLOAD = 60  # bytes, likewise
LAW = dict(steps=6, end=40, slope=60, bend=8)
# orientation 6, which moves no pixel
EXIF = bytes.fromhex("4d4d002a000000080001011200030000000100060000000000000000")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
# A profile of nothing but its head: version 4, a display's, RGB.
ICC = bytes(3) + b"\x84" + bytes(4) + b"\x04" + bytes(3) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(92)
assert len(ICC) == 132

Part = tuple[bytes, bytes]  # type and body of a chunk


def bits(name: str, count: int = PAYLOAD) -> bytes:
    """Payload of a file whose bits are nobody's picture. Any bits decode: random ones, to what the model dreams."""
    return hashlib.shake_128(name.encode()).digest(count)


def varint(value: int, size: int = 0) -> bytes:
    """§2; size: bytes to spread it over, more than needed if wished."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * (size - len(groups))
    return bytes(g | 0x80 for g in groups[:-1]) + bytes(groups[-1:])


def body(
    width: int = WIDTH,
    height: int = HEIGHT,
    mode: int = 1,
    kind: int = parameters.DIFFC,
    model: bytes = b"",
    parameter_bytes: bytes | None = None,
) -> bytes:
    """§3.3, of any numbers.  model: its field and those behind it."""
    if parameter_bytes is None:
        parameter_bytes = parameters.build(parameters.Diffc(schedule.LAW, LAW))
    return (
        varint(width) + varint(height) + bytes([kind << 4 | mode]) + (model or varint(TINY) + WEIGHTS) + parameter_bytes
    )


def chunk_bytes(parts: Sequence[Part], version: bytes = b"\1\0") -> list[bytes]:
    return [chunks.build_chunk(kind, content, version if kind == b"H" else b"") for kind, content in parts]


def front(version: bytes = b"\1\0") -> bytes:
    return SIGNATURE + version


def file(*parts: Part, version: bytes = b"\1\0") -> bytes:
    return front(version) + b"".join(chunk_bytes(parts, version))


def place(parts: Sequence[Part], number: int) -> int:
    """Offset of chunk `number` of `file(*parts)`."""
    return HEADER_OFFSET + sum(len(c) for c in chunk_bytes(parts[:number]))
