"""The container (§3): whole files as byte literals, every way of breaking them, and the errors that come of it."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdf_format.container import chunks
from sdf_format.container.header import MODES, PICTURES, Header, build_header, parse_header
from sdf_format.errors import BadFile, BadInput, Truncated, Unsupported

clause = pytest.mark.clause

GOLDEN = bytes.fromhex(
    "".join(
        line.split("#")[0]
        for line in """
    89 53 44 46 0d 0a 1a 0a     # §3.1 signature
    01 00                       # §3.1 version 1.0
    48 0f                       # §3.2 chunk H of 15 bytes
    ac 02                       #   §3.3 width 300
    05                          #   §3.3 height 5
    01                          #   §3.3 kind 0, mode 1: RGB
    01                          #   §3.3 model 1
    aa bb cc dd                 #   §3.3 first bytes of the weights' hash
    70 61 72 61 6d 73           #   §3.3 parameters of the kind, "params"
    b0 d1 dc 42                 #   §3.2 CRC-32 over version, head and body
    74 05                       # §3.2 chunk t of 5 bytes
    68 65 6c 6c 6f              #   "hello"
    25 b4 eb 6e                 #   CRC-32
    44 03                       # §3.2 chunk D of 3 bytes
    c0 ff ee                    #   payload
    3c dd 02 37                 #   CRC-32
""".strip().splitlines()
    )
)
HEADER = Header(
    width=300, height=5, mode="RGB", kind=0, model=1, weights=bytes.fromhex("aabbccdd"), parameters=b"params"
)
VERSION = b"\x01\x00"


def varint(value: int) -> bytes:
    """LEB128, written apart from the code under test."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes(g | 0x80 for g in groups[:-1]) + bytes(groups[-1:])


def chunk(kind: bytes, body: bytes = b"", length: bytes | None = None, prefix: bytes = b"") -> bytes:
    head = kind + (varint(len(body)) if length is None else length)
    return head + body + zlib.crc32(prefix + head + body).to_bytes(4, "big")


def header_body(width=300, height=5, layout=b"\x01", model=1, rest=b"\xaa\xbb\xcc\xddparams") -> bytes:
    return varint(width) + varint(height) + layout + varint(model) + rest


def file(*others: bytes, body: bytes = header_body(), version: bytes = VERSION) -> bytes:
    return chunks.SIGNATURE + version + chunk(b"H", body, prefix=version) + b"".join(others)


def scan(data: bytes) -> chunks.File:
    return chunks.scan(io.BytesIO(data))


def check(data: bytes) -> chunks.File:
    """Scan and verify; whatever is wrong is raised."""
    stream = io.BytesIO(data)
    scanned = chunks.scan(stream)
    chunks.verify(stream, scanned)
    return scanned


END = chunk(b"D", b"\xc0\xff\xee")


# --- whole files


@clause("3.1", "3.2", "3.3")
def test_the_golden_file_reads_as_its_comments_say():
    scanned = check(GOLDEN)
    assert (scanned.major, scanned.minor, scanned.header, scanned.problem) == (1, 0, HEADER, None)
    assert [c.type for c in scanned.chunks] == [b"H", b"t", b"D"]
    stream = io.BytesIO(GOLDEN)
    assert chunks.read(stream, scanned.find(b"t")) == b"hello"
    assert chunks.read(stream, scanned.find(b"D")) == b"\xc0\xff\xee"


@clause("3.1", "3.2", "3.3")
def test_the_golden_file_is_written_to_the_byte():
    assert chunks.build(HEADER, b"\xc0\xff\xee", [(b"t", b"hello")]) == GOLDEN


@clause("3.2")
def test_a_file_may_begin_inside_a_stream():
    stream = io.BytesIO(b"12345" + GOLDEN)
    scanned = chunks.scan(stream, 5)
    chunks.verify(stream, scanned)
    assert scanned.header == HEADER and scanned.chunks[0].offset == 15


side = st.integers(1, 65535)
headers = st.builds(
    Header,
    width=side,
    height=side,
    mode=st.sampled_from(PICTURES),
    kind=st.integers(0, 15),
    model=st.integers(1, 2**32 - 1),
    weights=st.binary(min_size=4, max_size=4),
    parameters=st.binary(max_size=4000),
)
unregistered = st.builds(
    Header,
    width=side,
    height=side,
    mode=st.sampled_from(PICTURES),
    kind=st.integers(0, 15),
    model=st.just(0),
    weights=st.binary(min_size=32, max_size=32),
    parameters=st.binary(max_size=4000),
    channels=st.integers(1, 65535),
    cell=st.integers(1, 64),
)


