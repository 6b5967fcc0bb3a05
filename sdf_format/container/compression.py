"""Chunk bodies that may be compressed (§3.4, §3.5): zstandard with every limit checked before anything is allocated."""

from __future__ import annotations

import io

from construct import Construct, GreedyBytes, Int8ub, Struct

from sdf_format.container.canonical import parse
from sdf_format.errors import BadFile, BadInput

STORED, ZSTD = 0, 1  # methods, §3.4
METADATA_LIMIT = 4 << 20  # bytes of one metadata body, §3.4
WINDOW = 8 << 20  # bytes, §3.4
LEVEL = 19

# §3.4 Compressible body
Body: Construct = Struct(
    "method" / Int8ub,
    "data" / GreedyBytes,
)


def pack(data: bytes) -> bytes:
    """§3.4: the shorter of stored and compressed."""
    squeezed = compress(data)
    method, body = (ZSTD, squeezed) if len(squeezed) < len(data) else (STORED, data)
    return Body.build(dict(method=method, data=body))


def pack_metadata(data: bytes, name: str) -> bytes:
    """`pack` within the limit of §3.4; BadInput beyond it."""
    if len(data) > METADATA_LIMIT:
        raise BadInput(f"§3.4 {name}: {len(data)} bytes; a file holds at most {METADATA_LIMIT}")
    return pack(data)


def unpack(body: bytes, where: str, limit: int = METADATA_LIMIT) -> bytes:
    """§3.4; BadFile if the body is damaged or longer than `limit`."""
    fields = parse(Body, body, where)
    if fields.method == STORED:
        data = fields.data
    elif fields.method == ZSTD:
        data = decompress(fields.data, limit, where)
    else:
        raise BadFile(f"{where}: compression method {fields.method} is unknown (§3.4 has 0 and 1)")
    if len(data) > limit:
        raise BadFile(f"{where}: more than {limit} bytes")
    return data


def compress(data: bytes) -> bytes:
    """One frame without size, checksum or dictionary id: the chunk has a CRC."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=min(23, max(10, len(data).bit_length())), write_content_size=False, write_checksum=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def decompress(frame: bytes, limit: int, where: str) -> bytes:
    """One frame and nothing behind it; BadFile if it is not that, or holds more than `limit` bytes."""
    import zstandard

    worker = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
    out = io.BytesIO()
    try:
        # Pieces of the input bound what one call may return.
        for start in range(0, len(frame), 1024):
            if worker.eof:
                break
            out.write(worker.decompress(frame[start : start + 1024]))
            if out.tell() > limit:
                raise BadFile(f"{where}: decompresses to more than {limit} bytes")
    except zstandard.ZstdError as error:
        raise BadFile(f"{where}: the zstandard frame is damaged: {error}") from error
    # decompressobj swallows what stands behind the frame in its last piece, and stops early without complaint.
    if not worker.eof or worker.unused_data or start + 1024 < len(frame):
        raise BadFile(f"{where}: the body is not exactly one zstandard frame")
    return out.getvalue()
