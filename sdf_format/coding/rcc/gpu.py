"""The coders on a GPU: twins of trellis and pfr, which find the same walks and make the same z, bit for bit.

The kernels are in cuda/; how they are called is decided here. Tensors stay on their device.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding import noise
from sdf_format.coding.rcc import integers, mixing, nvrtc, pfr, tree, trellis

LINES = 32  # as in cuda/tile.cuh
THREADS = 256  # as there
CHUNK_BITS = 12  # as in cuda/trellis.cu
WALK_THREADS = 1024  # as there
SHARED_METRICS = 14  # L up to which path metrics are in shared memory, as there; twice up to L = 12
RECORD_THREADS = 1024  # as in cuda/pfr.cu
MOST_RECORDS = 256  # of a chunk that are fetched
# that the scores of what is searched together may take; one walk at L = 18 takes as much
SCORE_BYTES = 1 << 30


class Kernels(Protocol):
    """Where kernels run: `nvrtc.Device`, or the emulation in the tests."""

    device: torch.device

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        values: Any,
        defines: Any = (),
        shared: int = 0,
    ) -> None:
        """Runs a kernel of a source file."""


class Mixing:
    """What both coders share on one device: the table of normals and the mixing by columns.  §6.3.5"""

    def __init__(self, kernels: Kernels):
        self.kernels = kernels
        self.table = torch.from_numpy(noise.normal_table().copy()).to(kernels.device)

    def _empty(self, *shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.kernels.device)

    def from_mixing_order(self, places: Tensor, unit: float, seed: int, step: int) -> Tensor:
        """z by dimension from integers by place, times a unit: twin of mixing.from_mixing_order."""
        dimensions = len(places)
        z = self._empty(dimensions, dtype=torch.float32)
        self.kernels.launch(
            "noise",
            "from_mixing_order",
            tiles(dimensions),
            THREADS,
            [z, places, unit, dimensions, seed, step, *mixing.order(seed, step, dimensions)],
        )
        return z

    def to_mixing_order(self, values: Tensor, seed: int, step: int) -> Tensor:
        """Integers by dimension to integers by place: twin of mixing.to_mixing_order."""
        places = torch.empty_like(values)
        dimensions = len(values)
        self.kernels.launch(
            "noise",
            "to_mixing_order",
            tiles(dimensions),
            THREADS,
            [places, values, dimensions, seed, step, *mixing.order(seed, step, dimensions)],
        )
        return places

    def normals(self, dimensions: int, seed: int, step: int) -> Tensor:
        """(D,) float32: z of a step without bits.  §6.3"""
        z = self._empty(dimensions, dtype=torch.float32)
        self.kernels.launch(
            "noise",
            "normals",
            (-(-dimensions // THREADS), 1),
            THREADS,
            [z, self.table, dimensions, seed, step, noise.STREAM_NORMALS],
        )
        return z

    def upload(self, numbers: np.ndarray) -> Tensor:
        """Small integers of the host, on the device."""
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.kernels.device)


class Trellis(Mixing):
    """§6.3 on one device; methods as the functions of the module `trellis`, but for where tensors are."""

    def receive(self, bits: np.ndarray, dimensions: int, state_bits: int, seed: int, step: int) -> Tensor:
        """(D,) float32 displacement on the device, from a step's bits ((R,) of 0 and 1).  §6.3.7"""
        if len(bits) == 0:
            return self.normals(dimensions, seed, step)
        count = len(bits)
        own, states = self.upload(bits.astype(np.uint8)), self._empty(count)
        self.kernels.launch(
            "noise", "walk_states", (-(-count // THREADS), 1), THREADS, [states, own, count, state_bits]
        )
        return self.expand_codewords(states, dimensions, state_bits, seed, step)

    def expand_codewords(self, codewords: Tensor, dimensions: int, word_bits: int, seed: int, step: int) -> Tensor:
        """(D,) float32 displacement from the word of every branch ((R,) int32, R > 0): twin of
        codebook.expand_codewords.
        """
        places = self._empty(dimensions)
        self.kernels.launch(
            "noise",
            "read_walks",
            tiles(dimensions),
            THREADS,
            [places, codewords, dimensions, len(codewords), word_bits, seed, step],
        )
        return self.from_mixing_order(places, 1.0 / integers.MIX, seed, step)

    def send(self, shift: Tensor, bits: int, state_bits: int, seed: int, step: int) -> np.ndarray:
        """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32 on the device).  §6.3.8"""
        if bits == 0:
            return np.empty(0, np.uint8)
        dimensions = shift.numel()
        target = integers.target(shift, trellis.capacity(bits, state_bits, dimensions), mixing.private_seed(seed, step))
        borders = trellis.walk_borders(bits)
        walks, longest = len(borders) - 1, max(np.diff(borders).tolist())
        columns, _ = integers.narrowed(self.to_mixing_order(target, seed, step))
        scale = integers.product_scale(columns, longest, walks)
        products = torch.empty_like(columns)
        self.kernels.launch(
            "trellis",
            "weigh",
            tiles(dimensions),
            THREADS,
            [products, columns, scale, dimensions, seed, step],
            (("STATE_BITS", state_bits),),
        )
        group = max(1, SCORE_BYTES // (longest << state_bits + 2))
        result = self._empty(bits, dtype=torch.uint8)
        for first in range(0, walks, group):
            self._search(result, products, borders, first, min(first + group, walks), state_bits)
        return result.cpu().numpy()

    def _search(
        self, result: Tensor, products: Tensor, borders: list[int], first: int, last: int, state_bits: int
    ) -> None:
        """Best paths of walks first .. last - 1 into their part of `result`."""
        defines = (("STATE_BITS", state_bits),)
        bits, dimensions, states = borders[-1], len(products), 1 << state_bits
        branches, half = borders[last] - borders[first], states // 2
        scores = self._empty(branches, states)
        self.kernels.launch(
            "trellis",
            "branch_scores",
            (branches, max(1, states >> CHUNK_BITS)),
            THREADS,
            [scores, products, borders[first], dimensions, bits],
            defines,
        )
        survivors = self._empty(branches, half // 32)
        in_shared = state_bits <= SHARED_METRICS
        metrics = self._empty(0 if in_shared else last - first, 2 * states)
        shared = (4 * states << (state_bits <= CHUNK_BITS)) if in_shared else 0
        self.kernels.launch(
            "trellis",
            "best_walks",
            (last - first, 1),
            min(half, WALK_THREADS),
            [result, survivors, metrics, scores, first, bits],
            defines,
            shared,
        )


class Tree(Trellis):
    """§6.5 on one device, but for its sender, whose few walks are the CPU's; methods as the functions of the module
    `tree`.
    """

    def receive(self, bits: np.ndarray, dimensions: int, word_bits: int, seed: int, step: int) -> Tensor:
        """(D,) float32 displacement on the device, from a step's bits ((R,) of 0 and 1).  §6.5.3"""
        if len(bits) == 0:
            return self.normals(dimensions, seed, step)
        return self.expand_codewords(
            self.upload(tree.codewords(bits, word_bits).astype(np.int32)), dimensions, word_bits, seed, step
        )

    def send(self, shift: Tensor, bits: int, word_bits: int, seed: int, step: int) -> np.ndarray:
        """(R,) uint8 bits whose displacement meets the wanted mean shift ((D,) float32 on the device).  §6.5.4"""
        return tree.send(shift.cpu(), bits, word_bits, seed, step)


class Pfr(Mixing):
    """§6.4 on one device; methods as the functions of the module `pfr`, but for where tensors are.

    A sample's times are logarithms, which devices round differently: choices agree but where two are within 1e-12 of
    each other.
    """

    def receive(self, bits: np.ndarray, dimensions: int, chunk_bits: int, seed: int, step: int) -> Tensor:
        """(D,) float32 displacement on the device, from a step's bits ((R,) of 0 and 1).  §6.4.4"""
        if len(bits) == 0:
            return self.normals(dimensions, seed, step)
        borders = pfr.chunk_borders(dimensions, len(bits), chunk_bits)
        chunks = len(borders) - 1
        chosen = self.upload((pfr.read_numbers(bits, chunks) - 1).astype(np.int32))
        places = self._empty(dimensions)
        self.kernels.launch(
            "pfr",
            "read_candidates",
            (-(-dimensions // THREADS), 1),
            THREADS,
            [places, chosen, self.table, dimensions, chunks, pfr.sign_bits(borders), seed, step],
        )
        return self.from_mixing_order(places, 1.0 / (noise.NORMAL_ONE * math.isqrt(integers.MIX)), seed, step)

    def send(self, shift: Tensor, bits: int, chunk_bits: int, seed: int, step: int) -> np.ndarray:
        """(R,) uint8 bits of a sample around the wanted mean shift ((D,) float32 on the device).  §6.4.5"""
        if bits == 0:
            return np.empty(0, np.uint8)
        borders = pfr.chunk_borders(shift.numel(), bits, chunk_bits)
        chunks, patterns = len(borders) - 1, pfr.sign_bits(borders)
        target, factor = integers.rounded(shift)
        columns, narrowing = integers.narrowed(self.to_mixing_order(target, seed, step))
        scale = integers.chunk_scale(columns, chunks)
        records: list[Any] = []
        group = SCORE_BYTES // (4 << pfr.OCTAVES)
        for first in range(0, chunks, group):
            count = min(group, chunks - first)
            scores = self._empty(count, 1 << pfr.OCTAVES)
            self.kernels.launch(
                "pfr",
                "candidate_scores",
                (count, -(-pfr.CANDIDATES >> patterns)),
                THREADS,
                [scores, columns, self.table, scale, first, shift.numel(), chunks, patterns, seed, step],
            )
            numbers, found, values = (
                self._empty(count, MOST_RECORDS),
                self._empty(count),
                self._empty(count, MOST_RECORDS),
            )
            times = self._empty(count, MOST_RECORDS, dtype=torch.float64)
            self.kernels.launch(
                "pfr",
                "records",
                (count, 1),
                RECORD_THREADS,
                [numbers, values, times, found, scores, MOST_RECORDS, first, seed, step],
            )
            host = [x.cpu().numpy() for x in (numbers, values, times)]
            sizes = found.tolist()
            if max(sizes) > MOST_RECORDS:  # eleven are to be expected
                return pfr.send(shift.cpu(), bits, chunk_bits, seed, step)
            records += [tuple(x[i, :size] for x in host) for i, size in enumerate(sizes)]
        return pfr.write_numbers(pfr.choose(records, pfr.score_unit(factor, narrowing, scale), bits), bits)


TWINS = {trellis: Trellis, pfr: Pfr, tree: Tree}


@cache
def _at(coder: Any, device: torch.device) -> Any:
    try:
        return TWINS[coder](nvrtc.device(device))
    except nvrtc.NoKernels as error:
        warnings.warn(
            f"the coder runs on the CPU, slower and with the same result: {error}", RuntimeWarning, stacklevel=3
        )
        return None


def on_device(coder: Any, device: torch.device | None) -> tuple[Any, torch.device]:
    """The twin of a coder's module on a CUDA device, and the device; the module itself, and the CPU, where there is
    none.
    """
    if device is not None and device.type == "cuda" and (twin := _at(coder, device)) is not None:
        return twin, device
    return coder, torch.device("cpu")


def tiles(dimensions: int) -> tuple[int, int]:
    """Grid of a mixing kernel: blocks of LINES lines of MIX places, and one for the places that are not mixed."""
    return math.ceil(dimensions // integers.MIX / LINES) + 1, 1
