"""What of an SDF file's metadata another format takes along: `image.save("x.png", **carried(image.info, "x.png"))`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from PIL import Image

KEYS = ("exif", "icc_profile", "xmp", "comment", "dpi")


def carried(info: Mapping[str, Any], name: str | os.PathLike[str]) -> dict[str, Any]:
    """Keywords for `Image.save` to a file of this name.

    PNG takes XMP and texts as chunks of text, the others as they are.
    """
    keywords = {key: info[key] for key in KEYS if key in info}
    if Image.registered_extensions().get(os.path.splitext(name)[1].lower()) == "PNG":
        from PIL.PngImagePlugin import PngInfo

        keywords["pnginfo"] = chunks = PngInfo()
        if xmp := keywords.pop("xmp", None):
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        for key, value in info.get("text", {}).items():
            if key.isascii() and len(key) < 80:  # what a PNG's keyword may be
                chunks.add_itxt(key, value)
    return keywords
