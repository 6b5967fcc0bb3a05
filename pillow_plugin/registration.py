"""Putting the format into Pillow's tables and taking it out again."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable

from PIL import Image

from pillow_plugin import options as settings
from pillow_plugin.image_file import SdfDecoder, SdfImageFile, accept
from pillow_plugin.options import Options
from pillow_plugin.save import FORMAT, save, save_all
from sdf_format.container.magic import EXTENSION, MEDIA_TYPE

_media_type_before: str | None = None  # what web servers took the extension for: a chemist's, on many systems


def register_sdf_opener(
    device: str | None = None,
    denoiser: str | tuple[str, int] | None = None,
    realism: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    most_work: float | None = None,
    mark: bool = True,
    most_pixels: float | None = None,
    most_memory: float | None = None,
    most_seconds: float | None = None,
) -> None:
    """Register the format; again with other options to change them.  Options: see `Options`."""
    settings.change(
        Options(
            device=device,
            denoiser=denoiser,
            realism=realism,
            most_pixels=most_pixels,
            most_work=most_work,
            most_memory=most_memory,
            most_seconds=most_seconds,
            progress=progress,
            mark=mark,
        )
    )
    Image.register_open(FORMAT, SdfImageFile, accept)
    Image.register_save(FORMAT, save)
    Image.register_save_all(FORMAT, save_all)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MEDIA_TYPE)
    Image.register_decoder("sdf", SdfDecoder)
    global _media_type_before
    if (known := mimetypes.guess_type(f"x{EXTENSION}")[0]) != MEDIA_TYPE:
        _media_type_before = known
        mimetypes.add_type(MEDIA_TYPE, EXTENSION)


def unregister_sdf_opener() -> None:
    """Take the format out of Pillow's tables, and its media type out of `mimetypes`. Images stay usable."""
    Image.OPEN.pop(FORMAT, None)
    Image.SAVE.pop(FORMAT, None)
    Image.SAVE_ALL.pop(FORMAT, None)
    Image.MIME.pop(FORMAT, None)
    if FORMAT in Image.ID:
        Image.ID.remove(FORMAT)
    for extension in [e for e, name in Image.EXTENSION.items() if name == FORMAT]:
        del Image.EXTENSION[extension]
    types = mimetypes.types_map
    if types.get(EXTENSION) == MEDIA_TYPE:
        del types[EXTENSION]
        if _media_type_before:
            mimetypes.add_type(_media_type_before, EXTENSION)
