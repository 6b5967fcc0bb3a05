"""Sound: its header, the autoencoders that it needs, whole files of any length and rate (§3.3, §4.5, §4.6)."""

from __future__ import annotations

import dataclasses
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_container import END, file, header_body, varint
from test_spec import SPEC, table

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format import codec, container, report
from sdf_format.container import Header
from sdf_format.errors import BadFile, BadInput, IsSound

clause = pytest.mark.clause
HEADER = Header(0, 0, "stereo", 2, 0, bytes(range(32)), b"\0\2", channels=64, cell=2048, length=329728, rate=44100)


def scanned(data: bytes) -> Header:
    return container.scan(io.BytesIO(data)).header


@clause("3.3")
def test_a_sounds_length_and_rate_take_four_bytes():
    body = container.build_header(HEADER)
    assert body[:5] == bytes.fromhex("80 90 14 00 25") and len(body) == 5 + 1 + 32 + 1 + 2 + 2
    assert scanned(container.build(HEADER, b"")) == HEADER


rates = st.sampled_from(container.RATES) | st.integers(1000, 1000000)


@clause("3.3")
@given(st.builds(Header, width=st.just(0), height=st.just(0), mode=st.sampled_from([*container.SOUNDS]), kind=st.integers(0, 15), model=st.just(0),
                 weights=st.binary(min_size=32, max_size=32), parameters=st.binary(max_size=40), channels=st.integers(1, 65535),
                 cell=st.integers(1, 65535), length=st.integers(1, 2**32 - 1), rate=rates))
def test_what_is_built_is_read_back(header):
    assert scanned(container.build(header, b"payload")) == header


def test_table_3_3_lists_the_rates_of_the_code():
    assert [(int(number), int(rate)) for number, rate in table(SPEC.read_text(), "3.3")] == list(enumerate(container.RATES))


@clause("3.3")
@pytest.mark.parametrize("width, height, rest, wrong", [
    (0, 0, b"", "length"), (1, 12, b"", "rate"), (1, 999, b"", "rate"), (1, 1000001, b"", "rate"), (1, 48000, b"", "has a number"),
    (1, 0, varint(64) + varint(65536), "latent"),
])
def test_a_header_that_breaks_a_rule_is_refused(width, height, rest, wrong):
    body = header_body(width=width, height=height, layout=b"\x04", model=0, rest=bytes(32) + (rest or b"\x40\x08"))
    with pytest.raises(BadFile, match=f"§3.3 {wrong}|{wrong}"):
        container.scan(io.BytesIO(file(END, body=body)))


@clause("3.3")
@pytest.mark.parametrize("change", [dict(length=0), dict(length=2**32), dict(rate=999), dict(rate=1000001), dict(mode="RGB"), dict(cell=65536)])
def test_a_header_that_cannot_be_read_is_not_written(change):
    with pytest.raises(BadInput):
        container.build(dataclasses.replace(HEADER, **change), b"")


@clause("3.2")
def test_a_sound_is_no_picture_and_says_how_to_hear_it():
    data = container.build(HEADER, b"payload")
    for read in (lambda: Image.open(io.BytesIO(data)), lambda: codec.decode_bytes(data)):
        with pytest.raises(IsSound, match=r"sound \(stereo, 44100 Hz, 7\.5 s\), not a picture; `sdf decode FILE.sdf FILE.wav`"):
            read()


def test_info_shows_what_sound_it_is():
    data = container.build(HEADER, b"payload")
    facts = report.describe(io.BytesIO(data), len(data))
    assert {k: facts[k] for k in ("samples", "sample_rate", "channels", "seconds", "mode")} == dict(
        samples=329728, sample_rate=44100, channels=2, seconds=7.477, mode="stereo")
    assert facts["bits_per_second"] == round(8 * len(data) * 44100 / 329728) and "width" not in facts
