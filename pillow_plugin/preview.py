"""The preview chunk (§3.6): a small WebP or JPEG of the picture, for thumbnails without a model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, features

from sdf_format import arguments
from sdf_format.errors import BadInput

if TYPE_CHECKING:
    from sdf_format.container.chunks import File

SIDES = range(1, 1025)  # pixels, §3.6
LIMIT = 1 << 20  # bytes, §3.6
FORMATS = ("WEBP", "JPEG")  # §3.6
DEFAULT_SIDE = 256  # pixels: thumbnail((128, 128)) asks draft for twice the size
MOST_SCANS = 10  # of a JPEG: as many as the usual progressive script has; each costs a pass over the picture
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, in Huffman codes
SCAN, TABLES = 0xDA, (0xC4, 0xDB, 0xDD)  # start of scan; Huffman, quantisation, restarts
OWN = (0xE0, 0xEE)  # JFIF's and Adobe's segments, which say how colours are meant
QUALITY = 50  # of the WebP: at 256 pixels a side about 4 kB


def checked(wanted: object) -> int:
    """Pixels of the longer side, at most, or 0 for none.  wanted: True, a number of them, or False, None or 0"""
    given = arguments.plain(wanted)
    if given is None or isinstance(given, bool):
        return DEFAULT_SIDE if given else 0
    return arguments.whole("preview", given, 0, SIDES[-1])


def make(image: Image.Image, wanted: object) -> list[tuple[bytes, bytes]]:
    """The chunk, or nothing where none is wanted.

    image   in one of the native modes
    wanted  True, or pixels of the longer side; False, None or 0 for none. BadInput for other values

    A picture that is not larger than that has a preview of half its sides; one of a single pixel has none.
    """
    from sdf_format.container.chunks import PREVIEW_CHUNK

    longest = checked(wanted)
    if longest >= max(image.size):
        longest = max(image.size) // 2
    if not longest:
        return []
    width, height = (max(1, round(n * longest / max(image.size))) for n in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    clear = small.mode.endswith("A")
    if features.check("webp"):
        small.convert("RGBA" if clear else "RGB").save(buffer, "WEBP", quality=QUALITY, method=6)
    elif clear:
        raise BadInput("preview: of a picture with alpha it is WebP (§3.6), which this Pillow was built without")
    else:
        small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    if buffer.tell() > LIMIT:
        raise BadInput(f"§3.6 this preview takes {buffer.tell()} bytes; at most {LIMIT}: make it smaller")
    return [(PREVIEW_CHUNK, buffer.getvalue())]


def read(stream: BinaryIO, file: File) -> Image.Image | None:
    """The preview in the picture's mode, or None if there is none, it breaks a rule of §3.6, or it would cost more than
    previews do: the payload has the picture.
    """
    from sdf_format.container import chunks

    chunk = file.find(chunks.PREVIEW_CHUNK)
    if chunk is None or not 0 < chunk.length <= LIMIT:
        return None
    full = (file.header.width, file.header.height)
    try:
        data = chunks.read(stream, chunk)
        if data.startswith(b"\xff\xd8"):
            data = bare_jpeg(data)
        small = Image.open(io.BytesIO(data), formats=FORMATS)  # reads the head alone
        if max(small.size) not in SIDES or not smaller(small.size, full):
            return None
        return small.convert(file.header.mode)
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
        return None


def smaller(size: tuple[int, int], full: tuple[int, int]) -> bool:
    """Whether one is the other made smaller, but for less than a pixel of rounding.  §3.6"""
    ratio = max(full) / max(size)
    return ratio > 1 and all(abs(n / ratio - m) < 1 for n, m in zip(full, size, strict=True))


def bare_jpeg(data: bytes) -> bytes:
    """A JPEG without what other programs put into it, such as EXIF, which its reader would take apart.

    ValueError for what costs more than a preview does: too large a frame, more than MOST_SCANS scans, arithmetic
    coding.
    """
    kept, place, framed = [data[:2]], 2, False
    while place + 4 <= len(data):
        mark, kind, length = data[place], data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if mark != 0xFF or length < 2:
            break
        if kind == 0xFF:  # filling
            place += 1
            continue
        segment = data[place : place + 2 + length]
        if kind == SCAN:
            # In coded data a byte of ones is followed by a zero or a restart: no scan hides there.
            if not framed or data.count(bytes([0xFF, SCAN]), place) > MOST_SCANS:
                break
            return b"".join([*kept, data[place:]])
        if kind in FRAMES and not framed:
            height, width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            if max(height, width) not in SIDES or not min(height, width):
                break
            framed = True
            kept.append(segment)
        elif kind in TABLES or kind in OWN:
            kept.append(segment)
        elif not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            break
        place += 2 + length
    raise ValueError("§3.6 no JPEG that a preview may be")
