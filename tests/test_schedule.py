"""Schedules (§4.2): bits that add up, levels that rise, and tables that do not fit their payload."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdf_format.container.canonical import parse
from sdf_format.diffusion import schedule
from sdf_format.diffusion.schedule import INLINE, LAW, REGISTERED, expand
from sdf_format.errors import BadFile, Unsupported

clause = pytest.mark.clause

LAW_FIELDS = dict(steps=40, end=64, slope=40, bend=-4)  # ends at 2 nat
CELLS = 96 * 64


# --- §4.2.1 the law


@clause("4.2.1")
@given(st.integers(1, 255), st.integers(0, 2**31 - 1))
def test_the_laws_bits_add_up_to_the_payload(steps, length):
    bits = schedule.law_bits(steps, 8 * length)
    assert len(bits) == steps and sum(bits) == 8 * length and min(bits) >= 0


@clause("4.2.1")
def test_every_small_payload_is_spent_exactly():
    for steps in (1, 2, 3, 7, 64, 255):
        for total in range(0, 4000, 8):
            plan = expand(LAW, dict(LAW_FIELDS, steps=steps), total, CELLS)
            assert sum(plan.bits) == total and len(plan.levels) == len(plan.bits) == steps


@clause("4.2.1")
def test_the_laws_bits_are_rounded_down_at_every_border():
    assert schedule.law_bits(3, 100) == (11, 33, 56)  # borders 0, 11.1, 44.4, 100
    assert schedule.law_bits(4, 8) == (0, 2, 2, 4)  # borders 0, 0.5, 2, 4.5, 8


@clause("4.2.1")
@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        (dict(steps=1, end=-3, slope=99, bend=60), [-3 / 32]),
        (dict(steps=2, end=32, slope=32, bend=0), [1 - 2 * math.log(2), 1]),
        (dict(steps=2, end=32, slope=32, bend=-32), [1 - 2 * math.log(2) - math.log(2) ** 2, 1]),
    ],
)
def test_the_laws_levels_end_at_their_end(fields, levels):
    assert expand(LAW, fields, 800, CELLS).levels == pytest.approx(levels, abs=1e-12)


@clause("4.2.1")
@given(*(st.integers(*schedule.LAW_RANGES[name]) for name in ("steps", "end", "slope", "bend")))
def test_a_law_is_four_bytes(steps, end, slope, bend):
    fields = dict(steps=steps, end=end, slope=slope, bend=bend)
    data = schedule.Law.build(fields)
    assert int.from_bytes(data, "big") == steps << 24 | (end & 1023) << 14 | slope << 7 | bend & 127 and len(data) == 4
    assert {k: v for k, v in schedule.Law.parse(data).items() if k in fields} == fields


@clause("4.2.1")
def test_a_law_has_a_step():
    with pytest.raises(BadFile, match="§4.2.1 steps"):
        expand(LAW, dict(LAW_FIELDS, steps=0), 800, CELLS)


# --- §4.2 what all forms keep to


@clause("4.2")
@pytest.mark.parametrize(
    ("form", "fields"),
    [
        (LAW, dict(LAW_FIELDS, slope=0, bend=0)),
        (LAW, dict(LAW_FIELDS, slope=0, bend=16)),
        (INLINE, dict(steps=2, first=0, rises=[0], bits=[400, 400])),
    ],
)
def test_levels_shall_rise(form, fields):
    with pytest.raises(BadFile, match="must rise"):
        expand(form, fields, 800, CELLS)


@clause("4.2")
@pytest.mark.parametrize(
    ("form", "fields", "good"),
    [
        (LAW, dict(steps=1, end=511, slope=0, bend=0), True),
        (LAW, dict(steps=255, end=-300, slope=127, bend=0), False),
        (LAW, dict(steps=1, end=-512, slope=0, bend=0), True),
        (LAW, dict(steps=2, end=-512, slope=1, bend=0), False),
        (INLINE, dict(steps=1, first=1024, rises=[], bits=[800]), True),
        (INLINE, dict(steps=1, first=1025, rises=[], bits=[800]), False),
        (INLINE, dict(steps=2, first=-1024, rises=[2048], bits=[400, 400]), True),
        (INLINE, dict(steps=2, first=-1024, rises=[2049], bits=[400, 400]), False),
        (INLINE, dict(steps=2, first=-1025, rises=[9], bits=[400, 400]), False),
    ],
)
def test_levels_stay_within_16_nat(form, fields, good):
    if good:
        assert sum(expand(form, fields, 800, CELLS).bits) == 800
    else:
        with pytest.raises(BadFile, match="leave -16"):
            expand(form, fields, 800, CELLS)


# --- §4.2.2 registered tables

REAL = schedule.registry()
MADE = {4711: dict(name="made for this test", levels=[-3000, -1024, 0, 1, 2048], bits=[3, 100, 0, 517, 2000])}


@pytest.fixture(params=[*REAL, *MADE])
def registered(request, monkeypatch) -> tuple[int, dict]:
    """Every entry of table 4.3, and one that is not in it."""
    tables = REAL | MADE
    monkeypatch.setattr(schedule, "registry", lambda: tables)
    return request.param, tables[request.param]


def granted(entry: dict, cells: int = CELLS, gain: int = 64) -> list[int]:
    """What the table gives each step: whole bits, rounded down once."""
    return [math.floor(b * cells * gain / 65536) for b in entry["bits"]]


@clause("4.2.2")
def test_a_registered_table_is_fit_to_use(registered):
    _, entry = registered
    assert len(entry["levels"]) == len(entry["bits"]) >= 1
    assert all(a < b for a, b in zip(entry["levels"], entry["levels"][1:]))
    assert max(map(abs, entry["levels"])) <= 16 * 1024
    assert min(entry["bits"]) >= 0 and all(isinstance(x, int) for x in [*entry["levels"], *entry["bits"]])


@clause("4.2.2")
@pytest.mark.parametrize("gain", [16, 64, 100])
def test_steps_are_taken_until_the_payload_is_used_up(registered, gain):
    number, entry = registered
    grants = granted(entry, gain=gain)
    for share in (0.02, 0.3, 0.77, 1):
        total = int(sum(grants) * share) // 8 * 8
        plan = expand(REGISTERED, dict(table=number, gain=gain), total, CELLS)
        assert sum(plan.bits) == total
        assert list(plan.bits[:-1]) == grants[: len(plan.bits) - 1] and 0 < plan.bits[-1] <= grants[len(plan.bits) - 1]
        *before, last = (x / 1024 for x in entry["levels"][: len(plan.bits)])
        assert list(plan.levels[:-1]) == before
        low = math.exp(before[-1]) if before else 0
        share = plan.bits[-1] / grants[len(plan.bits) - 1]
        assert math.exp(plan.levels[-1]) == pytest.approx(low + share * (math.exp(last) - low)) and (
            share < 1 or plan.levels[-1] == last
        )


@clause("4.2.2")
def test_an_empty_payload_takes_no_step_and_is_bad(registered):
    with pytest.raises(BadFile, match="no steps"):
        expand(REGISTERED, dict(table=registered[0], gain=64), 0, CELLS)


@clause("4.2.2")
def test_a_payload_longer_than_its_table_is_bad(registered):
    number, entry = registered
    most = -(-sum(granted(entry)) // 8) * 8  # the last byte may be padded
    assert sum(expand(REGISTERED, dict(table=number, gain=64), most, CELLS).bits) == sum(granted(entry))
    with pytest.raises(BadFile, match="more than schedule"):
        expand(REGISTERED, dict(table=number, gain=64), most + 8, CELLS)
    with pytest.raises(BadFile, match="more than schedule"):
        expand(REGISTERED, dict(table=number, gain=0), 8, CELLS)


@clause("4.2.2")
def test_an_unknown_table_is_unsupported():
    with pytest.raises(Unsupported, match="schedule 4000000000 is unknown"):
        expand(REGISTERED, dict(table=4_000_000_000, gain=64), 800, CELLS)


# --- §4.2.3 inline


@clause("4.2.3")
@pytest.mark.parametrize(
    ("bits", "good"),
    [
        ([300, 500], True),
        ([300, 493], True),
        ([300, 492], False),
        ([300, 501], False),
        ([0, 800], True),
        ([0, 0], False),
        ([2**32 - 1, 800], False),
    ],
)
def test_inline_bits_fill_the_payload_but_for_its_last_byte(bits, good):
    fields = dict(steps=2, first=-64, rises=[32], bits=bits)
    if good:
        assert expand(INLINE, fields, 800, CELLS) == schedule.Schedule((-1.0, -0.5), tuple(bits))
    else:
        with pytest.raises(BadFile, match="§4.2.3"):
            expand(INLINE, fields, 800, CELLS)


# --- the bytes of the three forms


@clause("4.2.1", "4.2.2", "4.2.3")
@pytest.mark.parametrize(
    ("form", "data", "fields"),
    [
        (LAW, "28 10 14 7c", LAW_FIELDS),  # 00101000 0001000000 0101000 1111100
        (REGISTERED, "01 c0 01", dict(table=1, gain=192)),
        (INLINE, "03 7f 20 81 01 64 00 ac 02", dict(steps=3, first=-64, rises=[32, 129], bits=[100, 0, 300])),
        (INLINE, "01 02 08", dict(steps=1, first=1, rises=[], bits=[8])),
        (INLINE, "00 02", dict(steps=0, first=1, rises=[], bits=[])),
    ],
)
def test_a_form_is_spelled_as_specified(form, data, fields):
    data = bytes.fromhex(data)
    read = parse(schedule.FORMS[form], data, "here")
    assert {k: list(v) if isinstance(v, list) else v for k, v in read.items() if k != "_io"} == fields
    for wrong in (data + b"\0", data[:-1]):
        with pytest.raises(BadFile):
            parse(schedule.FORMS[form], wrong, "here")


@clause("4.2")
@pytest.mark.parametrize("form", [LAW, REGISTERED, INLINE])
@given(data=st.binary(max_size=40), payload=st.integers(0, 10_000))
def test_any_bytes_are_a_schedule_or_refused(form, data, payload):
    try:
        plan = expand(form, parse(schedule.FORMS[form], data, "here"), 8 * payload, CELLS)
    except (BadFile, Unsupported):
        return
    assert 0 <= 8 * payload - sum(plan.bits) < 8 and len(plan.levels) == len(plan.bits)
