"""Reverse channel coding by the Poisson functional representation (§6.4): DiffC's algorithm 4, after Theis & Yosri
2022.

A step's dimensions are mixed and dealt to chunks. Both sides know a list of 2^16 - 1 candidates for every chunk; the
sender gives the time t_n of a Poisson process to candidate n, and picks the one with the largest <z_n, m> - log t_n:
were the list endless, it would be an exact sample of N(m, I). What is sent is n.

Layout of a step of R bits: the numbers of its chunks, one after the other, each as its octave e = floor(log2 n) in four
bits and the e bits of n below the highest, highest first; bits that are left over are zeros, which nobody reads, and
bits that are missing count as zeros. So every string of R bits means something, and R comes from the header alone. It
is the entropy code of Zipf's law 1 / n, in which all octaves are equally likely.

Candidate n is one of a few base vectors of shared normals with one of the 2^S sign patterns of a linear code: all inner
products of a base vector are a Walsh-Hadamard transform, and the sender draws 2^S times fewer normals.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding import noise
from sdf_format.coding.rcc import codebook, integers, mixing, trellis
from sdf_format.coding.rcc.threads import single_blas_thread

CHUNK_BITS = range(8, 19)  # bits granted to a chunk, the coder's parameter
OCTAVES = 16  # numbers of candidates: 1 .. 2^OCTAVES - 1
OCTAVE_BITS = 4
CANDIDATES = (1 << OCTAVES) - 1
SIGN_BITS = 10  # S at most, §6.4.2
STREAM_ARRIVALS = 1 << 31  # the sender's own: no receiver needs it
STRIP = 1 << 22  # normals of candidates that the sender makes at a time

# What `capacity` is made of; `sdf bench rcc` measures it. Only the sender uses these.
EFFICIENCY = 0.70
CROWDING = 1.75


def chunk_borders(dimensions: int, bits: int, chunk_bits: int) -> list[int]:
    """First place of every chunk of a step, and the end: ceil(R / chunk_bits) nearly equal chunks, at most D.

    §6.4.1
    """
    return mixing.split(dimensions, min(dimensions, -(-bits // chunk_bits)))


def sign_bits(borders: list[int]) -> int:
    """S: 2^S is at most the places of a chunk, so that the patterns of one base vector are nearly orthogonal.

    §6.4.2
    """
    return min(SIGN_BITS, (borders[-1] // (len(borders) - 1)).bit_length() - 1)


def candidate_normals(seed: int, step: int, dimensions: int, base: np.ndarray, place: np.ndarray) -> np.ndarray:
    """int16 normals of base vectors at places, broadcast together: 8 ceil(D / 8) base + place of the stream of
    candidates.  §6.4.2

    A row of consecutive places costs one Philox block in eight.
    """
    base, place = (x.reshape(-1) for x in np.broadcast_arrays(base, place))
    block = base * -(-dimensions // noise.PER_BLOCK) + place // noise.PER_BLOCK
    fresh = np.concatenate([[True], block[1:] != block[:-1]])
    counter = np.empty((np.count_nonzero(fresh), 4), np.uint32)
    counter[:, 0] = block[fresh] & 0xFFFFFFFF
    counter[:, 1] = block[fresh] >> 32
    counter[:, 2] = step
    counter[:, 3] = noise.STREAM_CANDIDATES
    halves = noise.philox(counter, (seed, 0)).astype("<u4").view("<u2")
    return noise.normal_table()[halves[np.cumsum(fresh) - 1, place % noise.PER_BLOCK]]


def write_numbers(numbers: np.ndarray, bits: int) -> np.ndarray:
    """(R,) uint8: the candidates' numbers in their code, and zeros.  §6.4.3"""
    codewords = [f"{n.bit_length() - 1:04b}" + f"{n:b}"[1:] for n in numbers.tolist()]
    text = "".join(codewords).ljust(bits, "0")
    return np.frombuffer(text[:bits].encode(), np.uint8) - ord("0")


def read_numbers(bits: np.ndarray, count: int) -> np.ndarray:
    """(count,) int64 numbers of candidates from the bits of a step; missing bits are zeros.  §6.4.3"""
    padded = np.concatenate([bits, np.zeros(count * (OCTAVE_BITS + OCTAVES), np.uint8)]).tolist()
    result = np.empty(count, np.int64)
    at = 0
    for i in range(count):
        octave = padded[at] << 3 | padded[at + 1] << 2 | padded[at + 2] << 1 | padded[at + 3]
        at += OCTAVE_BITS
        number = 1
        for bit in padded[at : at + octave]:
            number = number << 1 | bit
        at += octave
        result[i] = number
    return result


@single_blas_thread()
def receive(bits: np.ndarray, dimensions: int, chunk_bits: int, seed: int, step: int) -> Tensor:
    """(D,) float32 displacement in units of the step's standard deviation, from its bits ((R,) of 0 and 1).  §6.4.4"""
    if len(bits) == 0:
        return trellis.receive(bits, dimensions, trellis.STATES[0], seed, step)
    borders = chunk_borders(dimensions, len(bits), chunk_bits)
    patterns = sign_bits(borders)
    sizes = np.diff(borders)
    index = np.repeat(read_numbers(bits, len(sizes)) - 1, sizes)
    place = np.arange(dimensions)
    within = place - np.repeat(borders[:-1], sizes)
    z = candidate_normals(seed, step, dimensions, index >> patterns, place)
    odd = np.bitwise_count(index & codebook.codes(int(sizes.max()), patterns)[within] & (1 << patterns) - 1) & 1
    # Integers below 2^24 throughout: MIX normals of at most 2^15 make 2^23, which float32 holds exactly.
    mixed = mixing.from_mixing_order(np.where(odd, -z, z).astype(np.float32), seed, step)
    return torch.from_numpy(mixed / (noise.NORMAL_ONE * math.isqrt(integers.MIX)))


