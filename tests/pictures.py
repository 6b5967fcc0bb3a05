"""Pictures to test with, made of edges, gradients and texture, and one helper that most codec tests go through."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

import pillow_plugin  # noqa: F401  (registers the format)


def picture(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A coloured scene: gradient sky, discs, a textured ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 150 / width + 60, 200 - y * 120 / height, 120 + 60 * np.sin((x + y) / 9)], axis=2)
    for _ in range(5):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 4 + min(width, height) / 3)
        rgb[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = rng.uniform(0, 255, 3)
    rgb[y > 0.8 * height] += rng.normal(0, 20, 3)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, **options) -> bytes:
    """The file that `image.save` makes."""
    buffer = io.BytesIO()
    image.save(buffer, "SDF", **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def psnr(a: Image.Image, b: Image.Image) -> float:
    """RGB or grey, dB."""
    return 10 * np.log10(255**2 / np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))
