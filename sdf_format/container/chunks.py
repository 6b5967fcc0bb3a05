"""The container (§3): signature, version, chunks.  Bytes to typed records and back, no pixels and no models.

The structs describe and never decide; the rules stand in `scan`, in clause order. A file is scanned without
reading the bodies of its chunks, whatever their size.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from construct import Bytes, ConstructError, Container, Int8ub, Int32ub, Struct, VarInt

from sdf_format.container.header import MAX_HEADER, Header, build_header, parse_header
from sdf_format.container.magic import SIGNATURE
from sdf_format.errors import BadFile, BadInput, SdfError, Trailing, Truncated, Unsupported, error_context
from sdf_format.tables import limits, table

MAJOR, MINOR = 1, 0  # §3.1
MAX_CHUNKS = limits()["chunks"]  # §3.2
MAX_LENGTH = limits()["chunk_bytes"]  # §3.2
PIECE = 1 << 20  # bytes read at once

# Table 3.1, chunk types. Bit 5 of a type (ASCII lower case) makes it ancillary.
HEADER_CHUNK, ALPHA_CHUNK, DATA_CHUNK = b"H", b"A", b"D"
EXIF_CHUNK, ICC_CHUNK, PREVIEW_CHUNK, TEXT_CHUNK, XMP_CHUNK = b"e", b"i", b"p", b"t", b"x"
CHUNKS = {row["type"].encode(): row["name"] for row in table("ids")["chunks"]}
REPEATABLE = {row["type"].encode() for row in table("ids")["chunks"] if row["repeats"]}
ANCILLARY = 0x20

# §3.1 Version, after the signature
Version = Struct(
    "major" / Int8ub,
    "minor" / Int8ub,
)

HEADER_OFFSET = len(SIGNATURE) + Version.sizeof()  # §3.2: of chunk H

# §3.2 Chunk head; the body and a CRC-32 follow
ChunkHead = Struct(
    "type" / Bytes(1),
    "length" / VarInt,
)


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies.

    offset: of its type byte; body: of its first body byte; available: body bytes in the file.
    """

    type: bytes
    offset: int
    body: int
    length: int
    available: int

    @property
    def name(self) -> str:
        return CHUNKS.get(self.type, "unknown")

    @property
    def ancillary(self) -> bool:
        return bool(self.type[0] & ANCILLARY)

    @property
    def end(self) -> int:
        """Offset of the byte after the CRC."""
        return self.body + self.length + 4


@dataclass(frozen=True)
class File:
    """A scanned file.  problem: what `load` and `verify` have to say about its end, if anything."""

    major: int
    minor: int
    header: Header
    chunks: tuple[Chunk, ...]
    problem: BadFile | None

    def find(self, kind: bytes) -> Chunk | None:
        return next((c for c in self.chunks if c.type == kind), None)


def size_of(stream: BinaryIO) -> int:
    """Bytes of a stream. What `seek` answers is not asked for: some streams say nothing."""
    stream.seek(0, io.SEEK_END)
    return stream.tell()