@single_blas_thread()
def send(shift: Tensor, bits: int, chunk_bits: int, seed: int, step: int) -> np.ndarray:
    """(R,) uint8 bits of a sample around the wanted mean shift ((D,) float32, units of the standard deviation).  §6.4.5

    Where the numbers of a sample of N(shift, I) do not fit into R bits, it is one of N(factor * shift, I), with
    the largest factor that fits.
    """
    if bits == 0:
        return np.empty(0, np.uint8)
    borders = chunk_borders(shift.numel(), bits, chunk_bits)
    target, factor = integers.rounded(shift)
    columns, narrowing = integers.narrowed(
        torch.from_numpy(mixing.to_mixing_order(target.numpy().astype(np.float32), seed, step))
    )
    scale = integers.chunk_scale(columns, len(borders) - 1)
    values = columns.numpy().astype(np.float32)
    records = [
        _records(values[first:last], scale, first, len(values), sign_bits(borders), chunk, seed, step)
        for chunk, (first, last) in enumerate(pairwise(borders))
    ]
    return write_numbers(choose(records, score_unit(factor, narrowing, scale), bits), bits)


def score_unit(factor: float, narrowing: float, scale: float) -> float:
    """What 1 of an integer score is of <candidate, shift>, from the powers of two that made it an integer."""
    return 1 / (factor * narrowing * scale * noise.NORMAL_ONE * math.isqrt(integers.MIX))


def choose(records: list[tuple[np.ndarray, np.ndarray, np.ndarray]], unit: float, bits: int) -> np.ndarray:
    """Numbers of the chosen candidates of all chunks, from the records that `_records` finds; at most `bits` bits in
    their code.  §6.4.5
    """
    ends = np.cumsum([len(numbers) for numbers, _, _ in records])
    numbers, scores, times = (np.concatenate(column) for column in zip(*records))
    scores = scores * unit
    starts = np.concatenate([[0], ends[:-1]])

    def chosen(factor: float) -> np.ndarray:
        merit = factor * scores - times
        # A chunk's records in order of merit, best last; times differ, so merits do not tie but by rounding.
        order = np.lexsort((merit, np.repeat(np.arange(len(ends)), ends - starts)))
        return numbers[order[ends - 1]]

    def cost(some: np.ndarray) -> int:
        return int(np.sum(np.frexp(some)[1] - 1 + OCTAVE_BITS))

    best = chosen(1.0)
    if cost(best) > bits:
        best, low, high = numbers[starts], 0.0, 1.0  # the first candidates: all bits are zeros, whatever R is
        for _ in range(24):
            middle = (low + high) / 2
            some = chosen(middle)
            if cost(some) <= bits:
                best, low = some, middle
            else:
                high = middle
    return best


def _records(
    target: np.ndarray, scale: float, first: int, dimensions: int, patterns: int, chunk: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number, integer score, log of the Poisson process' time) of the candidates of a chunk that score
    better than all before them: no other can be chosen, whatever the factor of the shift.
    """
    code = codebook.codes(len(target), patterns)
    bases = np.arange(1 << (OCTAVES - patterns))
    scores = np.zeros((len(bases), 1 << patterns), np.float32)
    strip = STRIP // len(bases)
    for start in range(0, len(target), strip):
        part = slice(start, start + strip)
        order = start + np.argsort(code[part], kind="stable")
        cells, starts = np.unique(code[order], return_index=True)
        normals = candidate_normals(seed, step, dimensions, bases[:, None], first + np.arange(len(target))[part])
        products = normals.reshape(len(bases), -1)[:, order - start] * target[order]
        np.rint(products * np.float32(scale), out=products)
        scores[:, cells] += np.add.reduceat(products, starts, axis=1)
    codebook.walsh_hadamard(scores)
    flat = scores.reshape(-1)[:CANDIDATES]
    best = np.maximum.accumulate(flat)
    number = np.flatnonzero(np.concatenate([[True], flat[1:] > best[:-1]]))
    blocks = -(-CANDIDATES // 4)
    uniform = (noise.words(seed, step, STREAM_ARRIVALS, chunk * blocks, blocks).reshape(-1)[:CANDIDATES] + 0.5) / 2**32
    times = np.log(np.cumsum(-np.log(uniform)))
    return number + 1, flat[number].astype(float), times[number]


def capacity(bits: int, chunk_bits: int, dimensions: int | None = None) -> float:
    """KL [bit] that a step of `bits` bits is to ask for, so that nearly all of it is delivered: whole chunks deliver,
    tails do not.

    dimensions  D, in which a chunk needs at least some dozens; None: enough
    """
    chunks = bits // chunk_bits
    return (
        EFFICIENCY * chunks * chunk_bits * (1.0 if dimensions is None else dimensions / (dimensions + CROWDING * bits))
    )
