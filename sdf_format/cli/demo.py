"""A real photograph as SDF beside the other codecs.

`python -m sdf_format.cli.demo [--image FILE] [--out DIR] [--bpp 0.1]`

Without a photograph it takes the one of astronaut Eileen Collins (NASA, public domain) that scikit-image's wheel brings
along.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format import files, terminal
from sdf_format.bench import metrics, rivals
from sdf_format.cli import options
from sdf_format.inspect import table

PANEL = 384  # pixels of a panel's width
CROP = 0.3  # share of the picture's sides in the second row
LABEL = 44  # pixels of height under a panel


@dataclass(frozen=True)
class Entry:
    """One codec's result; seconds are of one call in a warm process."""

    name: str
    picture: Image.Image
    bytes: int
    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None
    note: str = ""


def photograph() -> Image.Image:
    """The picture of the demonstration, 512x512."""
    with resources.files("skimage.data").joinpath("astronaut.png").open("rb") as stream:
        return Image.open(stream).convert("RGB")


def decoded(data: bytes) -> tuple[Image.Image, float]:
    """Picture and seconds."""
    start = time.perf_counter()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return picture, time.perf_counter() - start


def entry(name: str, image: Image.Image, data: bytes, encode_s: float, note: str = "") -> Entry:
    """A file with its picture, sizes, qualities and seconds."""
    picture, decode_s = decoded(data)
    return Entry(
        name,
        picture,
        len(data),
        8 * len(data) / (image.width * image.height),
        metrics.psnr(image, picture),
        metrics.ms_ssim(image, picture),
        encode_s,
        decode_s,
        note,
    )


def compare(image: Image.Image, sdf: bytes, encode_s: float) -> list[Entry]:
    """The original, the SDF file, and every rival at its bytes or at its smallest."""
    result = [Entry("original", image, image.width * image.height * 3, 24.0), entry("SDF", image, sdf, encode_s)]
    for name in rivals.available():
        found = rivals.fit(name, image, len(sdf))
        start = time.perf_counter()
        rivals.encode(name, image, found.quality)
        result.append(entry(name, image, found.data, time.perf_counter() - start, "" if found.met else "its smallest"))
    return result


def grid(entries: Sequence[Entry]) -> Image.Image:
    """Whole pictures above, a crop from the middle below, labelled."""
    width, height = entries[0].picture.size
    tall = round(PANEL * height / width)
    side = (round(width * CROP), round(height * CROP))
    corner = ((width - side[0]) // 2, round((height - side[1]) * 0.25))
    font = ImageFont.load_default(15)
    sheet = Image.new("RGB", (PANEL * len(entries), 2 * tall + LABEL), "white")
    draw = ImageDraw.Draw(sheet)
    for column, e in enumerate(entries):
        left = column * PANEL
        sheet.paste(e.picture.resize((PANEL, tall), Image.Resampling.LANCZOS), (left, 0))
        part = e.picture.crop((*corner, corner[0] + side[0], corner[1] + side[1]))
        sheet.paste(part.resize((PANEL, tall), Image.Resampling.BICUBIC), (left, tall + LABEL))
        figures = "" if e.psnr is None else f", {e.psnr:.1f} dB"
        draw.text((left + 6, tall + 3), f"{e.name}{f' ({e.note})' if e.note else ''}", fill="black", font=font)
        draw.text((left + 6, tall + 23), f"{e.bytes:,} bytes, {e.bpp:.3f} bpp{figures}", fill="black", font=font)
    return sheet


def as_text(entries: Sequence[Entry]) -> str:
    """Aligned text; what does not apply is a dash."""

    def cell(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    rows = [
        (
            e.name,
            e.bytes,
            f"{e.bpp:.3f}",
            cell(e.psnr, 2),
            cell(e.ms_ssim, 4),
            cell(e.encode_s, 2),
            cell(e.decode_s, 2),
            e.note,
        )
        for e in entries
    ]
    headers = ("codec", "bytes", "bpp", "PSNR", "MS-SSIM", "encode s", "decode s", "")
    return "\n".join(table.lines(rows, headers, align=("left", *("right",) * 6, "left")))


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m sdf_format.cli.demo`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="photograph; the astronaut if not given")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for what is made, default demo")
    parser.add_argument("--bpp", type=options.positive, default=0.1)
    options.add_force(parser)
    args = parser.parse_args(arguments)
    image = Image.open(args.image).convert("RGB") if args.image else photograph()
    args.out.mkdir(parents=True, exist_ok=True)
    coded, shown, sheet = (str(args.out / name) for name in ("photo.sdf", "photo.png", "comparison.png"))
    for target in (coded, shown, sheet):
        files.check_output(target, [str(args.image)] if args.image else [], args.force)
    start = time.perf_counter()
    buffer = io.BytesIO()
    image.save(buffer, "SDF", bpp=args.bpp)
    encode_s = time.perf_counter() - start
    files.put(coded, buffer.getvalue(), args.force)
    entries = compare(image, buffer.getvalue(), encode_s)
    files.put(shown, _png(entries[1].picture), args.force)
    files.put(sheet, _png(grid(entries)), args.force)
    print(as_text(entries))
    print(f"\nLook at {sheet}; the file is {coded}, decoded in {shown}.")
    return 0


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(terminal.guarded("demo", main))
