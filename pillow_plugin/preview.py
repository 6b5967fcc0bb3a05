"""The preview chunk (§3.6): a small WebP or JPEG of the picture, for thumbnails without a model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from sdf_format.errors import BadInput

if TYPE_CHECKING:
    from sdf_format.container.chunks import File

SIDES = range(1, 1025)  # pixels, §3.6
LIMIT = 1 << 20  # bytes, §3.6
FORMATS = ("WEBP", "JPEG")  # §3.6
DEFAULT_SIDE = 256  # pixels: thumbnail((128, 128)) asks draft for twice the size
QUALITY = 50  # of the WebP: at 256 pixels a side about 4 kB


def make(image: Image.Image, wanted: bool | int | None) -> list[tuple[bytes, bytes]]:
    """The chunk, or nothing where none is wanted or the picture is not larger.

    image   in one of the native modes
    wanted  True, or pixels of the longer side; False, None or 0 for none. BadInput for other values
    """
    from sdf_format.container.chunks import PREVIEW_CHUNK

    if not wanted:
        return []
    longest = DEFAULT_SIDE if wanted is True else wanted
    if not isinstance(longest, int) or longest not in SIDES:
        raise BadInput(f"preview {wanted!r}: wanted True, or the longer side in pixels, {SIDES[0]} to {SIDES[-1]}")
    if longest >= max(image.size):
        return []
    width, height = (max(1, round(n * longest / max(image.size))) for n in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.convert("RGBA" if small.mode.endswith("A") else "RGB").save(buffer, "WEBP", quality=QUALITY, method=6)
    if buffer.tell() > LIMIT:
        raise BadInput(f"§3.6 this preview takes {buffer.tell()} bytes; at most {LIMIT}: make it smaller")
    return [(PREVIEW_CHUNK, buffer.getvalue())]


def read(stream: BinaryIO, file: File) -> Image.Image | None:
    """The preview in the picture's mode, or None if there is none or it breaks a rule of §3.6: the payload has the
    picture.
    """
    from sdf_format.container import chunks

    chunk = file.find(chunks.PREVIEW_CHUNK)
    if chunk is None or not 0 < chunk.length <= LIMIT:
        return None
    full = (file.header.width, file.header.height)
    try:
        small = Image.open(io.BytesIO(chunks.read(stream, chunk)), formats=FORMATS)
        ratio = max(full) / max(small.size)
        close = all(abs(n / ratio - m) < 1 or m == 1 for n, m in zip(full, small.size))
        return small.convert(file.header.mode) if ratio > 1 and close and max(small.size) in SIDES else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
