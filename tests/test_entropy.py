"""Entropy coding by integers (§5.6), read a second time from the specification with the whole payload as one number."""

from __future__ import annotations

import re

import pytest
from conftest import SPEC, clauses
from hypothesis import given, settings
from hypothesis import strategies as st

from sdf_format.coding.entropy import Bits, Exhausted, Numbers, Receiver, Sender
from sdf_format.errors import BadFile

clause = pytest.mark.clause
SQUARES = [n * n % 11 for n in range(50)]
ENDS = [(k + 1) * (k + 2) for k in range(11)]
BITS = [n * n // 3 % 2 for n in range(100)]
CUBES = [n**3 % 41 - 20 for n in range(50)]


def vector(number: str) -> bytes:
    """The bytes that a clause says."""
    text = " ".join(clauses(SPEC.read_text())[number].split())
    return bytes.fromhex(re.search(r"shall give `([0-9a-f ]+)`", text)[1])


class Plain:
    """§5.6, exactly: where the payload, as a fraction, lies in intervals that are never rescaled."""

    def __init__(self, payload: bytes):
        self.point, self.places = int.from_bytes(payload, "big"), 8 * len(payload)
        self.low, self.size, self.shift = 0, 1 << 40, 40  # the interval is [low, low + size) / 2^shift
        self.probability: dict[object, list[int]] = {}

    def symbol(self, intervals: list[tuple[int, int]], total: int) -> int:
        part = self.size // total
        if self.shift >= self.places:
            code = (self.point << self.shift - self.places) - self.low
        else:
            code = (self.point >> self.places - self.shift) - self.low
        found = next(k for k, (start, size) in enumerate(intervals) if start <= code // part < start + size)
        start, size = intervals[found]
        self.low, self.size = self.low + part * start, part * size
        while self.size < 1 << 32:
            self.low, self.size, self.shift = self.low << 8, self.size << 8, self.shift + 8
        return found

    def bit(self, *contexts: object) -> int:
        states = [self.probability.setdefault(c, [32768, 3]) for c in contexts]
        q = (states[0][0] + states[1][0]) // 2
        bit = 1 - self.symbol([(0, q), (q, 65536 - q)], 65536)
        for state in states:
            p, s = state
            state[:] = p + 2 * ((65472 if bit else 64) - p) // s, min(s + 2, 255)
        return bit

    def number(self, a: int, b: int) -> int:
        n = 1
        while not self.bit((a, n - 1), (b, n - 1)):
            n += 1
        w = 1
        for _ in range(n - 1):
            if n <= 6:
                place = 32 + 2 ** (n - 1) + w
                w = 2 * w + self.bit((a, place), (b, place))
            else:
                w = 2 * w + 1 - self.symbol([(0, 32768), (32768, 32768)], 65536)
        return (w - 1) // 2 if w % 2 else -w // 2


@clause("5.6", "5.6.1")
def test_symbols_give_the_vector_and_are_read_a_second_time():
    sender = Sender()
    for value in SQUARES:
        sender.symbol(ENDS, value)
    payload = sender.finish()
    assert payload == vector("5.6.1")
    receiver, plain = Receiver(payload), Plain(payload)
    assert [receiver.symbol(ENDS) for _ in SQUARES] == SQUARES
    receiver.finish()
    assert [plain.symbol([(k * (k + 1), 2 * k + 2) for k in range(11)], 132) for _ in SQUARES] == SQUARES


@clause("5.6.2")
def test_bits_give_the_vector_and_are_read_a_second_time():
    def coded(coder, values):
        bits = Bits(5)
        return [bits.code(coder, n % 3, 3 + n % 2, value) for n, value in enumerate(values)]

    sender = Sender()
    coded(sender, BITS)
    payload = sender.finish()
    assert payload == vector("5.6.2")
    receiver, plain = Receiver(payload), Plain(payload)
    assert coded(receiver, [0] * 100) == BITS
    receiver.finish()
    assert [plain.bit(n % 3, 3 + n % 2) for n in range(100)] == BITS


@clause("5.6.3")
def test_numbers_give_the_vector_and_are_read_a_second_time():
    def coded(coder, values):
        numbers = Numbers(4)
        return [numbers.code(coder, n % 3, 3, value) for n, value in enumerate(values)]

    sender = Sender()
    coded(sender, CUBES)
    payload = sender.finish()
    assert payload == vector("5.6.3")
    receiver, plain = Receiver(payload), Plain(payload)
    assert coded(receiver, [0] * 50) == CUBES
    receiver.finish()
    assert [plain.number(n % 3, 3) for n in range(50)] == CUBES


SYMBOL = st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(0, len(sizes) - 1))
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(SYMBOL, st.booleans(), st.integers(-(1 << 31) + 1, (1 << 31) - 1)), max_size=60))
def test_whatever_is_sent_arrives(things):
    def coded(coder, values):
        bits, numbers, found = Bits(2), Numbers(2), []
        for n, (thing, value) in enumerate(zip(things, values)):
            if isinstance(thing, tuple):
                ends = [sum(thing[0][: k + 1]) for k in range(len(thing[0]))]
                found.append(coder.symbol(ends, value))
            elif isinstance(thing, bool):
                found.append(bits.code(coder, n % 2, 0, value))
            else:
                found.append(numbers.code(coder, n % 2, 1, value))
        return found

    sent = [thing[1] if isinstance(thing, tuple) else thing for thing in things]
    sender = Sender()
    coded(sender, sent)
    payload = sender.finish()
    receiver = Receiver(payload)
    assert coded(receiver, [0] * len(sent)) == sent
    receiver.finish()


