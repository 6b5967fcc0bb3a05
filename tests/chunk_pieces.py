"""Files taken apart and put together again without the package's help, for contents that no encoder writes."""

from __future__ import annotations

import struct
import zlib

FRONT = 10  # bytes: signature and version, §3.1


def split(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, body) of every chunk.  §3.2"""
    chunks, at = [], FRONT
    while at < len(data):
        kind, length, shift = data[at : at + 1], 0, 0
        at += 1
        while True:
            byte = data[at]
            length |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        chunks.append((kind, data[at : at + length]))
        at += length + 4
    return chunks


def joined(front: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A file.  front: signature and version, the first bytes of any other file"""
    parts = [front[:FRONT]]
    for kind, body in chunks:
        length, left = b"", len(body)
        while left > 127:
            length, left = length + bytes([left & 127 | 128]), left >> 7
        head = kind + length + bytes([left])
        covered = (front[8:FRONT] if kind == b"H" else b"") + head + body
        parts.append(head + body + struct.pack(">I", zlib.crc32(covered)))
    return b"".join(parts)


def bodies(data: bytes) -> dict[str, list[bytes]]:
    """Bodies by type."""
    found: dict[str, list[bytes]] = {}
    for kind, body in split(data):
        found.setdefault(kind.decode(), []).append(body)
    return found


def with_metadata(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The file with these chunks, stored as they stand, for all its metadata."""
    *others, payload = [c for c in split(data) if c[0] not in (b"e", b"i", b"t", b"x")]
    return joined(data, [*others, *((kind, b"\0" + body) for kind, body in chunks), payload])
