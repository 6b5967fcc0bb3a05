"""The sign code of the branches of trellis and tree (§6.3.1, §6.3.6, §6.3.7).

Branch b of a step owns D / R places of the mixing order. Word w of its codebook is B_b * code(w): shared signs B_b,
times the codeword of w in a fixed linear code. So the inner products of a branch with all 2^L words are one fast
Walsh-Hadamard transform, and the receiver expands one word a branch in O(D). Mixing makes normals of the signs: each
number of z is a sum of 65,536 of them, and the length of z is always the same.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding import noise
from sdf_format.coding.rcc import integers
from sdf_format.coding.rcc.mixing import (
    BASE,
    GOLDEN,
    MIDDLE,
    from_mixing_order,
    hadamard,
    mix_rows,
    signs,
    split,
    to_mixing_order,
)
from sdf_format.coding.rcc.threads import single_blas_thread

SIGNS = 1 << 22  # entries of the sender's tables of signs, about
# KL [bit] of the better of two independent normals, whose mean is 1 / sqrt(pi)
ONE_BIT = 1 / (2 * math.log(2) * math.pi)
CROWDING = 0.65  # KL is down to half at so many dimensions a bit


def places(dimensions: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(branch, place within the branch) of each dealt dimension, both (D,) int64.  §6.3.1"""
    borders = np.array(split(dimensions, bits))
    branch = np.repeat(np.arange(bits), np.diff(borders))
    return branch, np.arange(dimensions) - borders[branch]


def codes(count: int, word_bits: int) -> np.ndarray:
    """(count,) int64: the L-bit column of the sign code at each place within a branch.  §6.3.6"""
    place = np.arange(1, count + 1, dtype=np.uint64)
    return ((place * np.uint64(GOLDEN) & np.uint64(0xFFFFFFFF)) >> np.uint64(32 - word_bits)).astype(np.int64)


@single_blas_thread()
def expand_codewords(codewords: np.ndarray, dimensions: int, word_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from the word of every branch ((R,) int64).

    §6.3.7

    R = 0 gives the shared normals themselves.
    """
    if len(codewords) == 0:
        return torch.from_numpy(
            noise.normals(seed, step, noise.STREAM_NORMALS, dimensions).astype(np.float32) / noise.NORMAL_ONE
        )
    branch, place = places(dimensions, len(codewords))
    common = codewords[branch] & codes(int(place.max()) + 1, word_bits)[place]
    spelt = np.where(np.bitwise_count(common) & 1, -1, 1) * signs(seed, step, BASE, dimensions)
    return torch.from_numpy(
        from_mixing_order(mix_rows(spelt) * signs(seed, step, MIDDLE, dimensions), seed, step) / integers.MIX
    )


def capacity(walks: list[int], efficiency: float, start: float, dimensions: int | None) -> float:
    """KL [bit] of the mean shift that the bits of walks deliver: every walk `efficiency` of its bits, less what it
    loses at its start.

    walks  first branch of every walk, and R; start: KL [bit] that a long walk loses in all until its choices have
           spread
    dimensions  D; None: so many that they do not matter
    """
    slow = start / (efficiency - ONE_BIT) - 1  # so that one bit is worth ONE_BIT
    kl = sum(
        efficiency * bits - start * bits / (bits + slow) for bits in (last - first for first, last in pairwise(walks))
    )
    return kl if dimensions is None else kl * dimensions / (dimensions + CROWDING * walks[-1])


def products(target: Tensor, walks: list[int], word_bits: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Products (R, n + 1) of target and base signs by branch and place, integers in float32, with zeros in the last
    column and wherever a branch has fewer places, and the places' codes (n,).

    target  (D,) int32; walks: first branch of every walk, and R; no sum over a walk leaves what float32 holds exactly
    """
    dimensions, bits = len(target), walks[-1]
    branch, place = places(dimensions, bits)
    width = int(place.max()) + 1
    branches = np.zeros((bits, width + 1), np.float32)
    columns, _ = integers.narrowed(torch.from_numpy(to_mixing_order(target.numpy().astype(np.float32), seed, step)))
    scale = integers.product_scale(columns, max(last - first for first, last in pairwise(walks)), len(walks) - 1)
    mixed = mix_rows(columns.numpy().astype(np.float32) * signs(seed, step, MIDDLE, dimensions))
    branches[branch, place] = np.rint(mixed * signs(seed, step, BASE, dimensions) * np.float32(scale))
    return branches, codes(width, word_bits)


class Scores:
    """Inner products of many branches with the vectors of all 2^L codewords: a Walsh-Hadamard transform whose input has
    n entries.

    The transform over the low bits of the state is a product with the n sign rows that occur, one group of places a
    high part of the code; the one over the high bits is dense. Both are small matrix products, fastest on a CPU.
    Where n is so large that the sign rows would fill the memory, places of one code are added up and everything is
    dense.
    """

    def __init__(self, code: np.ndarray, word_bits: int):
        """code: (n,)"""
        # The two products cost n / 2^high and 2^high operations a score, and the first, of thin matrices, runs slower.
        high = min(word_bits - 2, round(math.log2(len(code)) / 2) + 1)
        low = word_bits - high
        self.sparse = len(code) << low <= SIGNS
        if not self.sparse:
            self.order = np.argsort(code, kind="stable")
            self.cells, self.starts = np.unique(code[self.order], return_index=True)
            return
        group, sign_code = code >> low, code & (1 << low) - 1
        self.hadamard = hadamard(high)
        self.places = np.full((1 << high, np.bincount(group).max()), len(code))  # of nothing: the column of zeros
        self.signs = np.zeros((*self.places.shape, 1 << low), np.float32)
        for g in range(1 << high):
            own = np.flatnonzero(group == g)
            self.places[g, : len(own)] = own
            self.signs[g, : len(own)] = 1 - 2.0 * (np.bitwise_count(sign_code[own, None] & np.arange(1 << low)) & 1)

    def fill(self, out: np.ndarray, branches: np.ndarray, scratch: np.ndarray) -> None:
        """out (B, 2^L) from branches (B, n + 1); scratch: at least B 2^L numbers."""
        if not self.sparse:
            out[:] = 0
            out[:, self.cells] = np.add.reduceat(branches[:, self.order], self.starts, axis=1)
            walsh_hadamard(out)
            return
        groups, _, low = self.signs.shape
        half_way = scratch[: out.size].reshape(groups, len(out), low)
        np.matmul(branches[:, self.places].transpose(1, 0, 2), self.signs, out=half_way)
        np.matmul(self.hadamard, half_way.transpose(1, 0, 2), out=out.reshape(len(out), groups, low))


def walsh_hadamard(x: np.ndarray) -> None:
    """Walsh-Hadamard transform of the rows of (B, 2^L), natural order, in place: a dense factor for each six bits of
    the index.
    """
    bits = x.shape[1].bit_length() - 1
    for low in range(0, bits, 6):
        factor = hadamard(min(6, bits - low))
        cube = x.reshape(-1, len(factor), 1 << low)
        cube[:] = factor @ cube if low else (cube[..., 0] @ factor)[..., None]
