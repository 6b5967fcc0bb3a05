"""Photographs to train on: `python -m sdf_format.training.prepare --source DIR=LICENCE... --avoid DIR... --out DIR`.

Reads every image of the sources, in order; leaves out small, grey, flat and cut-out ones, and those that look like an
image of `--avoid` (the evaluation sets) or like one that was taken before, by a 64-bit difference hash (package
ImageHash); shrinks to a shorter side of at most 512 pixels; writes JPEG of quality 95, 4:4:4, and `MANIFEST.json` with
source, licence, SHA-256 of the source file and why others were left out. The same sources and options give the same
files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from sdf_format import atomic, terminal

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SHORTEST, LONGEST_SHORT = 256, 512  # pixels of the shorter side: less is left out, more is shrunk
MOST_PIXELS = 100_000_000  # of a source image
NEAR = 6  # bits of 64 in which hashes of near-duplicates differ at most
GREY = 4.0  # mean difference of the colours [of 255] below which a photograph counts as grey
FLAT = 12.0  # standard deviation of the luma [of 255] below which it counts as flat
WHITE = 0.35  # share of pure white above which it counts as cut out


def images_of(folder: Path) -> list[Path]:
    """Every image below a folder, sorted."""
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS)


def fault(image: Image.Image) -> str | None:
    """Why a photograph should not be trained on, or None.  image: RGB"""
    if min(image.size) < SHORTEST:
        return "small"
    small = np.asarray(image.resize((128, 128), Image.Resampling.BOX), float)
    if np.mean(small.max(axis=2) - small.min(axis=2)) < GREY:
        return "grey"
    if small.mean(axis=2).std() < FLAT:
        return "flat"
    if np.mean(small.min(axis=2) >= 254) > WHITE:
        return "cut-out"
    return None


def fingerprint(image: Image.Image) -> int:
    """64-bit difference hash."""
    import imagehash

    return int(str(imagehash.dhash(image, hash_size=8)), 16)


def near(hash_: int, others: Iterable[int]) -> bool:
    """Whether a fingerprint is that of a near-duplicate of one of the others."""
    return any((hash_ ^ other).bit_count() <= NEAR for other in others)


def both_ways(image: Image.Image) -> tuple[int, int]:
    """Fingerprints of an image and of its mirror image."""
    return fingerprint(image), fingerprint(ImageOps.mirror(image))


def read(path: Path) -> Image.Image | str:
    """An image in RGB, upright; or why not."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                return "large"
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "unreadable"


def shrunk(image: Image.Image) -> Image.Image:
    """At most LONGEST_SHORT pixels on the shorter side."""
    scale = LONGEST_SHORT / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image if scale >= 1 else image.resize(size, Image.Resampling.LANCZOS)


def chosen(
    sources: Sequence[tuple[Path, str]], avoid: Sequence[Path], left_out: Counter[str]
) -> Iterator[tuple[dict[str, object], Image.Image]]:
    """(manifest row, picture) of every photograph that is taken; `left_out` counts the others by reason."""
    forbidden = [
        h
        for folder in avoid
        for path in images_of(folder)
        if not isinstance(image := read(path), str)
        for h in both_ways(image)
    ]
    taken: list[int] = []
    for folder, licence in sources:
        for path in images_of(folder):
            image = read(path)
            if isinstance(image, str):
                left_out[image] += 1
                continue
            if reason := fault(image):
                left_out[reason] += 1
                continue
            hashes = both_ways(image)
            if near(hashes[0], forbidden):
                left_out["evaluation"] += 1
                continue
            if any(near(h, taken) for h in hashes):
                left_out["duplicate"] += 1
                continue
            taken.append(hashes[0])
            picture = shrunk(image)
            yield (
                {
                    "source": folder.name,
                    "path": path.relative_to(folder).as_posix(),
                    "licence": licence,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "width": picture.width,
                    "height": picture.height,
                },
                picture,
            )


def source(text: str) -> tuple[Path, str]:
    """DIR=LICENCE"""
    folder, equals, licence = text.partition("=")
    if not (equals and licence and Path(folder).is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted an existing folder, =, and the licence of its photographs")
    return Path(folder), licence


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m sdf_format.training.prepare`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=source, action="append", required=True, metavar="DIR=LICENCE")
    parser.add_argument(
        "--avoid", type=Path, action="append", default=[], metavar="DIR", help="evaluation images: never trained on"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; must be empty or not exist")
    args = parser.parse_args(arguments)
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    args.out.mkdir(parents=True, exist_ok=True)
    left_out: Counter[str] = Counter()
    rows: list[dict[str, object]] = []
    with tqdm(unit=" photographs", disable=None) as bar:
        for row, picture in chosen(args.source, args.avoid, left_out):
            name = f"{len(rows):06d}.jpg"
            picture.save(args.out / name, quality=95, subsampling="4:4:4")
            rows.append({"file": name, **row})
            bar.set_postfix_str(f"{left_out.total()} left out", refresh=False)
            bar.update()
    atomic.write(args.out / "MANIFEST.json", (json.dumps(rows, indent=1) + "\n").encode())
    print(
        f"{len(rows)} photographs taken; left out: "
        + (", ".join(f"{n} {reason}" for reason, n in sorted(left_out.items())) or "none")
    )


if __name__ == "__main__":
    sys.exit(terminal.guarded("prepare", main))