@clause("5.6.1")
def test_a_carry_runs_through_bytes_of_ff():
    sender = Sender()
    sender.symbol([1, 2**27], 1)  # low is a bit above 0
    for _ in range(8):
        sender.symbol([2**16 - 1, 2**16], 1)  # as near to the interval's end as can be
    sender.symbol([1, 2], 1)
    receiver = Receiver(sender.finish())
    assert [receiver.symbol(ends) for ends in [[1, 2**27], *[[2**16 - 1, 2**16]] * 8, [1, 2]]] == [1] * 10
    receiver.finish()


@clause("5.6.2")
def test_a_bit_that_is_always_the_same_costs_little():
    sender, bits = Sender(), Bits(1)
    for _ in range(8000):
        bits.code(sender, 0, 0, 1)
    assert len(sender.finish()) < 24  # log2(65536 / 65472) * 8000 / 8 = 1.4 bytes, and what learning takes


@clause("5.6.1")
def test_a_payload_ends_where_what_it_holds_does():
    sender = Sender()
    for value in SQUARES:
        sender.symbol(ENDS, value)
    payload = sender.finish()
    longer = Receiver(payload + b"\x00")
    assert [longer.symbol(ENDS) for _ in SQUARES] == SQUARES
    with pytest.raises(BadFile, match="1 bytes follow"):
        longer.finish()
    shorter = Receiver(payload[:-6])
    with pytest.raises(BadFile, match="ends before|is none"):
        for _ in SQUARES:
            shorter.symbol(ENDS)
        shorter.finish()


@clause("5.6.1")
def test_an_incomplete_payload_gives_what_its_bytes_decide():
    sender = Sender()
    for value in SQUARES:
        sender.symbol(ENDS, value)
    receiver, found = Receiver(sender.finish()[:-3], complete=False), []
    with pytest.raises(Exhausted):
        while True:
            found.append(receiver.symbol(ENDS))
    assert 30 < len(found) < 50 and found == SQUARES[: len(found)]


@clause("5.6.1")
@pytest.mark.parametrize("read", [lambda r: r.symbol([1, 3]), lambda r: r.bit(40000)])
def test_a_code_beyond_all_intervals_is_bad(read):
    receiver = Receiver(b"\xff" * 12)  # floor(range / total) * total falls short of the range, sooner or later
    with pytest.raises(BadFile, match="is none"):
        for _ in range(60):
            read(receiver)


@clause("5.6.3")
def test_a_number_of_more_than_32_bits_is_bad():
    sender, bits = Sender(), Bits(40)
    for place in range(40):
        bits.code(sender, place, place, 0)
    with pytest.raises(BadFile, match="32 bits"):
        Numbers(1).code(Receiver(sender.finish()), 0, 0)
