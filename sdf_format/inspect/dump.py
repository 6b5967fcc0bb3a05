"""Annotated hex, for `sdf dump` and Annex A: every byte of a file, a field a row, with its clause.  No torch, no model.

The rows come from the very structs that read the file, so they cannot tell another story. What no rule explains in a
damaged file stands there as it is, with the reason.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from construct import Construct, ConstructError, Container, Struct, Switch
from construct.core import IfThenElse, Renamed, evaluate

from sdf_format.container import alpha, chunks, compression, parameters
from sdf_format.container.chunks import (
    ALPHA_CHUNK,
    DATA_CHUNK,
    EXIF_CHUNK,
    HEADER_CHUNK,
    ICC_CHUNK,
    TEXT_CHUNK,
    XMP_CHUNK,
)
from sdf_format.container.header import HASH_SHORT, MAX_HEADER, MODES, SOUNDS, HeaderBody
from sdf_format.container.magic import SIGNATURE
from sdf_format.diffusion import schedule
from sdf_format.errors import SdfError
from sdf_format.inspect import report
from sdf_format.inspect.printable import printable
from sdf_format.models.registry import MODELS

WIDTH = 16  # bytes a line
SHOWN = 256  # bytes of a field that are shown unless more are asked for

# Where the fields of a struct are laid down; those of a struct without an entry: where the outer one's are.
CLAUSES: dict[Construct, str] = {
    HeaderBody: "§3.3",
    compression.Body: "§3.4",
    alpha.AlphaBody: "§3.5",
    parameters.DiffcParameters: "§5.2",
    parameters.PaletteParameters: "§5.3",
    parameters.LowbitParameters: "§5.4",
    parameters.CleanupFields: "§5.5",
    schedule.Law: "§4.2.1",
    schedule.Registered: "§4.2.2",
    schedule.Inline: "§4.2.3",
}
BODIES: dict[bytes, Construct] = {
    HEADER_CHUNK: HeaderBody,
    ALPHA_CHUNK: alpha.AlphaBody,
    **dict.fromkeys((EXIF_CHUNK, ICC_CHUNK, TEXT_CHUNK, XMP_CHUNK), compression.Body),
}
PARAMETERS: dict[int, Construct] = {  # table 5.1
    parameters.DIFFC: parameters.DiffcParameters,
    parameters.PALETTE: parameters.PaletteParameters,
    parameters.LOWBIT: parameters.LowbitParameters,
}
METHODS = {compression.STORED: "stored", compression.ZSTD: "zstandard"}  # §3.4
LEVELS = {parameters.TRELLIS: "L", parameters.PFR: "K"}  # table 5.2
# §3.3: what a sound's header has in their place
SOUND = {"width": "length", "height": "rate"}


@dataclass(frozen=True)
class Field:
    """A field that stands on whole bytes."""

    clause: str
    name: str
    value: Any
    raw: bytes


@dataclass(frozen=True)
class Row:
    """A field in its place.  size: of the field in the file [byte]; `data` is its beginning."""

    offset: int
    size: int
    data: bytes
    note: str


def fields(
    struct: Construct, stream: io.BytesIO, context: Container, clause: str = "", name: str = ""
) -> Generator[Field, None, Any]:
    """The fields of a struct, each when it has been read; the result is the struct's value. Raises ConstructError."""
    while isinstance(struct, (Renamed, IfThenElse, Switch)):
        if isinstance(struct, Renamed):
            struct, name = struct.subcon, struct.name
        elif isinstance(struct, IfThenElse):
            struct = struct.thensubcon if evaluate(struct.condfunc, context) else struct.elsesubcon
        else:
            struct = struct.cases.get(evaluate(struct.keyfunc, context), struct.default)
    clause = CLAUSES.get(struct, clause)
    if isinstance(struct, Struct):
        inner = Container(_=context)
        for part in struct.subcons:
            inner[part.name] = yield from fields(part, stream, inner, clause)
        return inner
    start = stream.tell()
    value = struct.parse_stream(stream, **{k: v for k, v in context.items() if k != "_"})
    if raw := stream.getvalue()[start : stream.tell()]:
        yield Field(clause, name, value, raw)
    return value


def _flags(field: Field) -> str:
    """The byte in binary, then the numbers in it, then the names of the bits that are set."""
    parts = {k: v for k, v in field.value.items() if not k.startswith("_") and v}
    numbers = [f"{k} {v}" for k, v in field.value.items() if type(v) is int and (v or k == "form")]
    said = numbers + [f"{k} present" for k, v in parts.items() if v is True]
    number = int.from_bytes(field.raw, "big")
    return f"flags {number:0{8 * len(field.raw)}b}: {', '.join(said)}".replace(": form", ": schedule form")


def _layout(field: Field) -> str:
    kind, mode = field.value.kind, field.value.mode
    return f"kind {parameters.KINDS.get(kind, kind)}, mode {MODES[mode] if mode < len(MODES) else mode}"


def _model(field: Field) -> str:
    return f"model {MODELS[field.value].name}" if field.value in MODELS else f"model {field.value}"


def _coder(field: Field) -> str:
    number = field.value.id
    level = LEVELS.get(number, "parameter")
    return f"coder {parameters.CODERS.get(number, number)}, {level} = {parameters.CODER_FIRST + field.value.parameter}"


