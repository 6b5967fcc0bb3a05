"""Shared randomness, addressed and exact (§6.1): Philox4x32-10 words and 16-bit normals.

Both sides of the codec, on any device, get the same integers for the same (seed, step, stream, index), in any order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", §3.3
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
NORMAL_ONE = 4096  # a normal of 1.0, in units of the table of §6.1.2
PER_BLOCK = 8  # normals from the 128 bits of one Philox block

# Streams, table 6.1
STREAM_NORMALS = 0
STREAM_PERMUTATION = 1
STREAM_CANDIDATES = 2


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10.  counter (n, 4) uint32, key two 32-bit words; result (n, 4) uint32.  §6.1.1"""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    k0, k1 = key
    for _ in range(ROUNDS):
        a, b = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (b >> half) ^ c1 ^ np.uint64(k0), b & low, (a >> half) ^ c3 ^ np.uint64(k1), a & low
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def words(seed: int, step: int, stream: int, first: int, count: int) -> np.ndarray:
    """(count, 4) uint32: the Philox blocks first .. first + count - 1 of an address.  §6.1.1"""
    index = np.arange(first, first + count, dtype=np.uint64)
    counter = np.empty((count, 4), np.uint32)
    counter[:, 0] = index & np.uint64(0xFFFFFFFF)
    counter[:, 1] = index >> np.uint64(32)
    counter[:, 2] = step
    counter[:, 3] = stream
    return philox(counter, (seed, 0))


@lru_cache(maxsize=1)
def normal_table() -> np.ndarray:
    """(65536,) int16: round(4096 * inverse normal distribution((i + 1/2) / 65536)).  §6.1.2

    Newton's method in double precision from the standard library's quantile; no entry lies close enough to a rounding
    boundary for the last bit of a double to matter, and the specification gives the table's SHA-256.
    """
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf
    lower = [round(NORMAL_ONE * quantile((i + 0.5) / 65536)) for i in range(32768)]
    table = np.array(lower + [-x for x in reversed(lower)], dtype=np.int16)
    table.flags.writeable = False
    return table


def normals(seed: int, step: int, stream: int, count: int) -> np.ndarray:
    """(count,) int16 normals 0 .. count - 1 of an address, in units of 1 / NORMAL_ONE.  §6.1.2

    Normal 8 i + 2 j + h is the table's entry at half h (0: low) of word j of block i.
    """
    blocks = words(seed, step, stream, 0, -(-count // PER_BLOCK))
    return normal_table()[blocks.astype("<u4").view("<u2").reshape(-1)[:count]]
