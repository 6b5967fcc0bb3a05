"""The command `sdf decode`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdf_format.errors import BadInput, SdfError

GOOD, BAD = 0, 1
Progress = Callable[[int, int], None]


def run(args: argparse.Namespace, progress: Callable[[str], Progress | None]) -> int:
    """progress: label -> what counts model calls, or None off a terminal"""
    from PIL import Image, ImageFile

    import pillow_plugin
    from pillow_plugin.export import carried
    from sdf_format.container import chunks

    if args.to:
        if args.uncertainty:
            raise BadInput("--uncertainty is for one file, without --to")
        return _many(args, progress)
    if len(args.files) != 2:
        raise BadInput(
            f"{len(args.files)} names: wanted one SDF file and the file to write, or --to and a folder for several"
        )
    sdf, target = args.files
    with open(sdf, "rb") as stream:
        file = chunks.scan(stream)  # Pillow would say no more than that it cannot identify the file
    if file.header.sound:
        from sdf_format.cli import sound

        return sound.decode(sdf, target, args, progress)
    pillow_plugin.register_sdf_opener(
        device=args.device, denoiser=args.denoiser, realism=args.realism, progress=progress("decoding")
    )
    ImageFile.LOAD_TRUNCATED_IMAGES = args.truncated
    with Image.open(sdf, formats=["SDF"]) as image:
        image.load()
        image.save(target, **carried(image.info, target))
    if args.uncertainty:
        _write_uncertainty(sdf, args, progress)
    return GOOD


def _many(args: argparse.Namespace, progress: Callable[[str], Progress | None]) -> int:
    """All files through the model together; one that fails does not keep the others from being written."""
    from contextlib import ExitStack

    import numpy as np
    from PIL import Image

    from pillow_plugin.denoisers import denoiser_ids
    from pillow_plugin.export import carried
    from sdf_format import batch

    with ExitStack() as stack:
        streams = [stack.enter_context(open(path, "rb")) for path in args.files]
        watched: dict[str, Any] = {"progress": shown} if (shown := progress("decoding")) else {}
        found = batch.decode_many(
            streams,
            at_once=args.at_once or batch.AT_ONCE,
            device=args.device,
            denoiser=denoiser_ids(args.denoiser),
            realism=args.realism,
            truncated=args.truncated,
            **watched,
        )
    args.to.mkdir(parents=True, exist_ok=True)
    worst = GOOD
    for path, result in zip(args.files, found):
        if isinstance(result, SdfError):
            print(f"{path}: {result}", file=sys.stderr)
            worst = BAD
            continue
        pixels, alpha = result
        with Image.open(path, formats=["SDF"]) as image:
            target = args.to / f"{Path(path).stem}.{args.type}"
            Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha])).save(
                target, **carried(image.info, target)
            )
    return worst


def _write_uncertainty(sdf: str, args: argparse.Namespace, progress: Callable[[str], Progress | None]) -> None:
    from PIL import Image

    from sdf_format import uncertainty

    with open(sdf, "rb") as stream:
        deviation = uncertainty.spread(
            stream, device=args.device, truncated=args.truncated, progress=progress("sampling")
        )
    Image.fromarray(uncertainty.as_grey(deviation)).save(args.uncertainty)
    print(
        f"{args.uncertainty}: standard deviation {(deviation**2).mean() ** 0.5:.2f} of 255 over the picture, "
        f"{deviation.max():.2f} where it is highest; {uncertainty.SCALE} grey levels for each"
    )
