"""The sender's arithmetic in whole numbers (§6.3.8), so that a CPU and a GPU find the same walks and a tie is a tie.

What a walk is compared by are sums of the mixed target's numbers under the signs of states. The target is rounded to
integers before each mixing and after the last, so coarsely that no sum leaves the 24 bits that float32 holds exactly,
in whatever order it is taken, and so finely that nothing is lost by it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdf_format.coding.noise import NORMAL_ONE

MIXED_BITS = 16  # of what is mixed: sums of MIX = 2^8 of them do not exceed 2^24
TARGET_BITS = MIXED_BITS - 1  # of a rounded shift: private noise may be as much again
LARGEST_NORMAL = 6  # sizes of torch.randn in float32 end at 5.8
MIX = 256  # §6.3.5, order of the mixing transforms
SUM_BITS = 24  # what float32 holds
# the same for a chunk's score; a spike that was mixed lies in 256 chunks of perhaps thousands
CHUNK_MARGIN = 64
# sizes of a branch's score, in standard deviations, up to which no path metric can overflow; walks gain 1.2
MARGIN = 8


def rounded(shift: Tensor, least: float = 0.0) -> tuple[Tensor, float]:
    """(D,) int32: a shift (D,) in a unit that suits the largest entry, or `least` if that is larger; and one over the
    unit, a power of two.
    """
    factor = 2.0 ** (TARGET_BITS - math.frexp(max(float(shift.abs().max()), least))[1])
    return torch.round(shift * factor).to(torch.int32), factor


def target(shift: Tensor, capacity: float, private_seed: int) -> Tensor:
    """(D,) int32 that a walk is to come near: the shift (D,), and private noise worth the KL [bit] by which the
    capacity exceeds its own.

    The noise is the sender's own: no receiver needs it.
    """
    available = 2 * math.log(2) * capacity
    result, factor = rounded(shift, LARGEST_NORMAL * math.sqrt(available / shift.numel()))
    surplus = available - energy(result) / factor**2
    if surplus > 0:
        generator = torch.Generator("cpu").manual_seed(private_seed)
        own = torch.randn(shift.shape, generator=generator, dtype=torch.float32).to(shift.device)
        result += torch.round(own * (math.sqrt(surplus / shift.numel()) * factor)).to(torch.int32)
    return result


def energy(x: Tensor) -> int:
    """Sum of squares of integers, exact."""
    return int(x.to(torch.int64).square().sum())


def narrowed(mixed: Tensor) -> tuple[Tensor, float]:
    """(D,) int32: integers multiplied by the power of two that makes the largest MIXED_BITS long, and rounded; and that
    power.
    """
    factor = 2.0 ** (MIXED_BITS - math.frexp(float(mixed.abs().max()))[1])
    return torch.round(mixed.to(torch.float32) * factor).to(torch.int32), factor


def product_scale(columns: Tensor, longest_walk: int, walks: int) -> float:
    """Power of two by which the target, rounded after mixing by columns and then mixed by rows, is to be multiplied
    before the last rounding.
    """
    deviation = math.sqrt(MIX * energy(columns) / walks)  # of the score of a whole walk of random signs
    return 2.0 ** (SUM_BITS - math.frexp(MARGIN * math.sqrt(longest_walk) * max(deviation, 1.0))[1])


def chunk_scale(columns: Tensor, chunks: int) -> float:
    """Power of two by which products of the target, rounded after mixing by columns, and normals [1/NORMAL_ONE] are to
    be multiplied before rounding, where sums go over a chunk of pfr.
    """
    deviation = NORMAL_ONE * math.sqrt(energy(columns) / chunks)
    return 2.0 ** (SUM_BITS - math.frexp(CHUNK_MARGIN * max(deviation, 1.0))[1])
