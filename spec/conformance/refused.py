"""Files that every decoder refuses: a row for every rule. To add one, add a row, and run make.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import quantised
import zstandard
from accepted import inline
from pieces import EXIF, LAW, TINY, WEIGHTS, Part, bits, body, file, front, place, varint

from sdf_format.coding.entropy import Numbers, Sender
from sdf_format.container import chunks, compression, parameters
from sdf_format.container.chunks import HEADER_OFFSET
from sdf_format.container.header import MODES
from sdf_format.diffusion import schedule

BAD, TRUNCATED, UNSUPPORTED, MISSING = "bad", "truncated", "unsupported", "missing-model"  # §8

H, D = (b"H", body()), (b"D", bits("refused"))
PLAIN = file(H, D)
DATA = place((H, D), 1)  # where D lies in it
OTHER_WEIGHTS = varint(TINY) + b"\0\1\2\3"  # model and hash of §3.3


@dataclass(frozen=True)
class Row:
    """error, offset: what a decoder says; offset of the chunk that is wrong.  mode: of sound, if it is one"""

    name: str
    clauses: str
    about: str
    data: bytes
    error: str
    offset: int
    mode: str | None = None


def rows() -> Iterator[Row]:
    yield from fronts()
    yield from chunk_heads()
    yield from orders()
    yield from checksums()
    yield from truncations()
    yield from headers()
    yield from compressed()
    yield from alphas()
    yield from parameter_rows()
    yield from schedules()
    yield from schedules_and_payloads()
    yield from payloads()
    yield from quantised_headers()
    yield from quantised_payloads()
    yield from sounds()
    yield from several_faults()


def fronts() -> Iterator[Row]:
    yield Row("signature", "3.1", "another signature", b"\x88" + PLAIN[1:], BAD, 0)
    yield Row(
        "signature-text",
        "3.1",
        "a transfer as text took carriage returns away",
        PLAIN.replace(b"\r\n", b"\n"),
        BAD,
        0,
    )
    yield Row("empty", "3.1", "a file of no bytes", b"", BAD, 0)
    yield Row("signature-cut", "3.1", "the first five bytes of a file", PLAIN[:5], BAD, 0)
    yield Row("major-2", "3.1", "a later major version", file(H, D, version=b"\2\0"), UNSUPPORTED, 0)
    yield Row("major-0", "3.1", "major version 0", file(H, D, version=b"\0\0"), UNSUPPORTED, 0)


def chunk_heads() -> Iterator[Row]:
    head = file(H)

    def with_chunk(raw: bytes) -> bytes:
        return head + raw + chunks.build_chunk(*D)

    yield Row("type-31-cut", "3.2", "a first byte that is no type, and no more", front() + b"1", BAD, HEADER_OFFSET)
    for kind in b"1", b"[", b"\xe9":
        yield Row(
            f"type-{kind[0]:02x}",
            "3.2",
            "a type that is no ASCII letter",
            with_chunk(chunks.build_chunk(kind, b"x")),
            BAD,
            DATA,
        )
    yield Row(
        "critical",
        "3.2",
        "a critical chunk that nobody knows",
        with_chunk(chunks.build_chunk(b"Q", b"x")),
        UNSUPPORTED,
        DATA,
    )
    long = b"q" + varint(3, 3) + b"abc"
    yield Row(
        "length-spelling",
        "3.2 2",
        "a length in more bytes than needed",
        with_chunk(long + chunks.crc(long).to_bytes(4, "big")),
        BAD,
        DATA,
    )
    yield Row("length-2-31", "3.2", "a length of 2^31", head + b"q" + varint(2**31) + bytes(9), BAD, DATA)
    yield Row("length-endless", "3.2", "a length of six bytes", head + b"q" + b"\xff" * 5 + b"\1" + bytes(9), BAD, DATA)


def orders() -> Iterator[Row]:
    text = (b"t", b"\0a\0b")
    yield Row("header-second", "3.2", "H is not the first chunk", file(text, H, D), BAD, HEADER_OFFSET)
    yield Row("header-twice", "3.2", "two headers", file(H, H, D), BAD, DATA)
    for kind, content in (b"e", b"\0" + EXIF), (b"x", b"\0<x/>"), (b"i", b"\0profile"):
        parts = (H, (kind, content), (kind, content), D)
        yield Row(f"{kind.decode()}-twice", "3.2", f"two chunks {kind.decode()}", file(*parts), BAD, place(parts, 2))
    yield Row("tail", "3.2", "a byte behind D", PLAIN + b"\0", BAD, len(PLAIN))
    yield Row("tail-chunk", "3.2", "a chunk behind D", PLAIN + chunks.build_chunk(*text), BAD, len(PLAIN))
    parts = (H, *[text] * 127, D)
    yield Row("chunks-129", "3.2", "one chunk too many", file(*parts), BAD, place(parts, 128))
    wide = (b"H", body(parameter_bytes=parameters.build(parameters.Diffc(schedule.LAW, LAW, extension=bytes(4096)))))
    yield Row("header-long", "3.2", "a header of more than 4096 bytes", file(wide, D), BAD, HEADER_OFFSET)


def checksums() -> Iterator[Row]:
    def flipped(data: bytes, offset: int) -> bytes:
        return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]

    yield Row("crc-header", "3.2", "a bit of H is wrong", flipped(PLAIN, 13), BAD, HEADER_OFFSET)
    yield Row("crc-payload", "3.2", "a bit of D is wrong", flipped(PLAIN, DATA + 20), BAD, DATA)
    yield Row("crc-itself", "3.2", "a bit of a CRC is wrong", flipped(PLAIN, len(PLAIN) - 1), BAD, DATA)
    yield Row(
        "crc-minor",
        "3.2 3.1",
        "the minor version is wrong, which the CRC of H covers",
        flipped(PLAIN, 9),
        BAD,
        HEADER_OFFSET,
    )
    parts = (H, (b"t", b"\0Title\0text"), D)
    yield Row(
        "crc-text",
        "3.2 3.4",
        "a bit of a text is wrong",
        flipped(file(*parts), place(parts, 1) + 8),
        BAD,
        place(parts, 1),
    )
    parts = (H, (b"q", b"later"), D)
    yield Row(
        "crc-unknown",
        "3.2",
        "a bit of a chunk that nobody knows is wrong",
        flipped(file(*parts), place(parts, 1) + 3),
        BAD,
        place(parts, 1),
    )
    bare = front() + chunks.build_chunk(*H) + chunks.build_chunk(*D)
    yield Row("crc-without-version", "3.2", "the CRC of H without the version", bare, BAD, HEADER_OFFSET)


def truncations() -> Iterator[Row]:
    for name, end, about, offset in (
        ("version", 9, "inside the version", 0),
        ("no-chunk", 10, "before the header", HEADER_OFFSET),
        ("head", 11, "inside a chunk's head", HEADER_OFFSET),
        ("header", 20, "inside the header", HEADER_OFFSET),
        ("header-crc", DATA - 1, "inside the header's CRC", HEADER_OFFSET),
        ("no-payload", DATA, "before the payload", DATA),
        ("payload", DATA + 30, "inside the payload", DATA),
        ("payload-crc", len(PLAIN) - 2, "inside the payload's CRC", DATA),
    ):
        yield Row(f"truncated-{name}", "3.2 8", f"the file ends {about}", PLAIN[:end], TRUNCATED, offset)
    yield Row(
        "length-longest",
        "3.2 8",
        "a payload said to have 2^31 - 1 bytes",
        file(H) + b"D" + varint(2**31 - 1) + bytes(40),
        TRUNCATED,
        DATA,
    )


def headers() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, error: str = BAD, content: bytes | None = None, **change) -> Row:
        header = (b"H", content if content is not None else body(**change))
        return Row(name, clauses, about, file(header, D), error, HEADER_OFFSET)

    yield row("width-0", "3.3", "a width of 0", width=0)
    yield row("height-0", "3.3", "a height of 0", height=0)
    yield row("width-65536", "3.3", "a width of 65536", width=65536)
    yield row("width-spelling", "3.3 2", "a width in more bytes than needed", content=varint(40, 2) + body()[1:])
    yield row("width-33-bits", "2", "a width of more than 32 bits", content=b"\xff" * 4 + b"\x1f" + body()[1:])
    yield row("header-empty", "3.3", "a header of no bytes", content=b"")
    yield row("header-short", "3.3", "a header that ends inside the weights' hash", content=body()[:6])
    yield row("mode-unknown", "3.3", "mode 15", UNSUPPORTED, mode=15)
    yield row("kind-unknown", "5.1", "kind 15", UNSUPPORTED, kind=15)
    yield row("model-unknown", "4.1", "a model that no table has", UNSUPPORTED, model=varint(99999) + WEIGHTS)
    yield row("weights", "3.3", "other weights than the embedded model's", MISSING, model=OTHER_WEIGHTS)
    yield row(
        "weights-unregistered", "3.3", "weights that nobody has", MISSING, model=b"\0" + bytes(range(32)) + b"\4\x08"
    )
    yield row("channels-0", "3.3", "a latent of no channels", model=b"\0" + bytes(range(32)) + b"\0\x08")
    yield row("cell-65", "3.3", "a cell of 65 pixels", model=b"\0" + bytes(range(32)) + b"\4\x41")


def wide_frame(data: bytes) -> bytes:
    """A zstandard frame whose window is 16 MiB."""
    made = zstandard.ZstdCompressionParameters(window_log=24)
    wide = zstandard.ZstdCompressor(compression_params=made).compressobj()
    return wide.compress(data) + wide.flush()


SKIPPABLE = bytes.fromhex("502a4d18 04000000 00000000")


def compressed() -> Iterator[Row]:
    frame = compression.compress(b"Title\0" + b"again " * 50)
    window = wide_frame(b"Title\0" + b"again " * 50)
    bomb = zstandard.ZstdCompressor(level=19).compress(b"a\0" + bytes(4 << 20))
    assert len(bomb) < 1000
    for name, about, content in (
        ("method", "method 2", b"\2" + frame),
        ("empty", "no method", b""),
        ("damaged", "a damaged frame", b"\1" + frame[:9] + b"\xff\xff" + frame[11:]),
        ("cut", "half a frame", b"\1" + frame[: len(frame) // 2]),
        ("two-frames", "two frames", b"\1" + frame + frame),
        ("tail", "a byte behind the frame", b"\1" + frame + b"\0"),
        ("window", "a window of 16 MiB", b"\1" + window),
        ("skippable", "a skippable frame, which is none", b"\1" + SKIPPABLE),
        ("skippable-first", "a skippable frame before the frame", b"\1" + SKIPPABLE + frame),
        ("bomb", "more than 4 MiB in a few hundred bytes", b"\1" + bomb),
        ("no-key", "an empty key", b"\0\0value"),
        ("no-null", "no null character", b"\0key"),
        ("utf-8", "bytes that are not UTF-8", b"\0k\0\xff\xfe"),
    ):
        yield Row(f"text-{name}", "3.4", f"text: {about}", file(H, (b"t", content), D), BAD, DATA)
    text = (b"t", b"\1" + zstandard.ZstdCompressor(level=19).compress(b"a\0" + bytes(7 << 19)))
    parts = (H, *[text] * 5, D)
    about = "five texts of 3.5 MiB, which are within 4 MiB one by one and beyond 16 MiB together"
    yield Row("texts-large", "3.4", about, file(*parts), BAD, place(parts, 5))


def alphas() -> Iterator[Row]:
    rgba = (b"H", body(mode=MODES.index("RGBA")))
    size = 40 * 24
    yield Row("alpha-missing", "3.5", "mode RGBA without an alpha plane", file(rgba, D), BAD, HEADER_OFFSET)
    yield Row(
        "alpha-extra",
        "3.5",
        "mode RGB with an alpha plane",
        file(H, (b"A", b"\0" + compression.compress(bytes(size))), D),
        BAD,
        DATA,
    )
    for name, about, content in (
        ("filter", "filter 4", b"\4" + compression.compress(bytes(size))),
        ("empty", "no filter", b""),
        ("stored", "no frame", b"\0" + bytes(size)),
        ("window", "a window of 16 MiB", b"\0" + wide_frame(bytes(size))),
        ("short", "a byte too few", b"\0" + compression.compress(bytes(size - 1))),
        ("long", "a byte too many", b"\0" + compression.compress(bytes(size + 1))),
        ("bomb", "16 MiB in a few hundred bytes", b"\0" + compression.compress(bytes(16 << 20))),
    ):
        yield Row(f"alpha-{name}", "3.5", f"alpha: {about}", file(rgba, (b"A", content), D), BAD, DATA)


def parameter_rows() -> Iterator[Row]:
    law = schedule.Law.build(LAW)

    def row(name: str, about: str, content: bytes, error: str = BAD) -> Row:
        return Row(name, "5.2", about, file((b"H", body(parameter_bytes=content)), D), error, HEADER_OFFSET)

    yield row("flags-reserved", "the reserved flag", b"\x80" + law, UNSUPPORTED)
    yield row("form-3", "schedule form 3", b"\3" + law, UNSUPPORTED)
    yield row("parameters-none", "no parameters", b"")
    yield row("parameters-short", "parameters that end inside the schedule", b"\0" + law[:3])
    yield row("parameters-long", "a byte behind the parameters", b"\0" + law + b"\0")
    yield row("seed-33-bits", "a seed of more than 32 bits", b"\4" + b"\x80" * 4 + b"\x10" + law)
    yield row("coder-unknown", "coder 15", b"\x08\xf0" + law, UNSUPPORTED)
    yield row("coder-parameter", "parameter 11 of a coder", b"\x08\x0b" + law)
    yield row("denoiser-unknown", "denoiser 7", b"\x10" + law + b"\xe1", UNSUPPORTED)
    yield row("denoiser-0-steps", "a denoiser of no steps", b"\x10" + law + b"\x20")
    yield row("denoiser-mean-2", "two steps of mean", b"\x10" + law + b"\x02")
    yield row("extension-short", "an extension that ends early", b"\x20" + law + b"\5abc")

    def with_prompt(prompt: bytes) -> bytes:
        return b"\x40" + law + b"\x08\x08" + varint(len(prompt)) + prompt

    yield row("prompt-embedded", "a prompt for a model that takes none", with_prompt(b"\0a cat"), UNSUPPORTED)
    yield row("prompt-utf-8", "a prompt that is not UTF-8", with_prompt(b"\0\xc3\x28"))
    yield row("prompt-bomb", "a prompt of more than 8192 bytes", with_prompt(b"\1" + compression.compress(b"a" * 8193)))
    yield row("prompt-method", "a prompt by method 2", with_prompt(b"\2a cat"))
    yield row("prompt-empty-body", "a prompt of no bytes: not even a method", with_prompt(b""))
    yield row("prompt-guidance", "guidance of 1.5 without a prompt", b"\x40" + law + b"\x0c\x0c\1\0", UNSUPPORTED)


def schedules() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, form: int, fields: dict, error: str = BAD) -> Row:
        header = (b"H", body(parameter_bytes=bytes([form]) + schedule.FORMS[form].build(fields)))
        return Row(name, clauses, about, file(header, D), error, HEADER_OFFSET)

    total = 8 * len(D[1])
    yield row("law-no-steps", "4.2.1", "no steps", schedule.LAW, LAW | dict(steps=0))
    empty = (b"H", body(parameter_bytes=bytes([schedule.INLINE, 0, 2])))
    yield Row("inline-no-steps", "4.2.3", "no steps, but a level", file(empty, (b"D", b"")), BAD, HEADER_OFFSET)
    fall = dict(steps=9, end=0, slope=0, bend=63)
    yield row("levels-fall", "4.2", "levels that fall", schedule.LAW, fall)
    yield row("levels-equal", "4.2", "levels that stay", schedule.LAW, dict(steps=9, end=0, slope=0, bend=0))
    yield row("levels-low", "4.2", "a level below -16 nat", schedule.LAW, dict(steps=255, end=-400, slope=127, bend=0))
    yield row("level-high", "4.2", "a level above 16 nat", schedule.INLINE, inline([total], 1025, []))
    yield row("rise-0", "4.2", "a rise of 0", schedule.INLINE, inline([total // 2, total // 2], 0, [0]))
    both = (b"H", body(model=OTHER_WEIGHTS, parameter_bytes=bytes([schedule.LAW]) + schedule.Law.build(fall)))
    yield Row(
        "levels-fall-weights", "4.2 8.3", "levels that fall, of unknown weights", file(both, D), BAD, HEADER_OFFSET
    )
    unknown = dict(table=99, gain=64)
    yield row("table-unknown", "4.2.2", "a table that is not registered", schedule.REGISTERED, unknown, UNSUPPORTED)


def schedules_and_payloads() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, form: int, fields: dict, payload: bytes = D[1]) -> Row:
        parts = (b"H", body(parameter_bytes=bytes([form]) + schedule.FORMS[form].build(fields))), (b"D", payload)
        return Row(name, clauses, about, file(*parts), BAD, place(parts, 1))

    total = 8 * len(D[1])
    more = inline([total, 8], 0, [64])
    yield row("inline-more", "4.2.3", "steps that ask for more bits than there are", schedule.INLINE, more)
    yield row("inline-fewer", "4.2.3", "eight bits that no step has", schedule.INLINE, inline([total - 8], 0, []))
    small = dict(table=1, gain=1)
    yield row("table-small", "4.2.2", "bits left behind a table's last entry", schedule.REGISTERED, small)
    empty = dict(table=1, gain=64)
    yield row("registered-empty", "4.2.2", "a table and an empty payload: no step", schedule.REGISTERED, empty, b"")
    low = dict(table=1, gain=10_000_000)
    about = "a first step of 8 bits of half a million, which ends at -17 nat"
    yield row("registered-low", "4.2.2", about, schedule.REGISTERED, low, b"\x5a")


def payloads() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, payload: bytes, header: bytes) -> Row:
        parts = ((b"H", header), (b"D", payload))
        return Row(name, clauses, about, file(*parts), BAD, place(parts, 1))

    padded = parameters.build(parameters.Diffc(schedule.INLINE, inline([20, 15], -64, [128])))
    yield row("padding", "6.2", "padding that is not zero", b"\x9a\x3c\x57\x11\xe4", body(parameter_bytes=padded))
    greedy = parameters.build(parameters.Diffc(schedule.INLINE, inline([776], 0, [])))
    yield row(
        "too-many-bits", "6.3", "776 bits for 768 latent values", bits("greedy", 97), body(1, 1, parameter_bytes=greedy)
    )


def alone(kind: int, content: bytes, payload: bytes = b"", channels: int = quantised.CHANNELS) -> tuple[Part, Part]:
    """Header and payload of a file of the suite's autoencoder."""
    named = b"\0" + quantised.WEIGHTS + varint(channels) + varint(quantised.CELL)
    return (b"H", body(kind=kind, model=named, parameter_bytes=content)), (b"D", payload)


