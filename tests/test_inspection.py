"""`sdf dump` and the errors' places."""

from __future__ import annotations

import io
import re

import pytest
from conftest import SPEC
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture, saved

from sdf_format.cli import main as cli
from sdf_format.container import chunks
from sdf_format.errors import SdfError
from sdf_format.inspect import dump

clause = pytest.mark.clause

ANNEX = re.search(r"## Annex A.*?```\n(.*?)```", SPEC.read_text(), re.S)[1]
EXAMPLE = bytes.fromhex("".join(line.split("#")[0] for line in ANNEX.splitlines()))
DATA = chunks.scan(io.BytesIO(EXAMPLE)).find(b"D").offset


@pytest.fixture(scope="module")
def rich() -> bytes:
    """A file with all kinds of chunks."""
    image = picture(40, 24).convert("RGBA")
    image.putalpha(200)
    return saved(
        image,
        target_bytes=300,
        exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0",
        xmp=b"<x/>",
        icc_profile=b"no profile",
        text={"a": "b" * 200},
    )


def rebuilt(data: bytes, shown: int = dump.SHOWN) -> bytes:
    return b"".join(row.data for row in dump.rows(io.BytesIO(data), shown))


@clause("3.1", "3.2", "3.3", "5.2", "6.2")
def test_the_worked_example_is_what_dump_says_of_its_bytes():
    assert dump.as_text(dump.rows(io.BytesIO(EXAMPLE)), offsets=False) + "\n" == ANNEX


@clause("3.4", "3.5")
def test_every_byte_is_explained_once_and_in_order(rich):
    rows = list(dump.rows(io.BytesIO(rich), len(rich)))
    assert rebuilt(rich, len(rich)) == rich
    assert [r.offset for r in rows[1:]] == [r.offset + r.size for r in rows[:-1]]
    notes = "\n".join(r.note for r in rows)
    for said in (
        "§3.4 method stored",
        "§3.4 method zstandard",
        "§3.5 filter",
        "EXIF",
        "ICC profile",
        "XMP",
        "text",
        "mode RGBA",
    ):
        assert said in notes
    assert "cannot" not in notes and "error" not in notes


def test_long_fields_are_cut_unless_all_is_asked_for(rich, tmp_path, capsys):
    path = tmp_path / "x.sdf"
    path.write_bytes(rich)
    cut = list(dump.rows(io.BytesIO(rich), 4))
    assert max(len(r.data) for r in cut) == 4 and sum(r.size for r in cut) == len(rich)
    assert "more bytes" in dump.as_text(iter(cut))
    assert cli.main(["dump", "--all", str(path), str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("§3.1 signature") == 2 and "more bytes" not in out


@given(
    st.lists(st.tuples(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 255)), max_size=3),
    st.integers(0, len(EXAMPLE)),
    st.binary(max_size=8),
)
def test_damaged_files_are_dumped_completely(changes, cut, tail):
    data = bytearray(EXAMPLE)
    for place, value in changes:
        data[place] = value
    data = bytes(data[:cut]) + tail
    assert rebuilt(data) == data
    if data != EXAMPLE:
        assert any(row.note.startswith("error: ") for row in dump.rows(io.BytesIO(data)))


@clause("3.2")
@pytest.mark.parametrize(
    ("change", "offset"),
    [
        (lambda d: b"x" + d[1:], 0),
        (lambda d: d[:9], 0),
        (lambda d: d[:8] + b"\2" + d[9:], 0),
        (lambda d: d[:12] + b"\0" + d[13:], 10),
        (lambda d: d[: DATA + 9] + b"\0" + d[DATA + 10 :], DATA),
        (lambda d: d[:50], DATA),
        (lambda d: d[:DATA], DATA),
        (lambda d: d + b"x", len(EXAMPLE)),
        (lambda d: d[:DATA] + b"Q\0" + d[DATA:], DATA),
    ],
)
def test_errors_have_the_offset_of_their_chunk(change, offset):
    data = change(EXAMPLE)
    with pytest.raises(SdfError) as caught:
        stream = io.BytesIO(data)
        chunks.verify(stream, chunks.scan(stream))
    assert caught.value.offset == offset
    assert f"offset {offset}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda d: d[:40] + b"\0" + d[41:], 1),
        (lambda d: d[:50], 5),
        (lambda d: d[:8] + b"\2" + d[9:], 3),
        (lambda d: b"", 1),
    ],
)
def test_the_exit_code_tells_the_class_of_an_error(change, status, tmp_path):
    path = tmp_path / "x.sdf"
    path.write_bytes(change(EXAMPLE))
    assert cli.main(["decode", str(path), str(tmp_path / "x.png")]) == status