def fetch(stream: BinaryIO, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on, fewer where the stream ends. Streams may answer with less than they were asked
    for, or with arrays.
    """
    stream.seek(offset)
    found = bytes(stream.read(size) or b"")
    while 0 < len(found) < size and (more := bytes(stream.read(size - len(found)) or b"")):
        found += more
    return found


def crc(*parts: bytes) -> int:
    """CRC-32 of ISO 3309, as in PNG and zlib.  §3.2"""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def head(stream: BinaryIO, offset: int) -> tuple[bytes, int, int]:
    """(type, length, head size) of the chunk at `offset`; Truncated if the file ends inside it."""
    raw = fetch(stream, offset, 6)  # a type and a VarInt of MAX_LENGTH
    if not raw:
        raise Truncated(f"§3.2 the file ends at offset {offset}, before its payload chunk; fetch it again")
    if not raw[:1].isalpha():
        raise BadFile(f"§3.2 chunk at offset {offset}: type {raw[:1]!r} is not an ASCII letter")
    buffer = io.BytesIO(raw)
    try:
        found = ChunkHead.parse_stream(buffer)
    except ConstructError as error:
        if len(raw) < 6:
            raise Truncated(f"§3.2 the file ends inside the chunk head at offset {offset}") from error
        raise BadFile(f"§3.2 chunk at offset {offset}: its length is longer than five bytes") from error
    if ChunkHead.build(found) != raw[: buffer.tell()]:
        raise BadFile(f"§3.2 chunk at offset {offset}: its length is not in canonical form")
    if found.length > MAX_LENGTH:
        raise BadFile(
            f"§3.2 chunk {found.type.decode()} at offset {offset}: length {found.length} is over {MAX_LENGTH}"
        )
    return found.type, found.length, buffer.tell()


def scan(stream: BinaryIO, start: int = 0) -> File:
    """Find the chunks of the file that begins at `start`, and read its header.

    A file that ends early or goes wrong behind its header is returned with `problem` set: its size and metadata are
    known even if its picture is not. Raises BadFile or Unsupported for anything up to the header's CRC.
    """
    size = size_of(stream)
    with error_context(start):
        version = _front(stream, start)
    chunks: list[Chunk] = []
    header: Header | None = None
    offset = start + HEADER_OFFSET
    problem: BadFile | None = None
    try:
        while not chunks or chunks[-1].type != DATA_CHUNK:
            with error_context(offset):
                chunk = _chunk(stream, offset, size, chunks)
                chunks.append(chunk)
                if chunk.type == HEADER_CHUNK:
                    header = parse_header(read(stream, chunk, prefix=Version.build(version)))
                if chunk.end > size:
                    raise Truncated(
                        f"§3.2 chunk {chunk.type.decode()} at offset {offset} should end at offset {chunk.end}; "
                        f"the file ends at {size}"
                    )
                offset = chunk.end
        if size > offset:
            with error_context(offset):
                raise Trailing(
                    f"§3.2 {size - offset} bytes follow the payload chunk, which must be last (offset {offset})"
                )
    except BadFile as error:
        if header is None:
            raise
        problem = error
    assert header is not None  # the first chunk is H, and the loop read it
    return File(version.major, version.minor, header, tuple(chunks), problem)


def _front(stream: BinaryIO, start: int) -> Container:
    """§3.1: signature and version."""
    front = fetch(stream, start, HEADER_OFFSET)
    if not front.startswith(SIGNATURE):
        raise BadFile(
            f"§3.1 signature: {front[:8].hex(' ') or 'nothing'} where {SIGNATURE.hex(' ')} was wanted; this is not an "
            "SDF file"
        )
    if len(front) < HEADER_OFFSET:
        raise Truncated("§3.1 the file ends inside its version")
    version = Version.parse(front[len(SIGNATURE) :])
    if version.major != MAJOR:
        raise Unsupported(
            f"§3.1 version {version.major}.{version.minor}: this decoder knows version {MAJOR}; update it"
        )
    return version


def _chunk(stream: BinaryIO, offset: int, size: int, before: Sequence[Chunk]) -> Chunk:
    """The chunk at `offset` of a file of `size` bytes, its place among the others checked."""
    if len(before) == MAX_CHUNKS:
        raise BadFile(f"§3.2 more than {MAX_CHUNKS} chunks")
    kind, length, taken = head(stream, offset)
    chunk = Chunk(kind, offset, offset + taken, length, max(0, min(length, size - offset - taken)))
    _check_order(chunk, before)
    if kind == HEADER_CHUNK and length > MAX_HEADER:
        raise BadFile(f"§3.2 chunk H: length {length} is over {MAX_HEADER}")
    return chunk


def _check_order(chunk: Chunk, before: Sequence[Chunk]) -> None:
    """§3.2: H first, no critical chunk of an unknown type, nothing twice that may stand once."""
    name = chunk.type.decode()
    if not before and chunk.type != HEADER_CHUNK:
        raise BadFile(f"§3.2 the first chunk is {name} (offset {chunk.offset}); it must be H")
    if not chunk.ancillary and chunk.type not in CHUNKS:
        raise Unsupported(f"§3.2 critical chunk {name} at offset {chunk.offset} is unknown here; update the decoder")
    if chunk.type in CHUNKS and chunk.type not in REPEATABLE and any(c.type == chunk.type for c in before):
        raise BadFile(f"§3.2 a second chunk {name} at offset {chunk.offset}")


def read(stream: BinaryIO, chunk: Chunk, prefix: bytes = b"") -> bytes:
    """The body of a chunk, its CRC checked.  prefix: what else the CRC covers (§3.2: the version, for H)."""
    return b"".join(_checked(stream, chunk, prefix))


def read_part(stream: BinaryIO, chunk: Chunk) -> bytes:
    """What the file has of a chunk's body, unchecked: for files that end early."""
    return fetch(stream, chunk.body, chunk.available)


def verify_chunk(stream: BinaryIO, file: File, chunk: Chunk) -> None:
    """Check one chunk's CRC, whatever its size."""
    prefix = Version.build(dict(major=file.major, minor=file.minor)) if chunk.type == HEADER_CHUNK else b""
    for _ in _checked(stream, chunk, prefix):
        pass


def _checked(stream: BinaryIO, chunk: Chunk, prefix: bytes) -> Iterator[bytes]:
    """The body in pieces of 1 MiB; then its CRC is compared."""
    name = chunk.type.decode()
    with error_context(chunk.offset):
        if chunk.available < chunk.length:
            raise Truncated(
                f"§3.2 chunk {name} at offset {chunk.offset}: {chunk.available} of {chunk.length} bytes are there"
            )
        value = crc(prefix, ChunkHead.build(dict(type=chunk.type, length=chunk.length)))
        place, end = chunk.body, chunk.body + chunk.length
        while place < end:
            piece = fetch(stream, place, min(end - place, PIECE))
            if not piece:
                raise Truncated(f"§3.2 chunk {name} at offset {chunk.offset}: the file ends inside it")
            value = zlib.crc32(piece, value)
            place += len(piece)
            yield piece
        stored = fetch(stream, end, 4)
        if len(stored) < 4:
            raise Truncated(f"§3.2 chunk {name} at offset {chunk.offset}: the file ends inside its CRC")
        if value != Int32ub.parse(stored):
            raise BadFile(
                f"§3.2 chunk {name} at offset {chunk.offset}: its CRC is {stored.hex()}, its bytes give {value:08x}; "
                "the file was damaged, fetch it again"
            )


def verify(stream: BinaryIO, file: File, trailing: bool = False) -> None:
    """Every byte of the file, without a model: signature, structure and all CRCs.

    trailing: pass over what follows the file.
    """
    for chunk in file.chunks:
        if chunk.available == chunk.length:
            verify_chunk(stream, file, chunk)
    if file.problem and not (trailing and isinstance(file.problem, Trailing)):
        raise file.problem


def check_alpha(file: File) -> Chunk | None:
    """The alpha plane's chunk, which is there exactly where the mode has alpha.  §3.5"""
    chunk = file.find(ALPHA_CHUNK)
    if (chunk is not None) != file.header.mode.endswith("A"):
        with error_context((chunk or file.chunks[0]).offset):
            raise BadFile(f"§3.5 mode {file.header.mode} {'without' if chunk is None else 'with'} an alpha chunk")
    return chunk


def build_chunk(kind: bytes, body: bytes, prefix: bytes = b"") -> bytes:
    """§3.2; BadInput if the body is too long."""
    if len(body) > MAX_LENGTH:
        raise BadInput(f"a chunk holds at most {MAX_LENGTH} bytes, not {len(body)}")
    head = ChunkHead.build(dict(type=kind, length=len(body)))
    return head + body + Int32ub.build(crc(prefix, head, body))


def build(header: Header, payload: bytes, others: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A whole file: header, the other chunks in the order given, payload.  §3; BadInput if `scan` would refuse it."""
    version = Version.build(dict(major=MAJOR, minor=MINOR))
    parts = [SIGNATURE, version, build_chunk(HEADER_CHUNK, build_header(header), version)]
    parts += [build_chunk(kind, body) for kind, body in others]
    data = b"".join([*parts, build_chunk(DATA_CHUNK, payload)])
    try:
        problem: SdfError | None = scan(io.BytesIO(data)).problem
    except (BadFile, Unsupported) as error:
        problem = error
    if problem:
        raise BadInput(f"this file cannot be written: {problem}") from problem
    return data
