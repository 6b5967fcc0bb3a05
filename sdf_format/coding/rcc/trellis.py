"""Reverse channel coding by a bit-shift trellis (§6.3).

A step sends R bits for a displacement of D dimensions, which are mixed and dealt out to R branches. The state of a walk
is its last L bits, and its word in the branch's codebook. The sender compares all walks (Viterbi).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding.rcc import codebook, integers
from sdf_format.coding.rcc.codebook import Scores
from sdf_format.coding.rcc.mixing import private_seed, split
from sdf_format.coding.rcc.threads import single_blas_thread

WALK_BITS = 1024  # §6.3.1, longest walk
STATES = range(8, 19)  # L, §6.3.2
SCORES = 1 << 19  # inner products that the sender computes at a time, about
# states of walks that the sender carries together, about: they should fit a core's cache
METRICS = 1 << 17
SURVIVOR_BYTES = 1 << 28  # memory that the sender may spend on survivors at a time

# What `capacity` is made of, fitted to projections of the sender's walks on random shifts: 1 to 1024 bits, 8 to 256
# dimensions a bit; it agrees with them to 2 % from 64 bits on, and to 5 % below. `sdf bench rcc` measures it anew. Only
# the sender uses these.
EFFICIENCY = {
    8: 0.842,
    9: 0.867,
    10: 0.888,
    11: 0.902,
    12: 0.915,
    13: 0.926,
    14: 0.936,
    15: 0.942,
    16: 0.949,
    17: 0.955,
    18: 0.958,
}
START = (3.6, 0.33)  # KL [bit] that the start of a walk costs in all, at L = 8 and for each L more


def walk_borders(bits: int) -> list[int]:
    """First branch of every walk of a step, and the end: walks of at most WALK_BITS, nearly equal.  §6.3.1"""
    return split(bits, -(-bits // WALK_BITS))


def states(bits: np.ndarray, state_bits: int) -> np.ndarray:
    """(R,) int64: the state after each bit of a step; every walk starts from state 0.  §6.3.2"""
    result = np.empty(len(bits), np.int64)
    for first, last in pairwise(walk_borders(len(bits))):
        padded = np.concatenate([np.zeros(state_bits - 1, np.int64), bits[first:last].astype(np.int64)])
        window = np.lib.stride_tricks.sliding_window_view(padded, state_bits)
        result[first:last] = window @ (1 << np.arange(state_bits - 1, -1, -1))
    return result


def capacity(bits: int, state_bits: int, dimensions: int | None = None) -> float:
    """KL [bit] of the mean shift that a step of `bits` bits delivers on average, where the shift asks for more.

    dimensions  D; None: so many that they do not matter
    """
    if bits == 0:
        return 0.0
    start = START[0] + START[1] * (state_bits - STATES[0])
    return codebook.capacity(walk_borders(bits), EFFICIENCY[state_bits], start, dimensions)


def receive(bits: np.ndarray, dimensions: int, state_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from its bits ((R,) of 0 and 1).  §6.3.7"""
    return codebook.expand_codewords(states(bits, state_bits), dimensions, state_bits, seed, step)


@single_blas_thread()
def send(shift: Tensor, bits: int, state_bits: int, seed: int, step: int) -> np.ndarray:
    """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32, units of the standard deviation).

    §6.3.8

    The walk maximises its projection on the shift (Viterbi). Where the bits could deliver more than |shift|^2 asks
    for, the target is the shift plus private noise: the projection then meets |shift| on average and does not
    overshoot it, and the surplus goes into looking like noise.
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    target = integers.target(shift, capacity(bits, state_bits, shift.numel()), private_seed(seed, step))
    borders = walk_borders(bits)
    branches, code = codebook.products(target, borders, state_bits, seed, step)
    walks = list(pairwise(borders))
    longest = max(last - first for first, last in walks)
    threads = torch.get_num_threads()
    most = max(1, min(METRICS >> state_bits, SURVIVOR_BYTES // (threads * longest << (state_bits - 1))))
    parts = split(len(walks), min(len(walks), max(threads, -(-len(walks) // most))))
    groups = [walks[first:last] for first, last in pairwise(parts)]
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the interpreter's lock
        found = pool.map(lambda group: _viterbi(branches, group, code, state_bits), groups)
        return np.concatenate([path for paths in found for path in paths])


def _rotated(x: np.ndarray, bits: int, by: int) -> np.ndarray:
    """Numbers of `bits` bits with their lowest `by` bits moved to the top."""
    return x >> by | (x & (1 << by) - 1) << (bits - by)


def _viterbi(branches: np.ndarray, walks: list[tuple[int, int]], code: np.ndarray, state_bits: int) -> list[np.ndarray]:
    """Best path ((last - first,) uint8) of every walk; branches (R, n + 1) and code (n,) as `products` gives them.

    Ties go to the predecessor with the oldest bit 0, and to the lowest final state.  §6.3.8
    """
    walk_count = len(walks)
    length = max(last - first for first, last in walks)
    half = 1 << (state_bits - 1)
    # A walk that is a branch shorter starts a branch later, so that all walks end together.
    start = np.array([last - length for _, last in walks])
    late = start < [first for first, _ in walks]
    # Metrics lie in an order in which a step works in place on long runs of memory: each new bit takes the place of the
    # bit that it pushes out, so after i steps the index is the state rotated by i. After `turns` steps a transposition
    # restores it.
    turns = state_bits // 2
    scorers = [Scores(_rotated(code, state_bits, i + 1), state_bits) for i in range(min(turns, length))]
    # whose scores are made together
    rounds = max(1, min(-(-length // turns), SCORES // (walk_count * turns << state_bits)))
    scores = np.empty((turns, rounds * walk_count, 2 * half), np.float32)
    metric, spare = np.empty((2, walk_count, 2 * half), np.float32)
    best = np.empty((walk_count, half), np.float32)
    survivors = np.empty((length, walk_count, half), np.bool_)
    scratch = np.empty(scores[0].size, np.float32)

    def begin(which: np.ndarray | slice) -> None:
        metric[which] = -math.inf
        metric[which, 0] = 0

    begin(slice(None))
    for t in range(length):
        turn, row = t % turns, t // turns % rounds * walk_count
        if turn == row == 0:
            for i, scorer in enumerate(scorers[: length - t]):
                when = np.arange(t + i, min(t + turns * rounds, length), turns)
                rows = np.maximum(start + when[:, None], 0).flatten()
                scorer.fill(scores[i, : len(rows)], branches[rows], scratch)
        shape = (walk_count, 1 << turn, 2, half >> turn)
        after = metric.reshape(shape)
        zero, one = after[:, :, :1], after[:, :, 1:]
        winner = best.reshape(zero.shape)
        np.greater(one, zero, out=survivors[t].reshape(zero.shape))
        np.maximum(zero, one, out=winner)
        np.add(winner, scores[turn, row : row + walk_count].reshape(shape), out=after)
        if t == 0:  # walks differ by one branch at most
            begin(late)
        if turn == turns - 1 or t == length - 1:
            np.copyto(
                spare.reshape(walk_count, -1, 2 << turn), metric.reshape(walk_count, 2 << turn, -1).transpose(0, 2, 1)
            )
            metric, spare = spare, metric
    state = metric.argmax(axis=1)
    paths = np.empty((length, walk_count), np.uint8)
    every = np.arange(walk_count)
    for t in range(length - 1, -1, -1):
        paths[t] = state & 1
        state >>= 1
        state += survivors[t][every, _rotated(state, state_bits - 1, t % turns)] * half
    return [paths[length - (last - first) :, i] for i, (first, last) in enumerate(walks)]