def _denoiser(field: Field) -> str:
    return f"denoiser {parameters.DENOISERS.get(field.value.id, field.value.id)}, {field.value.steps} step(s)"


def _plain(field: Field) -> str:
    """Name and value, as far as the hex does not show it."""
    if isinstance(field.value, Container):
        return ", ".join(f"{k} {v}" for k, v in field.value.items() if not k.startswith("_"))
    if isinstance(field.value, list):
        return f"{field.name} {', '.join(map(str, field.value))}"
    return field.name if isinstance(field.value, bytes) else f"{field.name} {field.value}"


# What is said of a field, by its name in the struct; of all others, what `_plain` says.
NOTES: dict[str, Callable[[Field], str]] = {
    "layout": _layout,
    "model": _model,
    "flags": _flags,
    "coder": _coder,
    "denoiser": _denoiser,
    "hash": lambda f: ("first bytes of the " if len(f.raw) == HASH_SHORT else "") + "SHA-256 of its weights",
    "method": lambda f: f"method {METHODS.get(f.value, f.value)}",
}


def _body(kind: bytes, known: bytes, facts: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(size, note) of the fields of a body; the last of them has what `known`, the body's beginning, does not.

    facts: the report's.
    """
    if kind not in BODIES:
        steps = facts.get("schedule") if kind == DATA_CHUNK else None
        said = "§6.2 payload" if kind == DATA_CHUNK else f"§3.2 body: {chunks.CHUNKS.get(kind, 'unknown here')}"
        yield len(known), said + (f": steps of {', '.join(str(s['bits']) for s in steps)} bits" if steps else "")
        return
    described, context = 0, Container()
    walk = fields(BODIES[kind], io.BytesIO(known), context)
    number = None
    try:
        for field in walk:
            if field.name == "layout":
                number = field.value.kind
            if field.name in SOUND and facts.get("mode") in SOUNDS:
                field = replace(field, name=SOUND[field.name])
            if field.name == "parameters" and number in PARAMETERS:
                for inner in fields(PARAMETERS[number], io.BytesIO(field.value), context):
                    yield len(inner.raw), f"{inner.clause} {NOTES.get(inner.name, _plain)(inner)}"
                    described += len(inner.raw)
            else:
                yield (
                    len(field.raw),
                    f"{field.clause} "
                    f"{chunks.CHUNKS[kind] if field.name == 'data' else NOTES.get(field.name, _plain)(field)}",
                )
                described += len(field.raw)
    except ConstructError:
        pass  # the report has said what is wrong; the next line shows what is left
    if described < len(known):
        yield len(known) - described, "cannot be read"


def rows(stream: BinaryIO, shown: int = SHOWN) -> Iterator[Row]:
    """All bytes of a file, in order, then what is wrong with it; of a field at most `shown` bytes."""
    size = chunks.size_of(stream)
    try:
        facts = report.describe(stream, size)
    except SdfError as error:
        facts = {"errors": [str(error)]}
    offset = 0

    def row(length: int, note: str) -> Row:
        """The next field, as far as the file has it."""
        nonlocal offset
        here = min(length, size - offset)
        made = Row(
            offset,
            here,
            chunks.fetch(stream, offset, min(here, shown)),
            note if here == length else f"{note}: {here} of {length} bytes are there",
        )
        offset += here
        return made

    def chunk_rows() -> Iterator[Row]:
        kind = b""
        while offset < size and kind != DATA_CHUNK:
            kind, length, head = chunks.head(stream, offset)
            yield row(1, f"§3.2 type {kind.decode()}")
            yield row(head - 1, f"§3.2 length {length}")
            known = chunks.fetch(stream, offset, min(length, max(MAX_HEADER, shown)))
            described = 0
            for part, note in _body(kind, known, facts):
                described += part
                yield row(length - described + part if described == len(known) else part, note)
            if offset < size or not described:
                yield row(4, "§3.2 CRC")

    signature = row(len(SIGNATURE), "§3.1 signature")
    yield signature
    try:
        if signature.data == SIGNATURE and offset < size:
            yield row(2, "§3.1 version " + ".".join(map(str, chunks.fetch(stream, offset, 2))))
            yield from chunk_rows()
    except SdfError:
        pass  # the report has said it
    if offset < size:
        yield row(size - offset, "cannot be read")
    for wrong in facts["errors"]:
        yield Row(offset, 0, b"", f"error: {wrong}")


def as_text(dumped: Iterator[Row], offsets: bool = True) -> str:
    """Lines of at most 16 bytes.  offsets: before each line, in hexadecimal."""
    lines = []
    for row in dumped:
        notes = [f"# {printable(row.note)}"]
        for start in range(0, max(1, len(row.data)), WIDTH):
            left = f"{row.offset + start:08x}  " if offsets else ""
            lines.append(
                f"{left}{row.data[start : start + WIDTH].hex(' '):{3 * WIDTH}}{notes.pop() if notes else ''}".rstrip()
            )
        if row.size > len(row.data):
            lines.append(f"{' ' * 10 if offsets else ''}... {row.size - len(row.data)} more bytes")
    return "\n".join(lines)
