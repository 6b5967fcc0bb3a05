"""Large latents by overlapping tiles: sender and receiver cut and blend alike, and hold one tile's activations at a time (§4.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WHOLE = 1.5         # trained areas up to which a latent is not cut: 768x512 pixels for a model of 512x512


def starts(length: int, side: int, grid: int) -> list[int]:
    """First positions of tiles of `side`, on multiples of `grid`, that overlap by a quarter or more and cover `length`."""
    if length <= side:
        return [0]
    count = -(-(length - side) * 4 // (3 * side)) + 1
    return [round((length - side) * i / (count - 1) / grid) * grid for i in range(count - 1)] + [length - side]


def ramp(first: int, length: int, places: list[int], side: int, device: torch.device) -> Tensor:
    """(side,) weights of the tile at `first`: 1 in its middle, falling to either neighbour over the overlap, never 0."""
    i = torch.arange(side, device=device, dtype=torch.float32)
    weight = torch.ones(side, device=device)
    order = places.index(first)
    if order:
        weight = torch.minimum(weight, (i + 1) / (places[order - 1] + side - first + 1))
    if first + side < length:
        weight = torch.minimum(weight, (side - i) / (first + side - places[order + 1] + 1))
    return weight


def blended(y: Tensor, side: int, grid: int, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """`predict` over the whole of y (1, C, h, w) if it is small, otherwise over tiles of side x side, blended where they overlap.

    side, grid  latent positions; a tile starts on a multiple of the grid, as do h and w
    """
    height, width = y.shape[2:]
    if height * width <= WHOLE * side * side:
        return predict(y)
    high, wide = min(side, height), min(side, width)
    rows, columns = starts(height, high, grid), starts(width, wide, grid)
    total = torch.zeros_like(y)
    mass = torch.zeros(height, width, device=y.device)
    for top in rows:
        for left in columns:
            weight = ramp(top, height, rows, high, y.device)[:, None] * ramp(left, width, columns, wide, y.device)
            area = (..., slice(top, top + high), slice(left, left + wide))
            total[area] += weight * predict(y[area])
            mass[area[1:]] += weight
    return total / mass
