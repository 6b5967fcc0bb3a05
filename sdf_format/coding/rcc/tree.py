"""Reverse channel coding by a tree code and the M-algorithm (§6.5).

As the trellis, but for the state: the last 32 bits of a walk, of which a multiplicative hash picks the word in the
branch's codebook. So a walk never meets another again, and walks are a tree. The sender keeps the best few thousand of
them at every branch, all of which are worth it, where the trellis must carry one walk for each of its states: it comes
as near to the ideal in a quarter of the time.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding.rcc import codebook, integers
from sdf_format.coding.rcc.mixing import GOLDEN, private_seed, split
from sdf_format.coding.rcc.threads import single_blas_thread

WALK_BITS = 2048  # §6.5.1, longest walk
STATE_BITS = 32  # §6.5.2
WORDS = range(8, 19)  # K, §6.5.2
# walks that the sender compares in a step, about: docs/experiments.md, "tree"; 4 times as many for each point of effort
WORK = 1 << 24
# walks that it keeps at a branch, least and most; twice the most for each point of effort
WIDTHS = (256, 1 << 14)
EFFORTS = range(3)
SAMPLE = 16  # one walk in so many is looked at where the worse ones are to be found
SCORES = 1 << 18  # inner products that it computes at a time, about

# What `capacity` is made of, fitted like the trellis's: 1 to 2048 bits, 256 to 16,384 walks kept. With M walks kept,
# what the best one gains at each branch falls short of an endless search's by pi^2 / (2 ln^2 M) (Brunet and Derrida
# 1997), if M is large; NEAR makes it fit here.
NEAR = 4.6
START = 0.5  # KL [bit] that the start of a walk costs in all, times log2 M


def walk_borders(bits: int) -> list[int]:
    """First branch of every walk of a step, and the end: walks of at most WALK_BITS, nearly equal.  §6.5.1"""
    return split(bits, -(-bits // WALK_BITS))


def codewords(bits: np.ndarray, word_bits: int) -> np.ndarray:
    """(R,) int64: the word of each branch, a hash of the state after its bit; every walk starts from state 0.

    §6.5.2
    """
    result = np.empty(len(bits), np.int64)
    for first, last in pairwise(walk_borders(len(bits))):
        padded = np.concatenate([np.zeros(STATE_BITS - 1, np.uint64), bits[first:last].astype(np.uint64)])
        window = np.lib.stride_tricks.sliding_window_view(padded, STATE_BITS)
        state = window @ (np.uint64(1) << np.arange(STATE_BITS - 1, -1, -1, dtype=np.uint64))
        result[first:last] = (state * np.uint64(GOLDEN) & np.uint64(0xFFFFFFFF)) >> np.uint64(STATE_BITS - word_bits)
    return result


def receive(bits: np.ndarray, dimensions: int, word_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from its bits ((R,) of 0 and 1).  §6.5.3"""
    return codebook.expand_codewords(codewords(bits, word_bits), dimensions, word_bits, seed, step)


def width(bits: int, effort: int = 0) -> int:
    """Walks that the sender keeps at a branch of a step.  effort: of EFFORTS"""
    return min(WIDTHS[1] << effort, max(WIDTHS[0], (WORK << 2 * effort) // max(bits, 1)))


def capacity(bits: int, word_bits: int, dimensions: int | None = None, effort: int = 0) -> float:
    """KL [bit] of the mean shift that a step of `bits` bits delivers on average, where the shift asks for more.

    dimensions  D; None: so many that they do not matter
    effort      of the sender, of EFFORTS
    """
    if bits == 0:
        return 0.0
    kept = math.log(width(bits, effort))
    efficiency = (1 - math.pi**2 / 2 / (kept + NEAR) ** 2) ** 2
    return codebook.capacity(walk_borders(bits), efficiency, START * kept / math.log(2), dimensions)


@single_blas_thread()
def send(
    shift: Tensor, bits: int, word_bits: int, seed: int, step: int, effort: int = 0, keep: int | None = None
) -> np.ndarray:
    """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32, units of the standard deviation).

    §6.5.4

    effort  of EFFORTS: how many walks it compares; the receiver does not need to know
    keep    walks at a branch, if not what `width` says
    As the trellis does, it looks for the largest projection on the shift, or on the shift and private noise.
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    target = integers.target(shift, capacity(bits, word_bits, shift.numel(), effort), private_seed(seed, step))
    borders = walk_borders(bits)
    branches, code = codebook.products(target, borders, word_bits, seed, step)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy lets go of the interpreter's lock
        return np.concatenate(
            list(
                pool.map(
                    lambda walk: _search(branches[slice(*walk)], code, word_bits, keep or width(bits, effort)),
                    pairwise(borders),
                )
            )
        )


def _search(branches: np.ndarray, code: np.ndarray, word_bits: int, most: int) -> np.ndarray:
    """(R,) uint8: the best walk found with about `most` walks kept; branches (R, n + 1) and code (n,) of
    `codebook.products`.
    """
    scores = codebook.Scores(code, word_bits)
    together = max(1, SCORES >> word_bits)
    table = np.empty((together, 1 << word_bits), np.float32)
    scratch = np.empty(table.size, np.float32)
    metric = np.zeros(1, np.float32)
    product = np.zeros(1, np.uint32)  # of the state and GOLDEN: children have twice that, and GOLDEN more
    word = np.empty(8 * most + 2, np.intp)
    kept: list[tuple[int, np.ndarray | None]] = []
    for b in range(len(branches)):
        if b % together == 0:
            rows = branches[b : b + together]
            scores.fill(table[: len(rows)], rows, scratch)
        walks = len(metric)
        children = np.empty((2, walks), np.uint32)
        np.left_shift(product, np.uint32(1), out=children[0])
        np.add(children[0], np.uint32(GOLDEN), out=children[1])
        product = children.reshape(-1)
        here = np.right_shift(product, np.uint32(STATE_BITS - word_bits), out=word[: 2 * walks], casting="unsafe")
        gain = np.empty((2, walks), np.float32)
        table[b % together].take(here, out=gain.reshape(-1), mode="wrap")  # no index needs it: other modes copy
        metric = np.add(gain, metric, out=gain).reshape(-1)
        best = None
        if len(metric) > 2 * most:  # in every second branch: half the work, and a little better
            some = metric[b % SAMPLE :: SAMPLE]
            rank = len(some) - round(len(some) * most / len(metric))
            # Ties could let all of them pass.
            best = np.flatnonzero(metric >= np.partition(some, rank)[rank])[: 2 * most].astype(np.int32)
            metric, product = metric.take(best), product.take(best)
        kept.append((walks, best))
    at = int(metric.argmax())
    path = np.empty(len(branches), np.uint8)
    for b in range(len(branches) - 1, -1, -1):
        walks, best = kept[b]
        path[b], at = divmod(at if best is None else int(best[at]), walks)
    return path
