"""Reverse channel coding by a bit-shift trellis (§6.3).

A step sends R bits for a displacement of D dimensions. The D dimensions are mixed, so that no few of them carry all the energy,
and dealt out to R branches. The state of a walk is its last L bits; at branch k the state s names the vector B_k * code(s), where B_k are
shared signs and code(s) is the codeword of s in a fixed linear code. So all 2^L inner products of a branch are one fast Walsh-Hadamard
transform, and the receiver regenerates one walk in O(D). Mixing makes normals of the signs: each number of z is a sum of 65,536 of
them, and the length of z is always the same.

Everything between the bits and z is integer arithmetic.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sdf_format import noise
from sdf_format.rcc import integers
from sdf_format.rcc.threads import single_blas_thread

WALK_BITS = 1024                # §6.3.1, longest walk
STATES = range(8, 19)           # L, §6.3.2
MIX = integers.MIX              # §6.3.5, order of the mixing transforms
OUTER, MIDDLE, BASE = range(3)  # §6.3.4, planes of signs
GOLDEN = 2654435769             # 2^32 over the golden ratio, §6.3.3 and §6.3.6
SCORES = 1 << 19                # inner products that the sender computes at a time, about
METRICS = 1 << 17               # states of walks that the sender carries together, about: they should fit a core's cache
SIGNS = 1 << 22                 # entries of the sender's tables of signs, about
SURVIVOR_BYTES = 1 << 28        # memory that the sender may spend on survivors at a time

# What `capacity` is made of, fitted to projections of the sender's walks on random shifts: 1 to 1024 bits, 8 to 256
# dimensions a bit; it agrees with them to 2 % from 64 bits on, and to 5 % below. `sdf bench rcc` measures it anew. Only the sender uses these.
EFFICIENCY = {8: 0.842, 9: 0.867, 10: 0.888, 11: 0.902, 12: 0.915, 13: 0.926, 14: 0.936, 15: 0.942, 16: 0.949, 17: 0.955, 18: 0.958}
ONE_BIT = 1 / (2 * math.log(2) * math.pi)       # KL [bit] of the better of two independent normals, whose mean is 1 / sqrt(pi)
START = (3.6, 0.33)             # KL [bit] that the start of a walk costs in all, at L = 8 and for each L more
CROWDING = 0.65                 # KL is down to half at so many dimensions a bit


def split(total: int, parts: int) -> list[int]:
    """Borders of `parts` nearly equal runs of 0 .. total: floor(total * i / parts).  §6.3.1"""
    return [total * i // parts for i in range(parts + 1)]


def walk_borders(bits: int) -> list[int]:
    """First branch of every walk of a step, and the end: walks of at most WALK_BITS, nearly equal.  §6.3.1"""
    return split(bits, -(-bits // WALK_BITS))


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
    """(D,) float32 of -1 and 1 by place: bit i mod 32 of word i // 32 of a plane of the permutation stream; a set bit is -1.  §6.3.4"""
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
    return np.concatenate([(_hadamard(MIX.bit_length() - 1) @ body).reshape(-1), rest * math.isqrt(MIX)])


def mix_rows(x: np.ndarray) -> np.ndarray:
    """As `mix_columns`, over MIX consecutive places; here the first D mod MIX places are left out.  §6.3.5"""
    rest = len(x) % MIX
    return np.concatenate([x[:rest] * math.isqrt(MIX), (x[rest:].reshape(-1, MIX) @ _hadamard(MIX.bit_length() - 1)).reshape(-1)])


def deal(x: np.ndarray, seed: int, step: int) -> np.ndarray:
    """(D,) float32 by dimension to places, mixed by columns: the transpose of what `gather` does.  §6.3.3, §6.3.5"""
    return mix_columns(x[permutation(seed, step, len(x))] * signs(seed, step, OUTER, len(x)))


def gather(values: np.ndarray, seed: int, step: int) -> np.ndarray:
    """(D,) numbers by place, mixed by columns, to numbers by dimension; float32, whose integers are exact up to 2^24.  §6.3.3, §6.3.5"""
    result = np.empty(len(values), np.float32)
    # An integer has one zero: -0.0 + 0.0 is 0.0.
    result[permutation(seed, step, len(values))] = mix_columns(values) * signs(seed, step, OUTER, len(values)) + np.float32(0)
    return result


def codes(count: int, state_bits: int) -> np.ndarray:
    """(count,) int64: the L-bit column of the sign code at each place within a branch.  §6.3.6"""
    place = np.arange(1, count + 1, dtype=np.uint64)
    return ((place * np.uint64(GOLDEN) & np.uint64(0xFFFFFFFF)) >> np.uint64(32 - state_bits)).astype(np.int64)


