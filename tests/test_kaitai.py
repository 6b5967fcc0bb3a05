"""The second parser, made from spec/sdf.ksy, against ours."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from fuzz.targets import mended
from hypothesis import given
from hypothesis import strategies as st
from independent import COMPILED, REFUSALS, compiled, facts, parsed, same
from pictures import picture, saved
from test_inspection import EXAMPLE

from sdf_format.container import alpha, chunks, metadata, parameters
from sdf_format.container.header import Header
from sdf_format.diffusion import schedule
from sdf_format.errors import SdfError
from sdf_format.inspect import report

clause = pytest.mark.clause

FIELDS = [
    parameters.Diffc(
        schedule.LAW,
        dict(steps=9, end=-512, slope=127, bend=-64),
        seed=2**32 - 1,
        coder=(parameters.TRELLIS, 10),
        denoiser=(parameters.MEAN, 1),
    ),
    parameters.Diffc(
        schedule.LAW,
        dict(steps=255, end=511, slope=0, bend=63),
        denoiser=(parameters.ANCESTRAL, 31),
        extension=b"later",
    ),
    parameters.Diffc(
        schedule.REGISTERED, dict(table=300, gain=2**32 - 1), coder=(parameters.PFR, 0), denoiser=(parameters.FLOW, 8)
    ),
    parameters.Diffc(
        schedule.INLINE,
        dict(steps=3, first=-200, rises=[1, 128], bits=[0, 2**21, 7]),
        conditioning=parameters.Conditioning("a cat", 2.5, 0.125),
    ),
    parameters.Diffc(
        schedule.INLINE,
        dict(steps=0, first=5, rises=[], bits=[]),
        seed=128,
        denoiser=(parameters.BALANCED, 3),
        extension=b"",
    ),
]
ALPHA = alpha.encode(np.full((5, 300), 200, np.uint8))


def of(fields: parameters.Diffc, payload: bytes = b"payload", **change) -> bytes:
    header = dict(
        width=300,
        height=5,
        mode="RGBA",
        kind=parameters.DIFFC,
        model=1,
        weights=b"abcd",
        parameters=parameters.build(fields),
    )
    return chunks.build(Header(**header | change), payload, [(b"t", b"\0key\0value"), (b"q", b""), (b"A", ALPHA)])


def described(data: bytes) -> dict:
    return report.describe(io.BytesIO(data), len(data))


@clause("3.1", "3.2", "3.3", "4.2.1", "4.2.2", "4.2.3", "5.2")
@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize(
    "change", [{}, dict(model=0, weights=bytes(range(32)), channels=300, cell=64, mode="LA", height=65535)]
)
def test_two_parsers_agree_on_every_field(fields, change):
    data = of(fields, **change)
    assert not same(described(data), facts(data))


def test_they_agree_on_what_the_encoder_writes():
    for data in (
        EXAMPLE,
        saved(picture(40, 24), target_bytes=200, exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0", text={"a": "b" * 200}),
    ):
        assert not same(described(data), facts(data))


@clause("2", "3.2", "3.3", "5.2")
@given(
    st.sampled_from(FIELDS),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(-40, 0),
    st.binary(max_size=3),
)
def test_they_agree_on_damaged_files(fields, changes, cut, tail):
    """Whatever ours accepts, theirs accepts and reads alike; what theirs refuses, so does ours."""
    data = bytearray(of(fields))
    for place, value in changes:
        data[place % len(data)] = value
    data = mended(bytes(data[: len(data) + cut]) + tail)
    try:
        theirs = facts(data) if (file := parsed(data)).chunks[0].body.kind == parameters.DIFFC else None
    except REFUSALS:
        theirs = None
        file = None
    try:
        stream = io.BytesIO(data)
        found = chunks.scan(stream)
        chunks.verify(stream, found)
        parameters.parse(found.header)
        metadata.read(stream, found)
        if plane := found.find(b"A"):
            alpha.decode(chunks.read(stream, plane), found.header.height, found.header.width)
    except SdfError:
        return
    assert file is not None and theirs is not None and not same(described(data), theirs)


def test_the_compiled_parser_is_that_of_the_specification():
    package = os.environ.get("KAITAI_COMPILER")
    if not package:
        pytest.skip("KAITAI_COMPILER names no folder of npm's kaitai-struct-compiler")
    assert compiled(package) == COMPILED.read_text()
