"""Reverse channel coding by a bit-shift trellis (§6.3).

A step sends R bits for a displacement of D dimensions. The D dimensions are mixed, so that no few of them carry all the energy,
and dealt out to R branches. The state of a walk is its last L bits; at branch k the state s names the vector G_k * sign(s), where G_k are shared normals and sign(s) is
the codeword of s in a fixed linear code. So every z is marginally a shared normal with a shared sign, all 2^L inner products
of a branch are one fast Walsh-Hadamard transform, and the receiver regenerates one walk in O(D).

Everything between the bits and z is integer arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sdf_format import noise

WALK_BITS = 1024                # §6.3.1, longest walk
STATES = range(8, 19)           # L, §6.3.2
MIX = 256                       # §6.3.3, order of the mixing transform
GOLDEN = 2654435769             # 2^32 over the golden ratio, §6.3.3 and §6.3.4
SCORES = 1 << 19                # inner products that the sender computes at a time
SURVIVOR_BYTES = 1 << 28        # memory that the sender may spend on survivors at a time

# Fraction of the ideal projection that a long walk reaches, by L; `sdf bench rcc` measures it. Only the sender uses it.
EFFICIENCY = {8: 0.80, 9: 0.82, 10: 0.84, 11: 0.86, 12: 0.88, 13: 0.90, 14: 0.91, 15: 0.92, 16: 0.93, 17: 0.935, 18: 0.94}


def split(total: int, parts: int) -> list[int]:
    """Borders of `parts` nearly equal runs of 0 .. total: floor(total * i / parts).  §6.3.1"""
    return [total * i // parts for i in range(parts + 1)]


def walk_borders(bits: int) -> list[int]:
    """First branch of every walk of a step, and the end: walks of at most WALK_BITS, nearly equal.  §6.3.1"""
    return split(bits, -(-bits // WALK_BITS))


def permutation(seed: int, step: int, dimensions: int) -> np.ndarray:
    """(D,) int64: the dimension at each place of the dealt order, (multiplier * place + offset) mod D.  §6.3.3

    A multiplier near D over the golden ratio spreads the places of a branch evenly over channels and picture.
    """
    multiplier = max(1, dimensions * GOLDEN >> 32)
    while math.gcd(multiplier, dimensions) != 1:
        multiplier += 1
    offset = int(noise.words(seed, step, noise.STREAM_PERMUTATION, 0, 1)[0, 0]) % dimensions
    # D has at most 32 bits (§6.3), so no product leaves 64.
    place = np.arange(dimensions, dtype=np.uint64)
    return ((place * np.uint64(multiplier) + np.uint64(offset)) % np.uint64(dimensions)).astype(np.int64)


def mixing_signs(seed: int, step: int, dimensions: int) -> np.ndarray:
    """(D,) int32 of -1 and 1: bit i mod 32 of word i // 32 of the permutation stream, after block 0; a set bit is -1.  §6.3.3"""
    blocks = noise.words(seed, step, noise.STREAM_PERMUTATION, 1, -(-dimensions // 128))
    bits = np.unpackbits(blocks.astype("<u4").view(np.uint8).reshape(-1), bitorder="little", count=dimensions)
    return 1 - 2 * bits.astype(np.int32)


def mix(x: np.ndarray) -> np.ndarray:
    """(D,) times the Hadamard matrix of order MIX, over places D // MIX apart; its own inverse up to the factor MIX.

    The last D mod MIX places are multiplied by sqrt(MIX) instead.  §6.3.3
    In NumPy, because an application's torch.autocast would round the receiver's integers.
    """
    columns = len(x) // MIX
    body, rest = x[: columns * MIX].reshape(MIX, columns), x[columns * MIX :]
    return np.concatenate([(_hadamard(MIX.bit_length() - 1) @ body).reshape(-1), rest * math.isqrt(MIX)])


def codes(count: int, state_bits: int) -> np.ndarray:
    """(count,) int64: the L-bit column of the sign code at each place within a branch.  §6.3.4"""
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


def receive(bits: np.ndarray, dimensions: int, state_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from its bits ((R,) of 0 and 1).  §6.3.5

    R = 0 gives the shared normals themselves.
    """
    z = noise.normals(seed, step, noise.STREAM_NORMALS, dimensions)
    if len(bits) == 0:
        return torch.from_numpy(z.astype(np.float32) / noise.NORMAL_ONE)
    branch, place = places(dimensions, len(bits))
    common = states(bits, state_bits)[branch] & codes(int(place.max()) + 1, state_bits)[place]
    odd = np.bitwise_count(common) & 1
    # Integers below 2^24 throughout: MIX normals of at most 2^15 make 2^23, which float32 holds exactly.
    mixed = mix(np.where(odd, -z, z).astype(np.float32))
    result = np.empty(dimensions, np.float32)
    result[permutation(seed, step, dimensions)] = mixed * mixing_signs(seed, step, dimensions).astype(np.float32)
    return torch.from_numpy(result / (noise.NORMAL_ONE * math.isqrt(MIX)))


def capacity(bits: int, state_bits: int) -> float:
    """KL [bit] that a step of `bits` bits delivers, about: efficiency times bits."""
    return EFFICIENCY[state_bits] * bits


def send(shift: Tensor, bits: int, state_bits: int, seed: int, step: int) -> np.ndarray:
    """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32, units of the standard deviation).

    The walk maximises its projection on the shift (Viterbi). Where the bits could deliver more than |shift|^2 asks
    for, the target is the shift plus private noise: the projection then meets |shift| on average and does not
    overshoot it, and the surplus goes into looking like noise.
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    dimensions = shift.numel()
    wanted = float(shift.double().square().sum())
    surplus = 2 * math.log(2) * capacity(bits, state_bits) - wanted
    if surplus > 0:
        private = torch.Generator().manual_seed((seed << 20) ^ step)     # the sender's own: no receiver needs it
        shift = shift + math.sqrt(surplus / dimensions) * torch.randn(shift.shape, generator=private)
    dealt = mix(shift.numpy()[permutation(seed, step, dimensions)] * mixing_signs(seed, step, dimensions).astype(np.float32))
    z = noise.normals(seed, step, noise.STREAM_NORMALS, dimensions).astype(np.float32)
    products = torch.from_numpy(dealt * z)
    borders = split(dimensions, bits)
    width = max(b - a for a, b in zip(*_pairs(borders)))
    code = torch.from_numpy(codes(width, state_bits))
    branches = torch.zeros(bits, width)
    branch, place = places(dimensions, bits)
    branches[torch.from_numpy(branch), torch.from_numpy(place)] = products
    result = np.empty(bits, np.uint8)
    walks = list(zip(*_pairs(walk_borders(bits))))
    group = max(1, SURVIVOR_BYTES // (WALK_BITS << (state_bits - 1)))
    for i in range(0, len(walks), group):
        some = walks[i : i + group]
        for (first, last), path in zip(some, _viterbi(branches, some, code, state_bits)):
            result[first:last] = path
    return result


def _scores(branches: Tensor, code: Tensor, state_bits: int) -> Tensor:
    """(B, 2^L) inner product of every state's vector with the target, from (B, n) products of target and normals."""
    spread = torch.zeros(len(branches), 1 << state_bits)
    spread.index_add_(1, code, branches)
    return walsh_hadamard(spread, state_bits)


def walsh_hadamard(x: Tensor, state_bits: int) -> Tensor:
    """Walsh-Hadamard transform of the rows of (B, 2^L), natural order: two dense factors are fastest on a CPU."""
    high = state_bits // 2
    low = state_bits - high
    cube = x.view(-1, 1 << high, 1 << low)
    return (torch.from_numpy(_hadamard(high)) @ (cube @ torch.from_numpy(_hadamard(low)))).reshape(x.shape)


def _hadamard(bits: int) -> np.ndarray:
    index = np.arange(1 << bits)
    return (1.0 - 2.0 * (np.bitwise_count(index[:, None] & index[None, :]) & 1)).astype(np.float32)


def _viterbi(branches: Tensor, walks: list[tuple[int, int]], code: Tensor, state_bits: int) -> Iterator[np.ndarray]:
    """Best path of every walk.  Ties go to the predecessor with the oldest bit 0, and to the lowest final state.  §6.3.6"""
    length = max(last - first for first, last in walks)
    half = 1 << (state_bits - 1)
    # A walk that is a branch shorter starts a branch later, so that all walks end together.
    start = torch.tensor([last - length for _, last in walks])
    lag = torch.tensor([length - (last - first) for first, last in walks])
    origin = torch.full((len(walks), 2 * half), -math.inf)
    origin[:, 0] = 0
    metric = origin.clone()
    survivors = torch.empty(length, len(walks), half, dtype=torch.bool)
    chunk = max(1, SCORES // (len(walks) << state_bits))
    for t in range(length):
        if t % chunk == 0:
            rows = (start[:, None] + torch.arange(t, min(t + chunk, length))).clamp(min=0)
            scores = _scores(branches[rows.flatten()], code, state_bits).view(len(walks), -1, half, 2)
        zero, one = metric[:, :half], metric[:, half:]
        torch.gt(one, zero, out=survivors[t])
        metric = (torch.maximum(zero, one).unsqueeze(2) + scores[:, t % chunk]).view(len(walks), -1)
        if t < 2:                                # walks differ by one branch at most
            metric = torch.where((t < lag)[:, None], origin, metric)
    state = metric.argmax(dim=1)
    paths = np.empty((length, len(walks)), np.uint8)
    every = torch.arange(len(walks))
    for t in range(length - 1, -1, -1):
        paths[t] = (state & 1).numpy()
        state = (state >> 1) + half * survivors[t][every, state >> 1]
    for i, (first, last) in enumerate(walks):
        yield paths[length - (last - first) :, i]
