"""`sdf thumbnail`: a small PNG, upright, as file managers ask for it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sdf_format import files
from sdf_format.cli import options
from sdf_format.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

SIZE = 256


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser(
        "thumbnail", help="write a small PNG, as file managers ask for: the preview, or the first steps"
    )
    command.add_argument("sdf", help="file to read; - for standard input")
    command.add_argument("image", help="PNG to write; - for standard output")
    options.add_force(command)
    command.add_argument("--size", type=options.count, default=SIZE, help=f"pixels a side at most, default {SIZE}")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from PIL import Image

    import pillow_plugin  # noqa: F401  (registers the format)
    from sdf_format.cli.metadata import Named
    from sdf_format.container import chunks

    if args.image.lower().endswith(files.ENDING):
        raise BadInput(f"{args.image} is no name for a PNG")
    files.check_output(args.image, [args.sdf], args.force)
    target = Named("thumbnail.png")
    with files.reading(args.sdf) as stream:
        chunks.scan(stream)  # Pillow would say no more than that it cannot identify the file
        with Image.open(stream, formats=["SDF"]) as image:
            image.thumbnail((args.size, args.size))
            upright(image).save(target, format="PNG")
    files.put(args.image, target.getvalue(), args.force)
    return 0


def upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF says that it was held."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of EXIF that is none; the picture is what was asked for
        return image
