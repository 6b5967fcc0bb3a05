"""Coders to compare with, as functions of the wanted shift: what is received, and how many bits that took.

None of them is part of the format. Those with candidates draw the candidates' inner products with the shift alone,
which are independent normals, and everything at right angles to it once: the same distribution as from whole
candidates.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

REFERENCE_KL = 14  # bits of KL a chunk that the public DiffC code aims at
REFERENCE_INDEX = 16  # and the logarithm of its number of candidates


def _received(unit: Tensor, along: Tensor, generator: torch.Generator) -> Tensor:
    """(C, n) vectors with the given projections (C,) on unit vectors (C, n), normal at right angles to them."""
    noise = torch.randn(unit.shape, generator=generator)
    return noise + (along - (noise * unit).sum(dim=1))[:, None] * unit


def _chunked(shift: Tensor, chunks: int, generator: torch.Generator, choose) -> tuple[Tensor, float]:
    """The shift's dimensions split at random into chunks, and `choose(norms)` -> (projections, bits) for each."""
    order = torch.randperm(shift.numel(), generator=generator)
    z, bits = torch.empty_like(shift), 0.0
    for part in torch.tensor_split(order, chunks):
        m = shift[part][None]
        norm = m.norm(dim=1)
        along, spent = choose(norm)
        z[part] = _received(m / norm.clamp(min=1e-12)[:, None], along, generator)[0]
        bits += spent
    return z, bits


def zipf_exponent(kl: float) -> float:
    """Of the index's distribution (Li & El Gamal 2018): 1 + 1 / (KL + log2(e) / e + 1)."""
    return 1 + 1 / (kl + math.log2(math.e) / math.e + 1)


def public_rule(shift: Tensor, kl: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """The public DiffC code: chunks of 14 bits of KL, Poisson functional representation cut at 2^16 candidates, Zipf's
    index.

    kl  what the step was granted [bit], which decides the number of chunks
    """
    count = 1 << REFERENCE_INDEX
    index = np.arange(1, count + 1, dtype=float)
    weights = index ** -zipf_exponent(REFERENCE_KL)
    cost = -np.log2(weights / weights.sum())

    def choose(norm: Tensor) -> tuple[Tensor, float]:
        x = torch.randn(count, generator=generator, dtype=torch.float32)
        times = torch.empty(count).exponential_(generator=generator).double().cumsum(0).log()
        best = int((norm.double() * x - times).argmax())
        return x[best : best + 1], float(cost[best])

    return _chunked(shift, max(1, round(kl / REFERENCE_KL)), generator, choose)


def block_argmax(shift: Tensor, bits: int, width: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """The best of 2^width candidates for every chunk, whose index is sent as it stands."""

    def choose(_: Tensor) -> tuple[Tensor, float]:
        return torch.randn(1 << width, generator=generator).max()[None], float(width)

    return _chunked(shift, max(1, bits // width), generator, choose)


def exact(shift: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """An exact sample, at the ideal price: the KL."""
    return shift + torch.randn(shift.shape, generator=generator), float(shift.double().square().sum()) / (
        2 * math.log(2)
    )
