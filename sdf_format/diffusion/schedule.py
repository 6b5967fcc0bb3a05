"""Noise levels and bits of every step (§4.2), from the header alone: integers in, integers for the bits out.

A level is a log-SNR in nat, log(signal variance / noise variance) per latent value of unit scale. A step ends at its
level and owns its bits of the payload. Levels may differ in the last bit between platforms; bits cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

from construct import Array, BitsInteger, BitStruct, Construct, Int8ub, Octet, Struct, Switch, VarInt, ZigZag, this

from sdf_format.errors import BadFile, Unsupported
from sdf_format.tables import limits, table

LAW, REGISTERED, INLINE = range(3)  # table 4.2, forms
LEVEL_LIMIT = float(limits()["level"])  # nat, either side: §4.2
LAW_LEVEL, LAW_SLOPE, LAW_BEND = 32, 16, 32  # units of 1/n nat, §4.2.1
LAW_RANGES = {"steps": (1, 255), "end": (-512, 511), "slope": (0, 127), "bend": (-64, 63)}  # §4.2.1
REGISTERED_LEVEL, REGISTERED_BITS = 1024, 1024  # units of 1/n nat and 1/n bit per cell, §4.2.2
REGISTERED_GAIN = 64  # unit 1/n, §4.2.2
INLINE_LEVEL = 64  # unit 1/n nat, §4.2.3

# §4.2.1 The law: level(k) = end + slope * u + bend * u^2 with u = ln(k / steps); bits up to step k in proportion to k^2
Law = BitStruct(
    "steps" / Octet,
    "end" / BitsInteger(10, signed=True),  # 1/32 nat
    "slope" / BitsInteger(7),  # 1/16
    "bend" / BitsInteger(7, signed=True),  # 1/32
)

# §4.2.2 A registered table, its bits scaled by the number of cells and by one gain
Registered = Struct(
    "table" / VarInt,  # table 4.3
    "gain" / VarInt,  # 1/64
)

# §4.2.3 Everything in the file
Inline = Struct(
    "steps" / Int8ub,
    "first" / ZigZag,  # 1/64 nat
    "rises" / Array(lambda c: max(0, c.steps - 1), VarInt),  # 1/64 nat
    "bits" / Array(this.steps, VarInt),
)

FORMS: dict[int, Construct] = {LAW: Law, REGISTERED: Registered, INLINE: Inline}


def by_form(form: object) -> Construct:
    """The struct that the form selects, for use inside another struct."""
    return Switch(form, FORMS)


@dataclass(frozen=True)
class Schedule:
    """levels: log-SNR [nat] at the end of each step, increasing; bits: of each step."""

    levels: tuple[float, ...]
    bits: tuple[int, ...]


@lru_cache(maxsize=1)
def registry() -> dict[int, dict[str, Any]]:
    """Table 4.3: id to name, levels [1/1024 nat] and bits [1/1024 bit a cell]."""
    return {int(k): v for k, v in table("schedules").items()}


def law_levels(steps: int, end: int, slope: int, bend: int) -> tuple[float, ...]:
    """§4.2.1, from the integers of the header to nat."""
    logs = [math.log(k / steps) for k in range(1, steps + 1)]
    return tuple(end / LAW_LEVEL + slope / LAW_SLOPE * u + bend / LAW_BEND * u * u for u in logs)


def inline_levels(steps: int, first: int, rises: Sequence[int], bits: Sequence[int]) -> tuple[float, ...]:
    """§4.2.3, from the integers of the header to nat."""
    return tuple(level / INLINE_LEVEL for level in accumulate([first, *rises]))


def law_bits(steps: int, total: int) -> tuple[int, ...]:
    """§4.2.1: floor(total k^2 / steps^2) - floor(total (k - 1)^2 / steps^2)."""
    marks = [total * k * k // (steps * steps) for k in range(steps + 1)]
    return tuple(b - a for a, b in pairwise(marks))


def check_fields(form: int, fields: dict[str, Any]) -> None:
    """§4.2: what the header alone tells of a schedule; BadFile, or Unsupported for a table that is not registered."""
    if form == REGISTERED:
        if fields["table"] not in registry():
            raise Unsupported(
                f"table 4.3: schedule {fields['table']} is unknown here (this decoder knows {sorted(registry())})"
            )
        return
    if not fields["steps"]:
        raise BadFile(f"§4.2.{1 if form == LAW else 3} steps: 0 is outside 1..255")
    levels = law_levels(**{k: fields[k] for k in LAW_RANGES}) if form == LAW else inline_levels(**fields)
    if any(b <= a for a, b in pairwise(levels)):
        raise BadFile("§4.2 levels: they must rise from step to step")
    check_range(levels)


def check_range(levels: Sequence[float]) -> None:
    """§4.2: levels [nat] lie within LEVEL_LIMIT; BadFile."""
    if any(abs(level) > LEVEL_LIMIT for level in levels):
        raise BadFile(f"§4.2 levels: {min(levels):.2f} to {max(levels):.2f} nat leave -{LEVEL_LIMIT}..{LEVEL_LIMIT}")


def expand(form: int, fields: dict[str, Any], payload_bits: int, cells: int) -> Schedule:
    """Levels and bits of a file's steps.  payload_bits: 8 times the length of chunk D; cells: latent positions.

    Raises BadFile where the fields break a rule (`check_fields`), or they and the payload do not fit each other (§4.2).
    """
    check_fields(form, fields)
    if form == LAW:
        return Schedule(law_levels(**{k: fields[k] for k in LAW_RANGES}), law_bits(fields["steps"], payload_bits))
    if form == REGISTERED:
        taken = take(registry()[fields["table"]], fields["gain"], payload_bits, cells)
        if not taken.bits:
            raise BadFile("§4.2.2 a schedule of no steps: the payload is empty, so no step of the table is taken")
        check_range(taken.levels)
        return taken
    return _inline(fields, payload_bits)


def check_dimensions(plan: Schedule, dimensions: int) -> None:
    """§6.3: every bit of a step has a latent value, and these have 32-bit numbers."""
    if dimensions >= 1 << 32:
        raise Unsupported(f"§6.3 {dimensions} latent values are more than 2^32 - 1")
    if plan.bits and max(plan.bits) > dimensions:
        raise BadFile(f"§6.3.1 a step of {max(plan.bits)} bits for {dimensions} latent values; at most one bit a value")


def check_padding(plan: Schedule, payload: bytes) -> None:
    """§6.2, of a whole payload: the bits behind the last step, fewer than eight, are zero."""
    spare = 8 * len(payload) - sum(plan.bits)
    if spare and payload[-1] & ((1 << spare) - 1):
        raise BadFile("§6.2 the bits after the last step are not zero")


def granted_bits(entry: dict[str, Any], gain: int, cells: int) -> list[int]:
    """§4.2.2: what each step of a table is granted, before the payload's end is looked at."""
    return [b * cells * gain // (REGISTERED_BITS * REGISTERED_GAIN) for b in entry["bits"]]


def take(entry: dict[str, Any], gain: int, payload_bits: int, cells: int) -> Schedule:
    """§4.2.2: a table's steps are taken until the payload is used up; the last one gets what is left, and ends where
    that takes it.
    """
    bits, left = [], payload_bits
    granted = granted_bits(entry, gain, cells)
    for grant in granted:
        if left <= 0:
            break
        bits.append(min(grant, left))
        left -= bits[-1]
    if left >= 8:
        raise BadFile(f"§4.2.2 the payload has {left} bits more than schedule {entry['name']!r} grants")
    levels = [x / REGISTERED_LEVEL for x in entry["levels"][: len(bits)]]
    if bits and bits[-1] < granted[len(bits) - 1]:
        before = math.exp(levels[-2]) if len(levels) > 1 else 0.0
        levels[-1] = math.log(before + (math.exp(levels[-1]) - before) * (bits[-1] / granted[len(bits) - 1]))
    return Schedule(tuple(levels), tuple(bits))


def _inline(fields: dict[str, Any], payload_bits: int) -> Schedule:
    """§4.2.3: the bits fill the payload but for the padding of its last byte."""
    bits = tuple(fields["bits"])
    if not 0 <= payload_bits - sum(bits) < 8:
        raise BadFile(f"§4.2.3 the steps' bits add up to {sum(bits)}; the payload has {payload_bits}")
    return Schedule(inline_levels(**fields), bits)
