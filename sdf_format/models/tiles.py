"""Large latents by overlapping tiles: sender and receiver cut and blend alike, and hold one tile's activations at a
time (§4.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

WHOLE = 1.5  # trained areas up to which a latent is not cut: 768x512 pixels for a model of 512x512


def starts(length: int, side: int, grid: int) -> list[int]:
    """First positions of tiles of `side`, on multiples of `grid`, that overlap by a quarter or more and cover
    `length`.
    """
    if length <= side:
        return [0]
    count = -(-(length - side) * 4 // (3 * side)) + 1
    return [round((length - side) * i / (count - 1) / grid) * grid for i in range(count - 1)] + [length - side]


def ramp(first: int, length: int, places: list[int], side: int, device: torch.device) -> Tensor:
    """(side,) weights of the tile at `first`: 1 in its middle, falling to either neighbour over the overlap,
    never 0.
    """
    i = torch.arange(side, device=device, dtype=torch.float32)
    weight = torch.ones(side, dtype=torch.float32, device=device)
    order = places.index(first)
    if order:
        weight = torch.minimum(weight, (i + 1) / (places[order - 1] + side - first + 1))
    if first + side < length:
        weight = torch.minimum(weight, (side - i) / (first + side - places[order + 1] + 1))
    return weight


class Tiling:
    """How a latent of h x w positions, or a picture of h x w pixels, is cut: not at all if it is small, otherwise into
    tiles of side x side.

    side, grid  in the same units; a tile starts on a multiple of the grid, as do h and w
    """

    def __init__(self, height: int, width: int, side: int, grid: int):
        self.height, self.width = height, width
        whole = height * width <= WHOLE * side * side
        self.high, self.wide = (height, width) if whole else (min(side, height), min(side, width))
        self.rows, self.columns = starts(height, self.high, grid), starts(width, self.wide, grid)

    def areas(self) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        """Top, left and index of every tile."""
        for top in self.rows:
            for left in self.columns:
                yield top, left, (..., slice(top, top + self.high), slice(left, left + self.wide))

    def cut(self, y: Tensor) -> list[Tensor]:
        """The tiles of y (1, C, h, w), as views."""
        return [y[area] for _, _, area in self.areas()]

    def blended(self, parts: Iterable[Tensor]) -> Tensor:
        """The whole from its tiles in their order, linear between neighbours where they overlap; it takes one after the
        other.
        """
        total = mass = torch.empty(0)
        for part, (top, left, area) in zip(parts, self.areas(), strict=True):
            if (self.high, self.wide) == (self.height, self.width):
                return part
            if not total.numel():
                total = torch.zeros(*part.shape[:2], self.height, self.width, dtype=torch.float32, device=part.device)
                mass = torch.zeros(self.height, self.width, dtype=torch.float32, device=part.device)
            weight = ramp(top, self.height, self.rows, self.high, part.device)[:, None] * ramp(
                left, self.width, self.columns, self.wide, part.device
            )
            total[area] += weight * part
            mass[area[1:]] += weight
        return total.div_(mass)
