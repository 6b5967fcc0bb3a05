"""Dots per inch, which live in EXIF (tags XResolution, YResolution, ResolutionUnit), as Pillow's `dpi`."""

from __future__ import annotations

from PIL import Image

from sdf_format.container.exif import UNIT, X, Y

INCH = 2


def written(exif: bytes, dpi: tuple[float, float]) -> bytes:
    """The EXIF with this resolution in it."""
    tags = Image.Exif()
    tags.load(exif)
    tags[X], tags[Y], tags[UNIT] = (*dpi, INCH)
    return tags.tobytes()
