"""Files made by hand to cost much or to slip through: small, every checksum right.

`python tests/hostile_files.py FOLDER` writes them. Nothing of the package is used but the hash of the embedded model's
weights, so that a rule that both ends forget is found too.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import zstandard
from PIL import Image

from sdf_format.models.registry import MODELS

SIGNATURE = b"\x89SDF\r\n\x1a\n"
VERSION = b"\1\0"
L, RGB, LA, RGBA, MONO, STEREO = range(6)  # table 3.2
DIFFC, PALETTE, LOWBIT = range(3)  # table 5.1
MIB = 1 << 20
BLOCK = 1 << 17  # most bytes of a block of zstandard
TINY = b"\1" + bytes.fromhex(MODELS[1].sha256)[:4]  # model 1 and the hash of its weights
STRANGER = b"\0" + bytes(range(32)) + b"\4\x08"  # unregistered weights, 4 channels, cells of 8 pixels
FLOW = 1  # table 5.3


def varint(value: int) -> bytes:
    """§2"""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes(g | 0x80 for g in groups[:-1]) + bytes(groups[-1:])


def chunk(kind: bytes, body: bytes) -> bytes:
    """§3.2"""
    head = kind + varint(len(body))
    return head + body + struct.pack(">I", zlib.crc32((VERSION if kind == b"H" else b"") + head + body))


def law(steps: int, end: int = 64, slope: int = 20, bend: int = 0) -> bytes:
    """§4.2.1"""
    return (steps << 24 | (end & 1023) << 14 | (slope & 127) << 7 | bend & 127).to_bytes(4, "big")


def header(
    width: int = 64,
    height: int = 64,
    mode: int = RGB,
    kind: int = DIFFC,
    model: bytes = TINY,
    parameters: bytes | None = None,
) -> bytes:
    """§3.3"""
    return (
        varint(width)
        + varint(height)
        + bytes([kind << 4 | mode])
        + model
        + (parameters if parameters is not None else b"\0" + law(1))
    )


def file(*chunks: tuple[bytes, bytes], payload: bytes = bytes(30), **fields: object) -> bytes:
    """A file of these chunks between its header and its payload."""
    return SIGNATURE + VERSION + b"".join(chunk(*c) for c in [(b"H", header(**fields)), *chunks, (b"D", payload)])  # type: ignore[arg-type]


def frame(size: int, unit: bytes = b"\0", head: bytes = b"") -> bytes:
    """A zstandard frame of `head` and then `unit` again and again, `size` bytes in all."""
    if len(unit) > 1:
        return zstandard.ZstdCompressor(level=3).compress((head + unit * (size // len(unit) + 1))[:size])
    # RFC 8878, 3.1.1: window of 8 MiB; a raw block of the head, then blocks that say a byte and how often.
    blocks = [(0, len(head), head)] if head else []
    left = size - len(head)
    while left:
        blocks.append((1, min(left, BLOCK), unit))
        left -= min(left, BLOCK)
    last = len(blocks) - 1
    return (
        b"\x28\xb5\x2f\xfd\0"
        + bytes([13 << 3])
        + b"".join(
            (length << 3 | kind << 1 | (n == last)).to_bytes(3, "little") + data
            for n, (kind, length, data) in enumerate(blocks)
        )
    )


def packed(size: int, unit: bytes = b"\0", head: bytes = b"") -> bytes:
    """§3.4: the body of a metadata chunk."""
    return b"\1" + frame(size, unit, head)


SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"  # RFC 8878, 3.1.2


# EXIF ----------------------------------------------------------------------------------------------------------------


def ifd(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """Entries (tag, type, count, value or offset), big-endian."""
    return (
        struct.pack(">H", len(entries))
        + b"".join(struct.pack(">HHII", *e) for e in entries)
        + struct.pack(">I", following)
    )


def tiff(entries: list[tuple[int, int, int, int]], size: int = 0, following: int = 0) -> bytes:
    """A block of EXIF with one directory, filled up to `size` bytes."""
    return (b"MM\0*\0\0\0\x08" + ifd(entries, following)).ljust(size, b"\1")


BYTES, SHORT, LONG, RATIONAL = 1, 3, 4, 5
X_RESOLUTION = 0x011A


def stored(data: bytes) -> bytes:
    """§3.4"""
    squeezed = zstandard.ZstdCompressor(level=3).compress(data)
    return b"\1" + squeezed if len(squeezed) < len(data) else b"\0" + data


def overlapping(count: int) -> bytes:
    """Tags that each claim the whole of 4 MiB."""
    size = 4 * MIB
    return stored(tiff([(0xC000 + n if n < 0x3FFF else n, BYTES, size - 1, 0) for n in range(count)], size))


def exif_files() -> dict[str, bytes]:
    prefixes = packed(4 * MIB, b"Exif\0\0")
    chain = b"MM\0*\0\0\0\x08" + b"".join(
        ifd([(0x8769, LONG, 1, 8), (0x8825, LONG, 1, 8), (0x0100, SHORT, 1, 1)], 8) for _ in range(9)
    )
    return {
        "exif-prefixes": file((b"e", prefixes)),
        "exif-200-overlaps": file((b"e", overlapping(200))),
        "exif-65535-overlaps": file((b"e", overlapping(65535))),
        "exif-500k-rationals": file((b"e", stored(tiff([(X_RESOLUTION, RATIONAL, 524_275, 26)], 4 * MIB)))),
        "exif-500k-resolution": file(
            (b"e", stored(tiff([(X_RESOLUTION, RATIONAL, 524_275, 26), (0x011B, RATIONAL, 524_275, 26)], 4 * MIB)))
        ),
        "exif-cycles": file((b"e", b"\0" + chain)),
        "exif-cut": file((b"e", b"\0Exif\0\0MM\0*\0\0")),
        "exif-far": file((b"e", b"\0MM\0*\xff\xff\xff\xff")),
    }


# Other metadata ------------------------------------------------------------------------------------------------------


EMOJI = "\U0001f600".encode()


def metadata_files() -> dict[str, bytes]:
    text = packed(4 * MIB, b"a", b"%d\0" + EMOJI)
    texts = [(b"t", b"\1" + frame(4 * MIB, b"a", b"k%03d\0" % n + EMOJI)) for n in range(126)]
    nested = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<a>" * 50_000
    laughs = (
        b"<!DOCTYPE x ["
        + b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"lol") for n in range(12))
        + b"]><x>&l11;</x>"
    )
    return {
        "text-126-bombs": file(*texts),
        "text-eager-bombs": file(
            (b"t", text), (b"t", packed(4 * MIB, b"b", b"b\0" + EMOJI)), (b"t", packed(4 * MIB, b"c", b"c\0" + EMOJI))
        ),
        "text-5-bombs": file(*texts[:5]),
        "xmp-elements": file((b"x", packed(4 * MIB, b"<a/>", b"<x>"))),
        "xmp-nested": file((b"x", stored(nested))),
        "xmp-laughs": file((b"x", b"\0" + laughs)),
        "icc-bomb": file((b"i", packed(4 * MIB))),
    }


# Alpha ---------------------------------------------------------------------------------------------------------------


def alpha_bomb(side: int) -> bytes:
    return file((b"A", b"\3" + frame(side * side)), width=side, height=side, mode=RGBA)


def alpha_files() -> dict[str, bytes]:
    return {f"alpha-bomb-{side}": alpha_bomb(side) for side in (9459, 13377, 16384, 65535)} | {
        "alpha-long": file((b"A", b"\0" + frame(MIB * 300)), width=64, height=64, mode=RGBA),
        "alpha-skippable": file((b"A", b"\0" + SKIPPABLE), mode=RGBA),
    }


# Size and work -------------------------------------------------------------------------------------------------------


def square(side: int, steps: int = 1, denoising: int = 0, coder: int | None = None, payload: int = 30) -> bytes:
    """denoising: steps of the flow; 0: what the model does; coder: (id << 4) + parameter"""
    flags = (0x10 if denoising else 0) | (0x08 if coder is not None else 0)
    parameters = bytes([flags]) + (bytes([coder]) if coder is not None else b"") + law(steps)
    return file(
        width=side,
        height=side,
        parameters=parameters + (bytes([FLOW << 5 | denoising]) if denoising else b""),
        payload=bytes(payload),
    )


def size_files() -> dict[str, bytes]:
    wide = b"\0" + bytes(range(32)) + varint(65535) + b"\x01"  # 65535 channels, cells of a pixel
    return {
        "size-8192-1step": square(8192),
        "size-8192-worst": square(8192, 1, 31),
        "size-9459-1step": square(9459),
        "size-13377-1step": square(13377),
        "size-65535-1step": square(65535),
        "size-1x1-255-31": square(1, 255, 31),
        "size-64-255-31": square(64, 255, 31),
        "lowbit-channels": file(width=4096, height=4096, kind=LOWBIT, model=wide, parameters=b"\0\2"),
        "palette-channels": file(
            width=4096, height=4096, kind=PALETTE, model=wide, parameters=b"\0" + varint(4096) + varint(65535) + b"\0"
        ),
        "sound-long": file(
            width=2**31,
            height=0,
            mode=STEREO,
            kind=LOWBIT,
            model=b"\0" + bytes(range(32)) + varint(64) + varint(2048),
            parameters=b"\0\2",
        ),
    }


# Previews ------------------------------------------------------------------------------------------------------------


def coded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def many_scans(size: int, side: int = 1024) -> bytes:
    """A progressive JPEG whose last scan comes again and again, up to `size` bytes."""
    data = coded(Image.new("L", (side, side), 77), "JPEG", progressive=True)
    start = data.rfind(b"\xff\xda")
    scan = data[start:-2]
    return data[:-2] + scan * ((size - len(data)) // len(scan)) + b"\xff\xd9"


def claiming(side: int) -> bytes:
    """A JPEG that says it is larger than it is."""
    data = bytearray(coded(Image.new("RGB", (1024, 1024)), "JPEG"))
    place = data.find(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def with_exif(size: int) -> bytes:
    """A small JPEG behind so many bytes of segments for EXIF, which programs join: prefixes, and tags that overlap."""
    data = coded(Image.new("RGB", (512, 512)), "JPEG")
    bodies = [b"Exif\0\0" * 10_900] * (size // 65_400)
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(b) + 2) + b for b in bodies) + data[2:]


def overlapping_preview() -> bytes:
    data = coded(Image.new("RGB", (512, 512)), "JPEG")
    first = b"Exif\0\0" + tiff([(0xC000 + n, BYTES, 900_000, 0) for n in range(5000)], 65_000)
    segments = [first] + [b"Exif\0\0" + b"\1" * 65_000] * 13
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(b) + 2) + b for b in segments) + data[2:]


def preview_files() -> dict[str, bytes]:
    large = dict(width=2048, height=2048)
    animation = coded(
        Image.new("RGB", (1024, 1024)),
        "WEBP",
        save_all=True,
        lossless=True,
        append_images=[Image.new("RGB", (1024, 1024), (n, 2 * n % 256, 5)) for n in range(1, 40)],
    )
    return {
        "preview-scans-20kB": file((b"p", many_scans(20_000)), **large),
        "preview-scans-100kB": file((b"p", many_scans(100_000)), **large),
        "preview-scans-1MiB": file((b"p", many_scans(MIB)), **large),
        "preview-claims-12000": file((b"p", claiming(12_000)), width=24_000, height=24_000),
        "preview-claims-65500": file((b"p", claiming(65_500)), **large),
        "preview-exif": file((b"p", with_exif(900_000)), **large),
        "preview-exif-overlaps": file((b"p", overlapping_preview()), **large),
        "preview-animation": file((b"p", animation), **large),
        "preview-proportion-1024x1": file((b"p", coded(Image.new("RGB", (1024, 1)), "JPEG")), **large),
        "preview-broken-9459": file((b"p", b"RIFFjunk"), parameters=b"\0" + law(200), width=9459, height=9459),
    }


# Against rules that need no model ------------------------------------------------------------------------------------


def inline(steps: int) -> bytes:
    """§4.2.3 without steps, or with one of all bits."""
    return b"\2" + bytes([steps]) + b"\0" + (varint(240) if steps else b"")


def rule_files() -> dict[str, bytes]:
    """Each breaks a rule of the specification, whatever models there are."""
    return {
        "inline-0-steps": file(parameters=inline(0), payload=b""),
        "registered-empty": file(parameters=b"\1\1" + varint(64), payload=b""),
        "palette-tiny": file(kind=PALETTE, parameters=b"\0\x08\1\0"),
        "lowbit-tiny": file(kind=LOWBIT, parameters=b"\0\4"),
        "sound-tiny": file(width=44100, height=0, mode=MONO, kind=LOWBIT, parameters=b"\0\4"),
        "palette-groups": file(kind=PALETTE, model=STRANGER, parameters=b"\0\x08\5\0"),
        "model-2-32-1": file(model=varint(2**32 - 1) + bytes(4)),
        "prompt-tiny": file(parameters=b"\x40" + law(1) + b"\x08\x08" + b"\6\0a cat"),
        "exif-skippable": file((b"e", b"\1" + SKIPPABLE)),
        "icc-skippable": file((b"i", b"\1" + SKIPPABLE)),
        "xmp-skippable": file((b"x", b"\1" + SKIPPABLE)),
        "text-skippable-first": file((b"t", b"\1" + SKIPPABLE + frame(9, b"a", b"k\0"))),
        "alpha-skippable": file((b"A", b"\0" + SKIPPABLE), mode=RGBA),
    }


FAMILIES: dict[str, Callable[[], dict[str, bytes]]] = {
    "exif": exif_files,
    "metadata": metadata_files,
    "alpha": alpha_files,
    "size": size_files,
    "preview": preview_files,
    "rules": rule_files,
}


def files() -> dict[str, bytes]:
    """Name to file, of all families; a few seconds."""
    return {name: data for family in FAMILIES.values() for name, data in family().items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for own_name, own_data in files().items():
        (folder / f"{own_name}.sdf").write_bytes(own_data)
        print(f"{own_name:28} {len(own_data):9}")
