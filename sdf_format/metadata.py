"""Metadata chunks (§3.4) to and from the keys of Pillow's `info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from sdf_format import compression, container
from sdf_format.container import EXIF_CHUNK, ICC_CHUNK, TEXT_CHUNK, XMP_CHUNK, File
from sdf_format.errors import BadFile, BadInput

KEYS = {EXIF_CHUNK: "exif", ICC_CHUNK: "icc_profile", XMP_CHUNK: "xmp"}


def build(exif: bytes = b"", icc_profile: bytes = b"", xmp: bytes = b"", text: Mapping[str, str] | None = None) -> list[tuple[bytes, bytes]]:
    """(type, body) of every chunk that has something to say; BadInput if it cannot be stored."""
    chunks = [(kind, compression.pack_metadata(data, KEYS[kind]))
              for kind, data in ((EXIF_CHUNK, exif), (ICC_CHUNK, icc_profile), (XMP_CHUNK, xmp)) if data]
    for key, value in (text or {}).items():
        if not key or "\0" in key:
            raise BadInput(f"§3.4 text: {key!r} is not a key: it is empty or has a null character")
        chunks.append((TEXT_CHUNK, compression.pack_metadata(key.encode() + b"\0" + value.encode(), "text")))
    return chunks


def read(stream: BinaryIO, file: File) -> dict[str, object]:
    """Pillow's `info` of a scanned file: exif, icc_profile, xmp (bytes) and text (str by str), as far as present.

    Chunks that the file ends in the middle of are left out; the picture's own loading reports them.
    """
    info: dict[str, object] = {}
    text: dict[str, str] = {}
    for chunk in file.chunks:
        if not (chunk.type in KEYS or chunk.type == TEXT_CHUNK) or chunk.available < chunk.length:
            continue
        where = f"§3.4 chunk {chunk.type.decode()} at offset {chunk.offset}"
        data = compression.unpack(container.read(stream, chunk), where)
        if chunk.type in KEYS:
            info[KEYS[chunk.type]] = data
            continue
        key, separator, value = data.partition(b"\0")
        try:
            if not (key and separator):
                raise BadFile(f"{where}: no key")
            text[key.decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise BadFile(f"{where}: not UTF-8") from error
    return {**info, "text": text} if text else info