def quantised_headers() -> Iterator[Row]:
    for name, clauses, about, kind, content, error in (
        ("palette-flags", "5.3", "a reserved flag of kind palette", parameters.PALETTE, b"\x80\x08\x01\0", UNSUPPORTED),
        ("palette-no-colours", "5.3", "no colours", parameters.PALETTE, b"\0\0\1\0", BAD),
        ("palette-colours", "5.3", "4097 colours", parameters.PALETTE, b"\0" + varint(4097) + b"\1\0", BAD),
        ("palette-no-groups", "5.3", "no groups", parameters.PALETTE, b"\0\x08\0\0", BAD),
        ("palette-dithering-0", "5.3", "dithering of strength 0", parameters.PALETTE, b"\2\x08\1\0\0", BAD),
        ("palette-short", "5.3", "parameters that end early", parameters.PALETTE, b"\0\x08", BAD),
        ("lowbit-flags", "5.4", "a reserved flag of kind lowbit", parameters.LOWBIT, b"\x80\4", UNSUPPORTED),
        ("lowbit-contexts", "5.4", "contexts 3", parameters.LOWBIT, b"\x0c\4", UNSUPPORTED),
        ("lowbit-levels-1", "5.4", "one level", parameters.LOWBIT, b"\0\1", BAD),
        ("lowbit-levels-257", "5.4", "257 levels", parameters.LOWBIT, b"\0" + varint(257), BAD),
        ("cleanup-ancestral", "5.5", "clean-up by ancestral", parameters.LOWBIT, b"\1\4\x41\0\x40", UNSUPPORTED),
        ("cleanup-gain-0", "5.5", "clean-up with a gain of 0", parameters.LOWBIT, b"\1\4\x01\0\0", BAD),
    ):
        yield Row(name, clauses, about, file(*alone(kind, content, bits(name))), error, HEADER_OFFSET)
    yield Row(
        "palette-groups",
        "5.3",
        "more groups than channels",
        file(*alone(parameters.PALETTE, b"\0\x08\5\0", bits("palette-groups"))),
        BAD,
        HEADER_OFFSET,
    )
    good = quantised.lowbit_payload("lowbit-4-neighbours", (12, 20, 4), 4, parameters.NEIGHBOURS)
    for name, clauses, about, error, change in (
        ("latent-differs", "3.3", "5 channels, of a model of 4", BAD, dict(channels=5)),
        (
            "cleanup-autoencoder",
            "4.5",
            "clean-up by an autoencoder alone",
            UNSUPPORTED,
            dict(content=b"\1\4\1\x10\x40"),
        ),
    ):
        yield Row(
            name,
            clauses,
            about,
            file(*alone(parameters.LOWBIT, **dict(content=b"\0\4", payload=good) | change)),
            error,
            HEADER_OFFSET,
        )
    parts = alone(parameters.DIFFC, parameters.build(parameters.Diffc(schedule.LAW, LAW)), bits("diffc-autoencoder"))
    yield Row(
        "diffc-autoencoder",
        "4.5",
        "steps of DiffC by an autoencoder alone",
        file(*parts),
        UNSUPPORTED,
        HEADER_OFFSET,
    )
    for name, kind, content in (
        ("lowbit", parameters.LOWBIT, b"\0\4"),
        ("palette", parameters.PALETTE, b"\0\x08\1\0"),
    ):
        tiny = (b"H", body(kind=kind, parameter_bytes=content)), (b"D", bits("lowbit-tiny"))
        about = f"kind {name} for a model that is no autoencoder"
        yield Row(f"{name}-tiny", "5.1", about, file(*tiny), BAD, HEADER_OFFSET)