@clause("3.2", "3.3")
@given(
    headers | unregistered,
    st.binary(),
    st.lists(st.tuples(st.sampled_from([b"t", b"q", b"z"]), st.binary()), max_size=5),
)
def test_what_is_built_is_read_back(header, payload, others):
    stream = io.BytesIO(chunks.build(header, payload, others))
    scanned = chunks.scan(stream)
    chunks.verify(stream, scanned)
    assert scanned.header == header
    assert [(c.type, chunks.read(stream, c)) for c in scanned.chunks[1:]] == [*others, (b"D", payload)]


@clause("3.3")
@given(st.binary(max_size=60))
def test_any_header_body_is_read_or_refused_and_read_only_in_one_spelling(body):
    try:
        header = parse_header(body)
    except (BadFile, Unsupported):
        return
    assert build_header(header) == body


@clause("3.1", "3.2")
@given(
    st.lists(st.tuples(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(GOLDEN)),
    st.binary(max_size=20),
)
def test_no_damage_ends_in_another_exception(changes, cut, tail):
    data = bytearray(GOLDEN)
    for place, value in changes:
        data[place] = value
    data = bytes(data[:cut]) + tail
    if data != GOLDEN:
        with pytest.raises((BadFile, Unsupported)):
            check(data)


# --- damage


@clause("3.2")
@pytest.mark.parametrize("cut", range(len(GOLDEN)))
def test_every_truncation_is_found(cut):
    with pytest.raises(Truncated if cut >= 8 else BadFile):
        check(GOLDEN[:cut])


@clause("3.2")
def test_a_file_cut_behind_its_header_still_tells_its_size():
    behind = GOLDEN.index(b"t\x05hello")
    for cut in range(behind, len(GOLDEN)):
        scanned = scan(GOLDEN[:cut])
        assert scanned.header == HEADER and isinstance(scanned.problem, Truncated)


@clause("3.2")
def test_what_is_there_of_a_cut_payload_can_be_read():
    data = GOLDEN[:-5]
    payload = scan(data).find(b"D")
    assert (payload.length, payload.available) == (3, 2)
    assert chunks.read_part(io.BytesIO(data), payload) == b"\xc0\xff"
    with pytest.raises(Truncated):
        chunks.read(io.BytesIO(data), payload)


@clause("3.1", "3.2")
@pytest.mark.parametrize("place", range(len(GOLDEN)))
def test_every_single_bit_flip_is_found(place):
    for bit in range(8):
        data = bytearray(GOLDEN)
        data[place] ^= 1 << bit
        with pytest.raises((BadFile, Unsupported)):
            check(bytes(data))


@clause("3.1")
@pytest.mark.parametrize(
    "damage", [lambda d: d.replace(b"\r\n", b"\n"), lambda d: d.replace(b"\n", b"\r\n"), lambda d: d[1:], lambda d: b""]
)
def test_line_ending_conversion_spoils_the_signature(damage):
    with pytest.raises(BadFile, match="not an SDF file"):
        scan(damage(GOLDEN))


@clause("3.2")
def test_damage_is_reported_with_chunk_and_offset():
    with pytest.raises(BadFile, match=r"chunk t at offset 31: its CRC is 25b4eb6e"):
        check(GOLDEN.replace(b"hello", b"hallo"))


# --- versions and unknown chunks


@clause("3.1")
@pytest.mark.parametrize("major", [0, 2, 255])
def test_another_major_version_is_unsupported(major):
    with pytest.raises(Unsupported, match=f"version {major}.0"):
        scan(file(END, version=bytes([major, 0])))


@clause("3.1")
@pytest.mark.parametrize("minor", [1, 255])
def test_a_newer_minor_version_is_read(minor):
    scanned = check(file(END, version=bytes([1, minor])))
    assert scanned.minor == minor and scanned.header == HEADER


@clause("3.2")
def test_an_unknown_ancillary_chunk_is_skipped_and_kept():
    data = file(chunk(b"q", b"later"), chunk(b"q", b"again"), END)
    scanned = check(data)
    assert [c.type for c in scanned.chunks] == [b"H", b"q", b"q", b"D"]
    assert scanned.chunks[1].ancillary and scanned.chunks[1].name == "unknown"
    assert chunks.read(io.BytesIO(data), scanned.chunks[1]) == b"later"


@clause("3.2")
def test_an_unknown_critical_chunk_is_unsupported():
    with pytest.raises(Unsupported, match="critical chunk Q"):
        scan(file(chunk(b"Q", b"later"), END))


# --- order and number


@clause("3.2")
def test_the_header_comes_first():
    with pytest.raises(BadFile, match="must be H"):
        scan(chunks.SIGNATURE + VERSION + chunk(b"t", b"x") + chunk(b"H", header_body(), prefix=VERSION) + END)


@clause("3.2")
@pytest.mark.parametrize("kind", [b"H", b"A", b"e", b"i", b"x"])
def test_a_chunk_that_may_stand_once_stands_once(kind):
    one = chunk(kind, header_body() if kind == b"H" else b"x", prefix=VERSION if kind == b"H" else b"")
    if kind != b"H":
        check(file(one, END))
    with pytest.raises(BadFile, match=f"second chunk {kind.decode()}"):
        check(file(one, one, END))


@clause("3.2")
def test_text_may_stand_several_times():
    assert len(check(file(chunk(b"t", b"a"), chunk(b"t", b"b"), END)).chunks) == 4


@clause("3.2")
@pytest.mark.parametrize("tail", [b"\0", b"\0" * 1000, chunk(b"t", b"x"), END, GOLDEN])
def test_nothing_follows_the_payload(tail):
    with pytest.raises(BadFile, match=f"{len(tail)} bytes follow the payload"):
        check(GOLDEN + tail)
    assert scan(GOLDEN + tail).header == HEADER


@clause("3.2")
def test_a_file_has_at_most_128_chunks():
    text = chunk(b"t", b"x")
    assert len(check(file(*[text] * 126, END)).chunks) == 128
    with pytest.raises(BadFile, match="more than 128"):
        check(file(*[text] * 127, END))


@clause("3.2")
def test_a_file_without_payload_is_truncated():
    with pytest.raises(Truncated):
        check(file())


# --- chunk heads


@clause("3.2")
@pytest.mark.parametrize("kind", [b"\0", b"0", b"[", b"@", b"{", b"\xc4", b"\xff"])
def test_a_type_is_a_letter(kind):
    with pytest.raises(BadFile, match="not an ASCII letter"):
        check(file(chunk(kind, b"x"), END))


@clause("3.2")
@pytest.mark.parametrize("length", [b"\x83\x00", b"\x83\x80\x00", b"\x83\x80\x80\x80\x00"])
def test_a_length_in_more_bytes_than_needed_is_refused(length):
    assert scan(file(chunk(b"D", b"\xc0\xff\xee", length=b"\x03"))).problem is None
    with pytest.raises(BadFile, match="canonical"):
        check(file(chunk(b"D", b"\xc0\xff\xee", length=length)))


@clause("3.2")
@pytest.mark.parametrize(
    ("length", "message"),
    [
        (varint(2**31), "over 2147483647"),
        (b"\xff\xff\xff\xff\x7f", "over 2147483647"),
        (b"\xff" * 5 + b"\x01", "five bytes"),
        (b"\x80" * 40 + b"\x01", "five bytes"),
    ],
)
def test_an_absurd_length_is_refused(length, message):
    with pytest.raises(BadFile, match=message):
        check(file(chunk(b"D", b"\xc0\xff\xee", length=length)))


@clause("3.2")
def test_the_longest_length_is_only_truncated():
    with pytest.raises(Truncated):
        check(file(chunk(b"D", b"\xc0\xff\xee", length=varint(2**31 - 1))))


@clause("3.2")
@pytest.mark.parametrize("kind", [b"t", b"q", b"A", b"D"])
def test_a_short_file_cannot_ask_for_memory(kind):
    data = file(chunk(kind, b"x" * 20, length=varint(2**31 - 1)))
    assert len(data) <= 100
    scan(data)
    tracemalloc.start()
    scanned = scan(data)
    with pytest.raises(Truncated):
        chunks.verify(io.BytesIO(data), scanned)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@clause("3.2")
def test_scanning_and_verifying_do_not_hold_a_long_chunk():
    class Endless(io.BytesIO):
        """64 MiB of zeros in chunk D, without the memory for them."""

        def __init__(self):
            front = file() + b"D" + varint(1 << 26)
            self.front, self.size, self.place = front, len(front) + (1 << 26) + 4, 0

        def seek(self, offset, whence=0):
            self.place = (0, self.place, self.size)[whence] + offset
            return self.place

        def tell(self):
            return self.place

        def read(self, size=-1):
            size = max(0, min(self.size - self.place, size if size >= 0 else self.size))
            start, self.place = self.place, self.place + size
            known = self.front[start : start + size]
            return known + bytes(size - len(known))

    stream = Endless()
    tracemalloc.start()
    scanned = chunks.scan(stream)
    with pytest.raises(BadFile, match="CRC"):
        chunks.verify(stream, scanned)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scanned.problem is None and scanned.find(b"D").length == 1 << 26
    assert peak < 4_000_000


# --- the header


@clause("3.3")
@pytest.mark.parametrize("field", ["width", "height"])
@pytest.mark.parametrize(("value", "good"), [(0, False), (1, True), (65535, True), (65536, False), (2**31, False)])
def test_a_side_is_1_to_65535_pixels(field, value, good):
    data = file(END, body=header_body(**{field: value}))
    if good:
        assert getattr(check(data).header, field) == value
    else:
        with pytest.raises(BadFile, match=f"§3.3 {field}: {value}"):
            scan(data)


@clause("3.3")
@pytest.mark.parametrize("mode", range(len(PICTURES)))
def test_the_layout_byte_has_kind_above_and_mode_below(mode):
    header = check(file(END, body=header_body(layout=bytes([0x70 | mode])))).header
    assert (header.kind, header.mode) == (7, MODES[mode])


@clause("3.3")
@pytest.mark.parametrize("mode", [6, 15])
def test_an_unknown_mode_is_unsupported(mode):
    with pytest.raises(Unsupported, match=f"3.2: mode {mode}"):
        scan(file(END, body=header_body(layout=bytes([mode]))))


@clause("3.3")
@pytest.mark.parametrize(
    "body",
    [
        b"\xac\x82\x00\x05\x01\x01\xaa\xbb\xcc\xdd",
        b"\xac\x02\x85\x00\x01\x01\xaa\xbb\xcc\xdd",
        b"\xac\x02\x05\x01\x81\x00\xaa\xbb\xcc\xdd",
    ],
)
def test_an_integer_in_more_bytes_than_needed_is_refused(body):
    with pytest.raises(BadFile, match="canonical"):
        scan(file(END, body=body))


@clause("3.2", "3.3")
@pytest.mark.parametrize(
    "body",
    [
        header_body(width=1 << 20_000),
        header_body(height=2**32),
        header_body(model=2**32),
        header_body(model=1 << 20_000),
    ],
)
def test_an_integer_of_more_than_32_bits_is_refused(body):
    with pytest.raises(BadFile, match="over 4294967295"):
        scan(file(END, body=body))


@clause("3.3")
@pytest.mark.parametrize("length", range(len(header_body()) - 6))
def test_a_short_header_is_refused(length):
    with pytest.raises(BadFile):
        scan(file(END, body=header_body()[:length]))


@clause("3.2")
def test_a_header_has_at_most_4096_bytes():
    room = 4096 - len(header_body(rest=b"\xaa\xbb\xcc\xdd"))
    assert len(check(file(END, body=header_body(rest=b"\xaa\xbb\xcc\xdd" + bytes(room)))).header.parameters) == room
    with pytest.raises(BadFile, match="over 4096"):
        scan(file(END, body=header_body(rest=b"\xaa\xbb\xcc\xdd" + bytes(room + 1))))


@clause("3.3")
@pytest.mark.parametrize(
    ("channels", "cell", "good"),
    [(1, 1, True), (65535, 64, True), (0, 8, False), (65536, 8, False), (4, 0, False), (4, 65, False)],
)
def test_an_unregistered_model_has_its_whole_hash_and_its_latent(channels, cell, good):
    data = file(END, body=header_body(model=0, rest=bytes(range(32)) + varint(channels) + varint(cell) + b"rest"))
    if good:
        header = check(data).header
        assert (header.weights, header.channels, header.cell, header.parameters) == (
            bytes(range(32)),
            channels,
            cell,
            b"rest",
        )
    else:
        with pytest.raises(BadFile, match="§3.3 latent"):
            scan(data)


# --- writing


@clause("3.2", "3.3")
@pytest.mark.parametrize(
    "change",
    [
        dict(width=0),
        dict(height=65536),
        dict(mode="P"),
        dict(kind=16),
        dict(kind=-1),
        dict(model=-1),
        dict(model=2**32),
        dict(weights=b"abc"),
        dict(weights=bytes(32)),
        dict(parameters=bytes(5000)),
        dict(model=0, weights=bytes(32)),
        dict(model=0, weights=bytes(4), channels=4, cell=8),
    ],
)
def test_a_header_that_cannot_be_read_is_not_written(change):
    with pytest.raises(BadInput):
        chunks.build(dataclasses.replace(HEADER, **change), b"")


@clause("3.2")
@pytest.mark.parametrize(
    "others",
    [[(b"D", b"")], [(b"H", b"")], [(b"e", b""), (b"e", b"")], [(b"Q", b"")], [(b"1", b"")], [(b"t", b"")] * 127],
)
def test_a_file_that_cannot_be_read_is_not_written(others):
    with pytest.raises(BadInput):
        chunks.build(HEADER, b"", others)


@clause("3.2")
def test_scanning_needs_neither_torch_nor_numpy():
    code = (
        "import io, sys; from sdf_format.container import chunks; "
        f"f = io.BytesIO({GOLDEN!r}); chunks.verify(f, chunks.scan(f)); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'PIL', 'scipy', 'sdf_format'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sdf_format']"
