"""Pixels to the space that the embedded model works in: an 8x8 block DCT of an opponent colour transform (§4.3).

Both transforms are orthonormal, so a squared error here is the same squared error there. Every DCT coefficient
is one channel of a latent at an eighth of the resolution; a fixed weight a channel then decides how much of the
isotropic noise, and so how few of the bits, that coefficient gets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 8  # pixels a side, §4.3
CHANNELS = 3 * BLOCK * BLOCK


def colour_matrix() -> Tensor:
    """Rows: luma, red minus blue, green against both; orthonormal.  3x3, §4.3."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def dct_matrix(size: int = BLOCK) -> Tensor:
    """Orthonormal DCT-II of `size` samples; row k is frequency k.  8x8, §4.3."""
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (n[None, :] + 0.5) * n[:, None])
    rows[0] *= math.sqrt(0.5)
    return rows * math.sqrt(2 / size)


def matrix(size: int = BLOCK) -> Tensor:
    """192x192: channel (colour, v, u) from the pixel (colour, y, x) of a block."""
    dct = dct_matrix(size)
    return torch.kron(colour_matrix(), torch.kron(dct, dct)).float()


def forward(pixels: Tensor) -> Tensor:
    """(B, 3, 8h, 8w) pixels in [-1, 1] to (B, 192, h, w) unweighted coefficients in [-13.9, 13.9]."""
    blocks = torch.nn.functional.pixel_unshuffle(pixels, BLOCK)
    return torch.einsum("kc,bchw->bkhw", matrix().to(pixels), blocks)


def inverse(coefficients: Tensor, reduce: int = 1) -> Tensor:
    """(B, 192, h, w) coefficients to (B, 3, 8h, 8w) pixels, not clipped.

    reduce  2, 4 or 8: a picture of sides divided by so much, from the lowest frequencies of every block alone
    """
    side = BLOCK // reduce
    batch, _, height, width = coefficients.shape
    low = coefficients.view(batch, 3, BLOCK, BLOCK, height, width)[:, :, :side, :side].flatten(1, 3) / reduce
    blocks = torch.einsum("kc,bkhw->bchw", matrix(side).to(coefficients), low)
    return torch.nn.functional.pixel_shuffle(blocks, side)