def quantised_payloads() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, parts: tuple[Part, Part]) -> Row:
        return Row(name, clauses, about, file(*parts), BAD, place(parts, 1))

    good = quantised.lowbit_payload("lowbit-4-neighbours", (12, 20, 4), 4, parameters.NEIGHBOURS)
    for name, about, payload in (
        ("long", "a byte too many", good + b"\1"),
        ("short", "a byte too few", good[:-1]),
        ("empty", "no payload", b""),
    ):
        yield row(f"lowbit-{name}", "5.6.1", f"kind lowbit with {about}", alone(parameters.LOWBIT, b"\0\4", payload))
    coder = Sender()
    numbers = Numbers(quantised.CHANNELS + 1)
    for channel, value in (*enumerate((3, 0, 0, 0)), (0, -1)):
        numbers.code(coder, channel, quantised.CHANNELS if channel else 0, value)
    parts = alone(parameters.PALETTE, b"\0\2\1\0", coder.finish())
    yield row("palette-falls", "5.3.1", "a palette whose first channel falls", parts)
    coder = Sender()
    Numbers(2).code(coder, 0, 0, 128)
    parts = alone(parameters.LOWBIT, b"\0\4", coder.finish())
    yield row("lowbit-scale", "5.4.1", "a scale of 128", parts)
    yield row("palette-empty", "5.6.1", "kind palette with no payload", alone(parameters.PALETTE, b"\0\x08\1\0"))


