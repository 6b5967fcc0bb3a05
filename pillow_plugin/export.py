"""What of an SDF file's metadata another format takes along: `image.save("x.png", **carried(image.info, "x.png"))`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from PIL import Image

KEYS = ("exif", "icc_profile", "xmp", "comment", "dpi")
XMP_TAG = 0x02BC  # of a TIFF's directory


def carried(info: Mapping[str, Any], name: str | os.PathLike[str]) -> dict[str, Any]:
    """Keywords for `Image.save` to a file of this name.

    PNG takes XMP and texts as chunks of text, TIFF takes XMP as a tag, the others as they are.
    """
    keywords = {key: info[key] for key in KEYS if key in info}
    target = Image.registered_extensions().get(os.path.splitext(name)[1].lower())
    if target == "PNG":
        from PIL.PngImagePlugin import PngInfo

        keywords["pnginfo"] = chunks = PngInfo()
        if xmp := keywords.pop("xmp", None):
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        for key, value in info.get("text", {}).items():
            if is_keyword(key):
                chunks.add_itxt(key, value)
    if target == "TIFF" and "xmp" in keywords:
        keywords["exif"] = _with_xmp(keywords.get("exif", b""), keywords.pop("xmp"))
    return keywords


def is_keyword(key: str) -> bool:
    """Whether a text's key can stand in a PNG."""
    return key.isascii() and 0 < len(key) < 80


def _with_xmp(exif: bytes, xmp: bytes) -> Image.Exif:
    """Tags for a TIFF's directory. Of EXIF that is none, what Pillow's reader raises."""
    tags = Image.Exif()
    tags.load(exif)
    tags[XMP_TAG] = xmp
    return tags
