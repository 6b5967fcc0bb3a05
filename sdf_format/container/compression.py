"""Chunk bodies that may be compressed (§3.4, §3.5): zstandard with every limit checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterator

from construct import Construct, GreedyBytes, Int8ub, Struct

from sdf_format.container.canonical import parse
from sdf_format.errors import BadFile, BadInput
from sdf_format.tables import limits

STORED, ZSTD = 0, 1  # methods, §3.4
METADATA_LIMIT = limits()["metadata_bytes"]  # of one body, §3.4
TOTAL_LIMIT = limits()["all_metadata_bytes"]  # of all metadata bodies of a file, §3.4
WINDOW = limits()["window_bytes"]  # §3.4
LEVEL = 19
MAGIC = bytes.fromhex("28b52ffd")  # of a zstandard frame; a skippable one begins otherwise
PIECE = 256  # bytes of a frame taken at once: no more than 64 blocks of 128 KiB come out of them


class TooLong(BadFile):
    """A body that decompresses to more than it may."""


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
        raise TooLong(f"{where}: more than {limit} bytes")
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
    return b"".join(pieces(frame, limit, where))


def pieces(frame: bytes, limit: int, where: str) -> Iterator[bytes]:
    """What a frame holds, at most 8 MiB at a time, as soon as it is known; then what `decompress` raises."""
    import zstandard

    if not frame.startswith(MAGIC):
        raise BadFile(f"{where}: the body is not exactly one zstandard frame")
    worker = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
    start = size = 0
    try:
        while start < len(frame) and not worker.eof:
            piece = worker.decompress(frame[start : start + PIECE])
            start += PIECE
            size += len(piece)
            if size > limit:
                raise TooLong(f"{where}: decompresses to more than {limit} bytes")
            yield piece
    except zstandard.ZstdError as error:
        raise BadFile(f"{where}: the zstandard frame is damaged: {error}") from error
    # decompressobj swallows what stands behind the frame in its last piece, and stops early without complaint.
    if not worker.eof or worker.unused_data or start < len(frame):
        raise BadFile(f"{where}: the body is not exactly one zstandard frame")
