"""Dots per inch, which live in EXIF (tags XResolution, YResolution, ResolutionUnit), as Pillow's `dpi`."""

from __future__ import annotations

from PIL import Image

X, Y, UNIT = 0x011A, 0x011B, 0x0128
INCH, CENTIMETRE = 2, 3


def read(exif: bytes) -> tuple[float, float] | None:
    """(x, y) dots per inch, or None if the EXIF says nothing usable of it."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        x, y = float(tags[X]), float(tags.get(Y, tags[X]))
        scale = {INCH: 1.0, CENTIMETRE: 2.54}[tags.get(UNIT, INCH)]
    except (KeyError, TypeError, ValueError, SyntaxError, OSError, ZeroDivisionError):
        return None
    return (x * scale, y * scale) if x > 0 and y > 0 else None  # nan is not above 0


def written(exif: bytes, dpi: tuple[float, float]) -> bytes:
    """The EXIF with this resolution in it."""
    tags = Image.Exif()
    tags.load(exif)
    tags[X], tags[Y], tags[UNIT] = (*dpi, INCH)
    return tags.tobytes()
