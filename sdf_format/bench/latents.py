"""Quantised latents of an autoencoder: `sdf bench latents DIR... --autoencoder FOLDER`.

Every row of `ROWS` codes the latent of every image (its centre, 512x512 pixels); bytes are those of a whole file. WebP
is the best file of at most as many bytes, or its smallest where that is larger; "met" is the share of images for which
it was not. The first line is the autoencoder's own round trip, nothing quantised: what no row can do better.
"""

from __future__ import annotations

import argparse
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdf_format.bench import metrics, rivals
from sdf_format.bench.images import images_of
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header
from sdf_format.inspect.table import Table
from sdf_format.models import loading, registry
from sdf_format.payloads import lowbit, palette
from sdf_format.payloads.quantised import as_latent

SIDE = 512  # pixels of a crop
# standard deviations that Bühlmann's 8 bits reach to: 255 * 0.18215 / 2 of SD's unscaled latents, which have 5.49
FAR = 4.23
Coded = tuple[int, Tensor]  # bytes of a file, the latent as it arrives


@dataclass(frozen=True)
class Row:
    """A line of the table.  code: (1, C, h, w) latent -> bytes and what arrives; least: channels that it needs"""

    name: str
    code: Callable[[Tensor], Coded]
    least: int = 1


def quiet(done: int, total: int) -> None:
    """No progress wanted."""


def file_bytes(fields: parameters.Fields, payload: bytes, channels: int) -> int:
    """Of a file with such a payload, made with weights that the specification does not register."""
    header = Header(SIDE, SIDE, "RGB", parameters.number(fields), 0, bytes(32), parameters.build(fields), channels, 8)
    return len(chunks.build(header, payload, []))


def cells_of(latent: Tensor) -> np.ndarray:
    """(h, w, C)"""
    return latent[0].permute(1, 2, 0).double().numpy()


def packed(cells: np.ndarray, step: float) -> int:
    """Bytes of cells as a list of vectors and numbers, by zlib: no context but what repeats."""
    vectors, numbers = np.unique(
        np.rint(cells / step).astype(np.int16).reshape(-1, cells.shape[2]), axis=0, return_inverse=True
    )
    return len(
        zlib.compress(
            vectors.astype(np.int8).tobytes()
            + numbers.astype(np.uint8 if len(vectors) <= 256 else np.uint16).tobytes(),
            9,
        )
    )


def published(latent: Tensor) -> Coded:
    """Bühlmann's setting: 8 bits a value, 256 vectors, Floyd-Steinberg, lossless packing.

    His library takes 4 channels; k-means stands in for it.
    """
    cells = cells_of(latent)
    step = 2 * FAR * cells.std() / 255
    rounded = np.rint(cells / step).clip(-128, 127) * step
    own = palette.made(rounded, 256, 1)
    sent = palette.send(rounded, own, parameters.DITHERING, 0.0, quiet)
    return packed(sent.arriving, parameters.step_of(sent.fields.step)), as_latent(sent.arriving)


def ours(kind: ModuleType, packing: bool = False, **options) -> Callable[[Tensor], Coded]:
    """A payload kind with some options; packing: a palette's cells by zlib instead of what the neighbours let
    expect.
    """

    def code(latent: Tensor) -> Coded:
        spec = registry.ModelSpec("bench", "", latent.shape[1], 8, 8, (parameters.MEAN, 1))
        fields, payload, _ = kind.encode(latent, object(), spec, kind.EncodeOptions(**options), None, quiet)
        arriving = kind.decode(payload, len(payload), tuple(latent.shape), fields, object(), spec, None, None, quiet)
        size = packed(cells_of(arriving), parameters.step_of(fields.step)) if packing else len(payload)
        return file_bytes(fields, bytes(size), latent.shape[1]), arriving

    return code


ROWS = [
    Row("published setting", published),
    Row("palette, default", ours(palette)),
    *(Row(f"palette, {n} colours", ours(palette, colours=n)) for n in (16, 64, 1024, 4096)),
    Row("palette, dithering 0.5", ours(palette, dithering=0.5)),
    Row("palette, dithering 1", ours(palette, dithering=1.0)),
    Row("palette, nearest vectors", ours(palette, thrift=0.0)),
    Row("palette, nearest vectors, zlib", ours(palette, packing=True, thrift=0.0)),
    *(Row(f"palette, 64 colours, {g} groups", ours(palette, colours=64, groups=g), g) for g in (2, 4, 8)),
    Row("lowbit, 3 levels", ours(lowbit, levels=3)),
    *(Row(f"lowbit, {n} bit{'s' * (n > 1)}", ours(lowbit, bits=n)) for n in (1, 2, 4, 8)),
]


def crop(path: Path) -> Image.Image:
    """The centre of a picture, or what there is of it in whole cells."""
    with Image.open(path) as image:
        width, height = (min(SIDE, n // 8 * 8) for n in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.convert("RGB").crop((left, top, left + width, top + height))


def measure(
    images: Sequence[Image.Image], autoencoder: loading.Autoencoder, rows: Sequence[Row]
) -> Iterator[tuple[str, list[float]]]:
    """Of every row, and of the autoencoder itself: bytes, PSNR, MS-SSIM, those of WebP, the share of images that it
    met; means.
    """
    latents = [autoencoder.encode(np.asarray(image)) for image in images]
    for row in [Row("autoencoder alone", lambda latent: (0, latent)), *rows]:
        lines = []
        for image, latent in zip(images, latents):
            size, arriving = row.code(latent)
            pairs = [Image.fromarray(autoencoder.decode(arriving))]
            if size:
                found = rivals.fit("WebP", image, size)
                pairs.append(_opened(found.data))
            values = [f(image, p) or float("nan") for p in pairs for f in (metrics.psnr, metrics.ms_ssim)]
            lines.append([size, *values, *([found.met] if size else [float("nan")] * 3)])
        yield row.name, [fmean(column) for column in zip(*lines)]


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench latents`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench latents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders of images, or images")
    parser.add_argument(
        "--autoencoder",
        required=True,
        type=Path,
        help="folder of an AutoencoderKL or AutoencoderTiny of diffusers, or of an encoder and a decoder "
        "in the layout of TAESD",
    )
    parser.add_argument("--rows", default="", help="only rows with this in their names")
    args = parser.parse_args(arguments)
    bare = not (args.autoencoder / "config.json").is_file() and not (args.autoencoder / "vae").is_dir()
    if bare:
        from sdf_format.bench.taesd import Autoencoder

        autoencoder: loading.Autoencoder = Autoencoder(args.autoencoder)
    else:
        autoencoder = loading.load_autoencoder(args.autoencoder, "cpu")
    images = [crop(path) for path in images_of(args.folders)]
    rows = [row for row in ROWS if args.rows in row.name and row.least <= autoencoder.channels]
    print(f"{len(images)} images, {autoencoder.channels} channels, {torch.get_num_threads()} threads")
    with Table("row", "bytes", "PSNR dB", "MS-SSIM", "WebP PSNR dB", "MS-SSIM", "met", total=len(rows)) as table:
        for name, (size, *values, met) in measure(images, autoencoder, rows):
            table.add(
                name,
                f"{size:.0f}" if size else "",
                *("" if v != v else f"{v:.{p}f}" for v, p in zip(values, (2, 4, 2, 4))),
                "" if met != met else f"{met:.2f}",
            )
