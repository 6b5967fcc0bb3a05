"""Metadata chunks (§3.4) to and from the keys of Pillow's `info`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from sdf_format import arguments
from sdf_format.container import chunks, compression, mark
from sdf_format.container.chunks import (
    DATA_CHUNK,
    EXIF_CHUNK,
    HEADER_CHUNK,
    ICC_CHUNK,
    PREVIEW_CHUNK,
    TEXT_CHUNK,
    XMP_CHUNK,
    File,
)
from sdf_format.container.compression import METADATA_LIMIT, TOTAL_LIMIT
from sdf_format.errors import BadFile, BadInput, Trailing, error_context

KEYS = {EXIF_CHUNK: "exif", ICC_CHUNK: "icc_profile", XMP_CHUNK: "xmp"}
TYPES = frozenset({*KEYS, TEXT_CHUNK})
COMMENT = "Comment"  # key of the text that Pillow's `info` has as "comment"


def build(
    exif: bytes = b"", icc_profile: bytes = b"", xmp: bytes = b"", text: Mapping[str, str] | None = None
) -> list[tuple[bytes, bytes]]:
    """(type, body) of every chunk that has something to say; BadInput if it cannot be stored.

    The mark of §3.7 takes no chunk.
    """
    own = ((EXIF_CHUNK, exif), (ICC_CHUNK, icc_profile), (XMP_CHUNK, mark.removed(xmp)))
    bodies = [(kind, KEYS[kind], data) for kind, data in own if data]
    for key, value in (text or {}).items():
        if not key or "\0" in key:
            raise BadInput(f"§3.4 text: {key!r} is not a key: it is empty or has a null character")
        body = arguments.text("key of text", key).encode() + b"\0" + arguments.text("text", value).encode()
        bodies.append((TEXT_CHUNK, "text", body))
    if (total := sum(len(data) for *_, data in bodies)) > TOTAL_LIMIT:
        raise BadInput(f"§3.4 all metadata together: {total} bytes; a file holds at most {TOTAL_LIMIT}")
    return [(kind, compression.pack_metadata(data, name)) for kind, name, data in bodies]


def replaced(stream: BinaryIO, file: File, given: Mapping[bytes, Sequence[tuple[bytes, bytes]]]) -> bytes:
    """The file with other chunks for those of some types; all others stay to the byte, as does the whole where none are
    given. What follows the file is left out.

    given  type to (type, body) of each chunk in its stead: a preview, or metadata

    Raises BadFile if it is damaged, but for what follows it.
    """
    if file.problem and not isinstance(file.problem, Trailing):
        raise file.problem
    if not given:
        return chunks.fetch(stream, 0, file.chunks[-1].end)
    *others, data = [(c.type, chunks.read(stream, c)) for c in file.chunks if c.type not in {*given, HEADER_CHUNK}]
    assert data[0] == DATA_CHUNK
    previews = given.get(PREVIEW_CHUNK, ())  # first, so that they arrive first
    new = [chunk for kind, some in given.items() if kind != PREVIEW_CHUNK for chunk in some]
    return chunks.build(file.header, data[1], [*previews, *others, *new])


def read(stream: BinaryIO, file: File, marked: bool = True, most: int = TOTAL_LIMIT) -> dict[str, object]:
    """Pillow's `info` of a scanned file: exif, icc_profile, xmp, comment (bytes) and text (str by str), as far as
    present.

    marked  whether the XMP says that a generative model made the picture what it is (§3.7)
    most    bytes of all of them together, decompressed; BadFile beyond that

    Chunks that the file ends in the middle of are left out; the picture's own loading reports them.
    """
    info: dict[str, object] = {}
    text: dict[str, str] = {}
    for kind, key, value in _bodies(stream, file, most):
        if kind == TEXT_CHUNK:
            text[key] = value.decode()
        else:
            info[key] = value
    if text:
        info["text"] = text
    if COMMENT in text:
        info["comment"] = text[COMMENT].encode()
    if marked:
        xmp = info.get("xmp", b"")
        assert isinstance(xmp, bytes)
        info["xmp"] = mark.added(xmp)
    return info


def check(stream: BinaryIO, file: File) -> None:
    """BadFile if `read` would raise it; one body is held at a time."""
    for _ in _bodies(stream, file, TOTAL_LIMIT):
        pass


def _bodies(stream: BinaryIO, file: File, most: int) -> Iterator[tuple[bytes, str, bytes]]:
    """Type, key and value of every chunk of metadata that is there whole; of a text the value is UTF-8."""
    left = most
    for chunk in file.chunks:
        if chunk.type not in TYPES or chunk.available < chunk.length:
            continue
        where = f"§3.4 chunk {chunk.type.decode()} at offset {chunk.offset}"
        with error_context(chunk.offset):
            try:
                data = compression.unpack(chunks.read(stream, chunk), where, min(left, METADATA_LIMIT))
            except compression.TooLong as error:
                if left < METADATA_LIMIT:
                    raise BadFile(f"{where}: it brings the metadata of the file above {most} bytes") from error
                raise
            left -= len(data)
            if chunk.type in KEYS:
                yield chunk.type, KEYS[chunk.type], data
                continue
            key, separator, value = data.partition(b"\0")
            if not (key and separator):
                raise BadFile(f"{where}: no key")
            try:
                value.decode()
                name = key.decode()
            except UnicodeDecodeError as error:
                raise BadFile(f"{where}: not UTF-8") from error
            yield chunk.type, name, value
