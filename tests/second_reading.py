"""The receiver's clauses (§6.3, §6.5) read a second time, a bit and a dimension at a time, and what tests of coders
share.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch

from sdf_format.coding import noise


def some_bits(count: int) -> np.ndarray:
    return np.unpackbits(np.arange(-(-count // 8), dtype=np.uint32).astype(np.uint8) * np.uint8(73) + np.uint8(41))[
        :count
    ]


def fingerprint(z: torch.Tensor) -> str:
    """SHA-256 of a displacement in units of 1/65536, as little-endian 32-bit integers."""
    exact = z.double().numpy() * 65536
    assert (exact == np.round(exact)).all()
    return hashlib.sha256(exact.astype("<i4").tobytes()).hexdigest()


def states_of(bits: list[int], longest_walk: int, state_bits: int) -> list[int]:
    """State of every branch, §6.3.2."""
    walks = -(-len(bits) // longest_walk)
    starts = {len(bits) * j // walks for j in range(walks)}
    states: list[int] = []
    for branch, bit in enumerate(bits):
        states.append(((0 if branch in starts else 2 * states[-1]) + bit) % 2**state_bits)
    return states


def plain_codewords(words: list[int], dimensions: int, word_bits: int, seed: int, step: int) -> list[int]:
    """§6.3.7 for the word of every branch, from nothing but the shared noise; unit 1/65536."""
    if not words:
        return [16 * int(x) for x in noise.normals(seed, step, 0, dimensions)]
    plane = -(-dimensions // 128)
    shared = noise.words(seed, step, 1, 1, 3 * plane).flatten()

    def sign(k: int, p: int) -> int:
        return -1 if int(shared[4 * k * plane + p // 32]) >> (p % 32) & 1 else 1

    def hadamard(x: list[int]) -> list[int]:
        return [sum((-1) ** (r & s).bit_count() * y for s, y in enumerate(x)) for r in range(256)]

    spelt: list[int] = []
    for branch, word in enumerate(words):
        for place in range(1, dimensions * (branch + 1) // len(words) - dimensions * branch // len(words) + 1):
            column = (place * 2654435769 % 2**32) >> (32 - word_bits)
            spelt.append((-1 if (word & column).bit_count() % 2 else 1) * sign(2, len(spelt)))
    columns, rest = divmod(dimensions, 256)
    rows = [16 * x for x in spelt[:rest]]
    for c in range(columns):
        rows += hadamard(spelt[rest + 256 * c : rest + 256 * c + 256])
    rows = [x * sign(1, p) for p, x in enumerate(rows)]
    mixed = [16 * x for x in rows]
    for c in range(columns):
        mixed[c : 256 * columns : columns] = hadamard(rows[c : 256 * columns : columns])
    offset = int(noise.words(seed, step, 1, 0, 1)[0, 0])
    multiplier = max(1, dimensions * 2654435769 // 2**32)
    while math.gcd(multiplier, dimensions) > 1:
        multiplier += 1
    result = [0] * dimensions
    for p, x in enumerate(mixed):
        result[(multiplier * p + offset) % dimensions] = 256 * x * sign(0, p)
    return result


def shift_of(norm: float, dimensions: int, seed: int, nonzero: int | None = None) -> torch.Tensor:
    """A shift of a given length, on random `nonzero` coordinates (default: all)."""
    rng = np.random.default_rng(seed)
    shift = np.zeros(dimensions)
    where = rng.permutation(dimensions)[: nonzero or dimensions]
    shift[where] = rng.standard_normal(len(where))
    return torch.from_numpy(shift * norm / np.linalg.norm(shift)).float()