def sounds() -> Iterator[Row]:
    def row(name: str, clauses: str, about: str, model: bytes, length: int = 7000, rate: int = 0) -> Row:
        fields = dict(mode=MODES.index("stereo"), kind=parameters.LOWBIT, model=model, parameter_bytes=b"\0\2")
        data = file((b"H", body(length, rate, **fields)), (b"D", bits(name)))
        return Row(f"sound-{name}", clauses, about, data, BAD, HEADER_OFFSET, "stereo")

    nobodys = b"\0" + bytes(range(32)) + b"\6" + varint(50)
    yield row("length-0", "3.3", "a sound of no samples", nobodys, 0)
    yield row("rate-unknown", "3.3", "a rate that the table does not have", nobodys, rate=12)
    yield row("rate-low", "3.3", "999 samples a second", nobodys, rate=999)
    yield row("rate-high", "3.3", "1000001 samples a second", nobodys, rate=1000001)
    yield row("rate-spelling", "3.3", "48000 samples a second, not by its number", nobodys, rate=48000)
    yield row("tiny", "4.6", "a sound of the embedded model", varint(TINY) + WEIGHTS)
    yield row("sd15", "4.6", "a sound of a model of pictures whose weights nobody has", varint(2) + bytes(4))
    pictures = b"\0" + quantised.WEIGHTS + varint(quantised.CHANNELS) + varint(quantised.CELL)
    yield row("of-pictures", "4.6", "a sound of the suite's autoencoder of pictures", pictures)