def places(dimensions: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(branch, place within the branch) of each dealt dimension, both (D,) int64.  §6.3.1"""
    borders = np.array(split(dimensions, bits))
    branch = np.repeat(np.arange(bits), np.diff(borders))
    return branch, np.arange(dimensions) - borders[branch]


def states(bits: np.ndarray, state_bits: int) -> np.ndarray:
    """(R,) int64: the state after each bit of a step; every walk starts from state 0.  §6.3.2"""
    result = np.empty(len(bits), np.int64)
    for first, last in zip(*_pairs(walk_borders(len(bits)))):
        padded = np.concatenate([np.zeros(state_bits - 1, np.int64), bits[first:last].astype(np.int64)])
        window = np.lib.stride_tricks.sliding_window_view(padded, state_bits)
        result[first:last] = window @ (1 << np.arange(state_bits - 1, -1, -1))
    return result


def _pairs(borders: list[int]) -> tuple[list[int], list[int]]:
    return borders[:-1], borders[1:]


@single_blas_thread()
def receive(bits: np.ndarray, dimensions: int, state_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from its bits ((R,) of 0 and 1).  §6.3.7

    R = 0 gives the shared normals themselves.
    """
    if len(bits) == 0:
        return torch.from_numpy(noise.normals(seed, step, noise.STREAM_NORMALS, dimensions).astype(np.float32) / noise.NORMAL_ONE)
    branch, place = places(dimensions, len(bits))
    common = states(bits, state_bits)[branch] & codes(int(place.max()) + 1, state_bits)[place]
    word = np.where(np.bitwise_count(common) & 1, -1, 1) * signs(seed, step, BASE, dimensions)
    return torch.from_numpy(gather(mix_rows(word) * signs(seed, step, MIDDLE, dimensions), seed, step) / MIX)


def capacity(bits: int, state_bits: int, dimensions: int | None = None) -> float:
    """KL [bit] of the mean shift that a step of `bits` bits delivers on average, where the shift asks for more.

    dimensions  D; None: so many that they do not matter
    Every walk delivers EFFICIENCY of its bits, less what it loses until its states have spread to all 2^L.
    """
    if bits == 0:
        return 0.0
    efficiency = EFFICIENCY[state_bits]
    start = START[0] + START[1] * (state_bits - STATES[0])
    slow = start / (efficiency - ONE_BIT) - 1               # so that one bit is worth ONE_BIT
    kl = sum(efficiency * walk - start * walk / (walk + slow) for walk in np.diff(walk_borders(bits)).tolist())
    return kl if dimensions is None else kl * dimensions / (dimensions + CROWDING * bits)


@single_blas_thread()
def send(shift: Tensor, bits: int, state_bits: int, seed: int, step: int) -> np.ndarray:
    """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32, units of the standard deviation).  §6.3.8

    The walk maximises its projection on the shift (Viterbi). Where the bits could deliver more than |shift|^2 asks
    for, the target is the shift plus private noise: the projection then meets |shift| on average and does not
    overshoot it, and the surplus goes into looking like noise.
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    target = integers.target(shift, capacity(bits, state_bits, shift.numel()), private_seed(seed, step))
    branches, code = _products(target, bits, state_bits, seed, step)
    walks = list(zip(*_pairs(walk_borders(bits))))
    longest = max(last - first for first, last in walks)
    threads = torch.get_num_threads()
    most = max(1, min(METRICS >> state_bits, SURVIVOR_BYTES // (threads * longest << (state_bits - 1))))
    borders = split(len(walks), min(len(walks), max(threads, -(-len(walks) // most))))
    groups = [walks[first:last] for first, last in zip(*_pairs(borders))]
    with ThreadPoolExecutor(threads) as pool:       # NumPy lets go of the interpreter's lock
        found = pool.map(lambda group: _viterbi(branches, group, code, state_bits), groups)
        return np.concatenate([path for paths in found for path in paths])


def private_seed(seed: int, step: int) -> int:
    """Of the noise that only the sender knows."""
    return seed << 20 ^ step


def _products(target: Tensor, bits: int, state_bits: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Products (R, n + 1) of target and base signs by branch and place, integers in float32, with zeros in the last column and
    wherever a branch has fewer places, and the places' codes (n,)."""
    dimensions = len(target)
    branch, place = places(dimensions, bits)
    width = int(place.max()) + 1
    branches = np.zeros((bits, width + 1), np.float32)
    columns, _ = integers.narrowed(torch.from_numpy(deal(target.numpy().astype(np.float32), seed, step)))
    borders = walk_borders(bits)
    scale = integers.product_scale(columns, max(np.diff(borders).tolist()), len(borders) - 1)
    mixed = mix_rows(columns.numpy().astype(np.float32) * signs(seed, step, MIDDLE, dimensions))
    branches[branch, place] = np.rint(mixed * signs(seed, step, BASE, dimensions) * np.float32(scale))
    return branches, codes(width, state_bits)


def _rotated(x: np.ndarray, bits: int, by: int) -> np.ndarray:
    """Numbers of `bits` bits with their lowest `by` bits moved to the top."""
    return x >> by | (x & (1 << by) - 1) << (bits - by)


class _Scores:
    """Inner products of many branches with the vectors of all 2^L states: a Walsh-Hadamard transform whose input has n entries.

    The transform over the low bits of the state is a product with the n sign rows that occur, one group of places a
    high part of the code; the one over the high bits is dense. Both are small matrix products, fastest on a CPU.
    Where n is so large that the sign rows would fill the memory, places of one code are added up and everything is dense.
    """

    def __init__(self, code: np.ndarray, state_bits: int):
        """code: (n,)"""
        # The two products cost n / 2^high and 2^high operations a score, and the first, of thin matrices, runs slower.
        high = min(state_bits - 2, round(math.log2(len(code)) / 2) + 1)
        low = state_bits - high
        self.sparse = len(code) << low <= SIGNS
        if not self.sparse:
            self.order = np.argsort(code, kind="stable")
            self.cells, self.starts = np.unique(code[self.order], return_index=True)
            return
        group, sign_code = code >> low, code & (1 << low) - 1
        self.hadamard = _hadamard(high)
        self.places = np.full((1 << high, np.bincount(group).max()), len(code))      # of nothing: the column of zeros
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
    """Walsh-Hadamard transform of the rows of (B, 2^L), natural order, in place: a dense factor for each six bits of the index."""
    bits = x.shape[1].bit_length() - 1
    for low in range(0, bits, 6):
        factor = _hadamard(min(6, bits - low))
        cube = x.reshape(-1, len(factor), 1 << low)
        cube[:] = factor @ cube if low else (cube[..., 0] @ factor)[..., None]


def _hadamard(bits: int) -> np.ndarray:
    """(2^bits, 2^bits) float32 of -1 and 1, natural order."""
    index = np.arange(1 << bits)
    return (1.0 - 2.0 * (np.bitwise_count(index[:, None] & index[None, :]) & 1)).astype(np.float32)


def _viterbi(branches: np.ndarray, walks: list[tuple[int, int]], code: np.ndarray, state_bits: int) -> list[np.ndarray]:
    """Best path ((last - first,) uint8) of every walk; branches (R, n + 1) and code (n,) as `_products` gives them.

    Ties go to the predecessor with the oldest bit 0, and to the lowest final state.  §6.3.8
    """
    walk_count = len(walks)
    length = max(last - first for first, last in walks)
    half = 1 << (state_bits - 1)
    # A walk that is a branch shorter starts a branch later, so that all walks end together.
    start = np.array([last - length for _, last in walks])
    late = start < [first for first, _ in walks]
    # Metrics lie in an order in which a step works in place on long runs of memory: each new bit takes the place of the
    # bit that it pushes out, so after i steps the index is the state rotated by i. After `turns` steps a transposition restores it.
    turns = state_bits // 2
    scorers = [_Scores(_rotated(code, state_bits, i + 1), state_bits) for i in range(min(turns, length))]
    rounds = max(1, min(-(-length // turns), SCORES // (walk_count * turns << state_bits)))     # whose scores are made together
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
        if t == 0:                              # walks differ by one branch at most
            begin(late)
        if turn == turns - 1 or t == length - 1:
            np.copyto(spare.reshape(walk_count, -1, 2 << turn), metric.reshape(walk_count, 2 << turn, -1).transpose(0, 2, 1))
            metric, spare = spare, metric
    state = metric.argmax(axis=1)
    paths = np.empty((length, walk_count), np.uint8)
    every = np.arange(walk_count)
    for t in range(length - 1, -1, -1):
        paths[t] = state & 1
        state >>= 1
        state += survivors[t][every, _rotated(state, state_bits - 1, t % turns)] * half
    return [paths[length - (last - first) :, i] for i, (first, last) in enumerate(walks)]
