"""Integer entropy coding (§5.6): a range coder and adaptive probabilities of bits.  Standard library only.

Sender and receiver have the same methods, so a payload's model is written once: each method takes the value to send,
which the receiver does not look at, and returns the value that was sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdf_format.errors import BadFile

if TYPE_CHECKING:
    import numpy as np

WINDOW = 40  # bits of the register
LEAST = 1 << 32  # the range never falls below it
MOST_TOTAL = 1 << 28  # of frequencies
AHEAD = 4  # bytes that a receiver reads beyond the payload's end

ONE = 1 << 16  # of probabilities
MARGIN = 64  # how near they come to 0 and 1
SLOWEST = 255  # twice the number of bits that a probability remembers, about
TREE = 6  # bits of the longest numbers whose every bit is modelled


class Sender:
    """Collects a payload."""

    def __init__(self) -> None:
        self.low, self.range = 0, 1 << WINDOW
        self.out = bytearray()

    def _interval(self, start: int, size: int, total: int) -> None:
        part = self.range // total
        self.low += part * start
        self.range = part * size
        while self.range < LEAST:
            self._byte()
            self.range <<= 8

    def _byte(self) -> None:
        if self.low >> WINDOW:  # carry
            at = len(self.out) - 1
            while self.out[at] == 255:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1
        self.out.append(self.low >> WINDOW - 8 & 255)
        self.low = self.low << 8 & (1 << WINDOW) - 1

    def bit(self, one: int, value: int) -> int:
        """A bit.  one: probability of 1 out of ONE"""
        self._interval(*((0, one, ONE) if value else (one, ONE - one, ONE)))
        return value

    def symbol(self, ends: Sequence[int] | np.ndarray, value: int) -> int:
        """One of several symbols.

        ends: running sums of their frequencies, each at least 1, the last at most MOST_TOTAL
        """
        start = int(ends[value - 1]) if value else 0
        self._interval(start, int(ends[value]) - start, int(ends[-1]))
        return value

    def finish(self) -> bytes:
        """The payload."""
        self.low += LEAST - 1
        self._byte()
        return bytes(self.out)


class Exhausted(Exception):
    """A receiver of an incomplete payload has used it up."""


class Receiver:
    """Reads a payload.  complete: whether all of it is there; if not, Exhausted ends the reading"""

    def __init__(self, payload: bytes, complete: bool = True):
        self.payload, self.complete = payload, complete
        self.range, self.code, self.taken = 1 << WINDOW, 0, 0
        for _ in range(WINDOW // 8):
            self._byte()

    def _byte(self) -> None:
        there = self.taken < len(self.payload)
        if not there and not self.complete:
            raise Exhausted
        if self.taken >= len(self.payload) + AHEAD:
            raise BadFile(f"§5.6.1 the payload of {len(self.payload)} bytes ends before what it holds does")
        self.code = self.code << 8 | (self.payload[self.taken] if there else 0)
        self.taken += 1

    def _interval(self, start: int, size: int, part: int) -> None:
        self.code -= part * start
        self.range = part * size
        if self.code >= self.range:
            raise BadFile("§5.6.1 the payload says a symbol that is none")
        while self.range < LEAST:
            self._byte()
            self.range <<= 8

    def bit(self, one: int, value: int = 0) -> int:
        part = self.range // ONE
        value = int(self.code < part * one)
        self._interval(*((0, one, part) if value else (one, ONE - one, part)))
        return value

    def symbol(self, ends: Sequence[int] | np.ndarray, value: int = 0) -> int:
        part = self.range // int(ends[-1])
        value = min(bisect_right(ends, self.code // part), len(ends) - 1)
        start = int(ends[value - 1]) if value else 0
        self._interval(start, int(ends[value]) - start, part)
        return value

    def finish(self) -> None:
        """BadFile unless the payload ends where what it holds does."""
        if self.taken != len(self.payload) + AHEAD:
            raise BadFile(
                f"§5.6.1 {len(self.payload) + AHEAD - self.taken} bytes follow what the payload of {len(self.payload)} "
                "bytes holds"
            )


Coder = Sender | Receiver


class Bits:
    """Adaptive probabilities, one a context.  §5.6.2"""

    def __init__(self, contexts: int):
        self.one = [ONE // 2] * contexts
        self.slowness = [3] * contexts

    def code(self, coder: Coder, a: int, b: int, value: int = 0) -> int:
        """A bit by the mean of the probabilities of two contexts."""
        one, slowness = self.one, self.slowness
        value = coder.bit(one[a] + one[b] >> 1, value)
        target = ONE - MARGIN if value else MARGIN
        for context in (a, b):
            one[context] += 2 * (target - one[context]) // slowness[context]
            if slowness[context] < SLOWEST:
                slowness[context] += 2
        return value


class Numbers:
    """Whole numbers of either sign, near 0 as a rule, by contexts a and b as bits are.  §5.6.3"""

    WIDTH = 32 + (1 << TREE)

    def __init__(self, contexts: int):
        self.bits = Bits(contexts * self.WIDTH)

    def code(self, coder: Coder, a: int, b: int, value: int = 0) -> int:
        a, b = a * self.WIDTH, b * self.WIDTH
        wanted = (2 * value if value >= 0 else -2 * value - 1) + 1
        length = 1  # of the number in bits: 1, 01, 001 ...
        while not self.bits.code(coder, a + length - 1, b + length - 1, int(wanted.bit_length() == length)):
            length += 1
            if length > 32:
                raise BadFile("§5.6.3 a number of more than 32 bits")
        found = 1
        for place in range(length - 2, -1, -1):
            bit = wanted >> place & 1
            if length <= TREE:
                node = 32 + (1 << length - 1) + found
                bit = self.bits.code(coder, a + node, b + node, bit)
            else:
                bit = coder.bit(ONE // 2, bit)
            found = 2 * found + bit
        return (found - 1) // 2 if found % 2 else -(found // 2)