def several_faults() -> Iterator[Row]:
    """§8.3: of two faults the one that comes first in the order of checks."""

    def flipped(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    unknown = (b"Q", b"later")
    kept = file(H, unknown, D)
    end = place((H, unknown, D), 2)
    wrong = kept[: end - 1] + bytes([kept[end - 1] ^ 1]) + kept[end:]
    yield Row("critical-crc", "8.3", "a critical chunk that nobody knows, its CRC wrong", wrong, UNSUPPORTED, DATA)
    yield Row("critical-cut", "8.3", "the file ends inside such a chunk", kept[: end - 3], UNSUPPORTED, DATA)

    def row(name: str, about: str, error: str, cut: int = 0, others: tuple[Part, ...] = (), **change) -> Row:
        data = file((b"H", body(**change)), *others, D)
        return Row(name, "8.3", about, data[: len(data) - cut], error, HEADER_OFFSET)

    yield row("mode-unknown-cut", "mode 15, and the payload cut off", UNSUPPORTED, 20, mode=15)
    damaged = flipped(file((b"H", body(mode=15)), D))
    yield Row("mode-unknown-crc", "8.3", "mode 15, and a wrong CRC of D", damaged, UNSUPPORTED, HEADER_OFFSET)
    yield row(
        "mode-unknown-critical", "mode 15, and an unknown critical chunk", UNSUPPORTED, others=(unknown,), mode=15
    )
    yield row("width-0-cut", "a width of 0, and the payload cut off", BAD, 20, width=0)
    yield row("width-0-kind-3", "a width of 0 and kind 3", BAD, width=0, kind=3)
    yield row("weights-cut", "unknown weights, and the payload cut off", MISSING, 20, model=OTHER_WEIGHTS)
    yield row(
        "picture-largest",
        "65535x65535 pixels: a latent of 2^32 numbers or more",
        UNSUPPORTED,
        width=65535,
        height=65535,
    )
