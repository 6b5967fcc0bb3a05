"""Pictures to train on, resident on the device: uint8 pixels at a few scales; crops are gathered by index."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdf_format.models import dct
from sdf_format.training.shards import photographs

SCALES = (1.0, 0.7, 0.5)  # sides of the copies of a photograph, over its own


def load_photographs(folder: Path | None, shards: Sequence[Path] = ()) -> list[Image.Image]:
    """Every photograph of a folder or of shards (`sdf_format.training.shards`), RGB, sorted by name."""
    named: dict[str, bytes] = {f.name: f.read_bytes() for f in (photographs(folder) if folder else ())}
    for path in shards:
        with zipfile.ZipFile(path) as archive:
            named.update((name, archive.read(name)) for name in archive.namelist())

    def decoded(name: str) -> Image.Image:
        return Image.open(io.BytesIO(named[name])).convert("RGB")

    with ThreadPoolExecutor() as pool:
        return list(pool.map(decoded, sorted(named)))


def scaled(images: Iterable[Image.Image], least: int, scales: Sequence[float] = SCALES) -> Iterator[Image.Image]:
    """Every image at every scale at which no side is shorter than `least` pixels."""
    for image in images:
        for scale in scales:
            size = round(image.width * scale), round(image.height * scale)
            if min(size) >= least:
                yield image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)


class Pictures:
    """uint8 pixels of many pictures in one buffer on a device.

    device  where the pixels, the indices and the random numbers live
    """

    def __init__(self, images: Iterable[Image.Image], device: torch.device):
        rows, sizes = [], []
        for image in images:
            rows.append(np.asarray(image, np.uint8).reshape(-1, 3))
            sizes.append(image.size)
        if not rows:
            raise ValueError("no pictures to train on")
        starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])[:-1]])
        self.pixels = torch.from_numpy(np.concatenate(rows)).to(device)
        self.start = torch.from_numpy(starts).to(device)
        self.width, self.height = torch.tensor(sizes, dtype=torch.int64).to(device).unbind(1)

    def __len__(self) -> int:
        return len(self.start)

    def crops(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """(count, size, size, 3) uint8: squares at random places of random pictures, half of them mirrored."""
        device = self.pixels.device
        u = torch.rand((4, count), generator=generator, device=device, dtype=torch.float64)
        which = (u[0] * len(self)).long()
        top = (u[1] * (self.height[which] - size + 1)).long()
        left = (u[2] * (self.width[which] - size + 1)).long()
        along = torch.arange(size, device=device)
        across = torch.where((u[3] < 0.5)[:, None], along, size - 1 - along)
        row = self.start[which, None] + (top[:, None] + along) * self.width[which, None] + left[:, None]
        index = row[:, :, None] + across[:, None, :]
        return self.pixels[index.flatten()].view(count, size, size, 3)


def latents(pixels: Tensor, matrix: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, H / 8, W / 8, 192) float32, unweighted.  matrix: `dct.matrix()` on the same device"""
    batch, height, width, _ = pixels.shape
    side = dct.BLOCK
    blocks = pixels.view(batch, height // side, side, width // side, side, 3).permute(0, 1, 3, 5, 2, 4)
    return (blocks.reshape(batch, height // side, width // side, dct.CHANNELS).float() / 127.5 - 1) @ matrix.T
