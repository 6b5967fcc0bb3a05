"""Codecs side by side at equal bytes: `sdf bench table IMAGE... [--bpp 0.05,0.1,0.2]`.

SDF twice, with either denoiser; the others at the largest file within the budget, or at their smallest, with the share that met it.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from sdf_format import codec, kinds
from sdf_format.bench import metrics, rivals


def rows(path: Path, bpp: float) -> list[tuple[str, int, float, float, float, bool]]:
    """(codec, bytes, bits per pixel, PSNR, MS-SSIM, met) of one picture."""
    image = Image.open(path).convert("RGB")
    pixels = image.width * image.height
    sdf = codec.encode(np.asarray(image), bpp=bpp).data
    pictures = [(f"SDF {kinds.DENOISERS[d[0]]}", len(sdf), Image.fromarray(codec.decode_bytes(sdf, denoiser=d)[0]), True)
                for d in ((kinds.MEAN, 1), (kinds.FLOW, kinds.FLOW_STEPS))]
    for name in rivals.available():
        found = rivals.fit(name, image, int(bpp * pixels / 8))
        pictures.append((name, len(found.data), Image.open(io.BytesIO(found.data)).convert("RGB"), found.met))
    return [(name, size, 8 * size / pixels, metrics.psnr(image, picture), metrics.ms_ssim(image, picture) or float("nan"), met)
            for name, size, picture, met in pictures]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="sdf bench table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--bpp", default="0.05,0.1,0.2")
    args = parser.parse_args(arguments)
    print("wanted bpp | codec | bpp | PSNR | MS-SSIM | within budget")
    for bpp in map(float, args.bpp.split(",")):
        groups = defaultdict(list)
        for path in args.images:
            for name, *figures in rows(path, bpp):
                groups[name].append(figures)
        for name, found in groups.items():
            _, spent, psnr, ms_ssim, met = (fmean(map(float, column)) for column in zip(*found))
            print(f"{bpp} | {name} | {spent:.4f} | {psnr:.2f} | {ms_ssim:.4f} | {met:.0%}", flush=True)
