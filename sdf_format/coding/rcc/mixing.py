"""What the coders share: how a step's dimensions are mixed, and dealt out (§6.3.1, §6.3.3 to §6.3.5).

Mixed, no few dimensions carry all the energy of a shift. Everything here is integer arithmetic that float32 does
exactly.
"""

from __future__ import annotations

import math

import numpy as np

from sdf_format.coding import noise
from sdf_format.coding.rcc.integers import MIX

OUTER, MIDDLE, BASE = range(3)  # §6.3.4, planes of signs
GOLDEN = 2654435769  # 2^32 over the golden ratio, §6.3.3 and §6.3.6


def split(total: int, parts: int) -> list[int]:
    """Borders of `parts` nearly equal runs of 0 .. total: floor(total * i / parts).  §6.3.1"""
    return [total * i // max(parts, 1) for i in range(parts + 1)]


def order(seed: int, step: int, dimensions: int) -> tuple[int, int]:
    """Multiplier and offset of the mixing order: place p is dimension (multiplier * p + offset) mod D.  §6.3.3

    A multiplier near D over the golden ratio spreads the places of a branch evenly over channels and picture.
    """
    multiplier = max(1, dimensions * GOLDEN >> 32)
    while math.gcd(multiplier, dimensions) != 1:
        multiplier += 1
    return multiplier, int(noise.words(seed, step, noise.STREAM_PERMUTATION, 0, 1)[0, 0]) % dimensions


def permutation(seed: int, step: int, dimensions: int) -> np.ndarray:
    """(D,) int64: the dimension at each place of the mixing order.  §6.3.3"""
    multiplier, offset = order(seed, step, dimensions)
    # D has at most 32 bits (§6.3), so no product leaves 64.
    place = np.arange(dimensions, dtype=np.uint64)
    return ((place * np.uint64(multiplier) + np.uint64(offset)) % np.uint64(dimensions)).astype(np.int64)


def signs(seed: int, step: int, plane: int, dimensions: int) -> np.ndarray:
    """(D,) float32 of -1 and 1 by place: bit i mod 32 of word i // 32 of a plane of the permutation stream; a set bit
    is -1.  §6.3.4
    """
    blocks = -(-dimensions // 128)
    words = noise.words(seed, step, noise.STREAM_PERMUTATION, 1 + plane * blocks, blocks)
    bits = np.unpackbits(words.astype("<u4").view(np.uint8).reshape(-1), bitorder="little", count=dimensions)
    return 1 - 2 * bits.astype(np.float32)


def mix_columns(x: np.ndarray) -> np.ndarray:
    """(D,) times the Hadamard matrix of order MIX, over places D // MIX apart; its own inverse up to the factor MIX.

    The last D mod MIX places are multiplied by sqrt(MIX) instead.  §6.3.5
    In NumPy, because an application's torch.autocast would round the receiver's integers.
    """
    columns = len(x) // MIX
    body, rest = x[: columns * MIX].reshape(MIX, columns), x[columns * MIX :]
    return np.concatenate([(hadamard(MIX.bit_length() - 1) @ body).reshape(-1), rest * math.isqrt(MIX)])


def mix_rows(x: np.ndarray) -> np.ndarray:
    """As `mix_columns`, over MIX consecutive places; here the first D mod MIX places are left out.  §6.3.5"""
    rest = len(x) % MIX
    return np.concatenate(
        [x[:rest] * math.isqrt(MIX), (x[rest:].reshape(-1, MIX) @ hadamard(MIX.bit_length() - 1)).reshape(-1)]
    )


def to_mixing_order(x: np.ndarray, seed: int, step: int) -> np.ndarray:
    """(D,) float32 by dimension to places, mixed by columns: the transpose of what `from_mixing_order` does.

    §6.3.3, §6.3.5
    """
    return mix_columns(x[permutation(seed, step, len(x))] * signs(seed, step, OUTER, len(x)))


def from_mixing_order(values: np.ndarray, seed: int, step: int) -> np.ndarray:
    """(D,) numbers by place, mixed by columns, to numbers by dimension; float32, whose integers are exact up to 2^24.

    §6.3.3, §6.3.5
    """
    result = np.empty(len(values), np.float32)
    # An integer has one zero: -0.0 + 0.0 is 0.0.
    result[permutation(seed, step, len(values))] = mix_columns(values) * signs(
        seed, step, OUTER, len(values)
    ) + np.float32(0)
    return result


def hadamard(bits: int) -> np.ndarray:
    """(2^bits, 2^bits) float32 of -1 and 1, natural order."""
    index = np.arange(1 << bits)
    return (1.0 - 2.0 * (np.bitwise_count(index[:, None] & index[None, :]) & 1)).astype(np.float32)


def private_seed(seed: int, step: int) -> int:
    """Of the noise that only the sender knows."""
    return seed << 20 ^ step
