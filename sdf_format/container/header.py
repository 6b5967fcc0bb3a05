"""Chunk H (§3.3): what a file holds, of which model, and the parameters of its kind.  Bytes to a typed record and back.

The struct describes and never decides; the rules stand in `check_header`, in clause order.
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import BitStruct, Bytes, ConstructError, GreedyBytes, If, Nibble, Struct, VarInt, this

from sdf_format.container.canonical import parse
from sdf_format.errors import BadFile, BadInput, Unsupported
from sdf_format.tables import limits, names, table

MAX_SIDE = limits()["side"]  # §3.3
MAX_HEADER = limits()["header_bytes"]  # §3.2, body of H
HASH_SHORT, HASH_LONG = 4, 32  # §3.3

MODES = tuple(names("modes").values())  # table 3.2
SOUNDS = {row["name"]: row["channels"] for row in table("ids")["modes"] if "channels" in row}
PICTURES = tuple(mode for mode in MODES if mode not in SOUNDS)
RATES = tuple(row["samples_per_second"] for row in table("rates")["rates"])  # table 3.3
OTHER_RATES = range(table("rates")["others"]["least"], table("rates")["others"]["most"] + 1)  # §3.3, as they are
MOST_CELL = {True: 65535, False: 64}  # §3.3: samples a position of a sound's latent, pixels a side of a picture's

# §3.3 Header
HeaderBody = Struct(
    "width" / VarInt,  # pixels; of sound: samples
    "height" / VarInt,  # pixels; of sound: rate, table 3.3
    "layout" / BitStruct("kind" / Nibble, "mode" / Nibble),  # tables 5.1, 3.2
    "model" / VarInt,  # table 4.1; 0: named by its whole hash alone
    "hash" / If(this.model > 0, Bytes(HASH_SHORT)),
    "unregistered"
    / If(
        this.model == 0,
        Struct(
            "hash" / Bytes(HASH_LONG),
            "channels" / VarInt,  # of the latent
            "cell" / VarInt,  # pixels a side of one latent position
        ),
    ),
    "parameters" / GreedyBytes,  # of the payload kind, §5
)


@dataclass(frozen=True)
class Header:
    """§3.3.  model 0 stands for weights that the specification does not register: then `weights` has 32 bytes,
    otherwise 4.

    width, height  [pixel]; of sound 0
    length, rate   of sound: samples a channel, and how many a second; otherwise 0
    """

    width: int
    height: int
    mode: str
    kind: int
    model: int
    weights: bytes
    parameters: bytes
    channels: int | None = None
    cell: int | None = None
    length: int = 0
    rate: int = 0

    @property
    def sound(self) -> bool:
        return self.mode in SOUNDS


def check_header(header: Header) -> None:
    """The rules of §3.3 that need no knowledge of kinds or models."""
    if header.sound:
        if not header.length:
            raise BadFile("§3.3 length: a sound of 0 samples")
        if header.rate not in RATES and header.rate not in OTHER_RATES:
            raise BadFile(
                f"§3.3 rate: {header.rate} is neither a number of table 3.3 nor in {OTHER_RATES[0]}..{OTHER_RATES[-1]} "
                "Hz"
            )
    for name, value in () if header.sound else (("width", header.width), ("height", header.height)):
        if not 1 <= value <= MAX_SIDE:
            raise BadFile(f"§3.3 {name}: {value} is outside 1..{MAX_SIDE}")
    most = MOST_CELL[header.sound]
    if header.model == 0 and not (1 <= (header.channels or 0) <= 65535 and 1 <= (header.cell or 0) <= most):
        raise BadFile(
            f"§3.3 latent: {header.channels} channels, cells of {header.cell} "
            f"{'samples' if header.sound else 'pixels'}; wanted 1..65535 and 1..{most}"
        )


def not_a_picture(header: Header) -> str:
    """For those who take a sound for a picture."""
    return (
        f"table 3.2: this file holds sound ({header.mode}, {header.rate} Hz, {header.length / header.rate:.1f} s), not "
        "a picture; `sdf decode FILE.sdf FILE.wav` or sdf_format.sound.decode turns it into samples"
    )


def parse_header(body: bytes) -> Header:
    """§3.3"""
    raw = parse(HeaderBody, body, "§3.3 chunk H")
    if raw.layout.mode >= len(MODES):
        raise Unsupported(f"table 3.2: mode {raw.layout.mode} is unknown here (this decoder knows 0..{len(MODES) - 1})")
    named = raw.unregistered
    mode = MODES[raw.layout.mode]
    if mode in SOUNDS:
        if raw.height in RATES:
            raise BadFile(f"§3.3 rate: {raw.height} Hz has a number in table 3.3, which stands for it")
        size = dict(
            width=0, height=0, length=raw.width, rate=RATES[raw.height] if raw.height < len(RATES) else raw.height
        )
    else:
        size = dict(width=raw.width, height=raw.height)
    header = Header(
        **size,
        mode=mode,
        kind=raw.layout.kind,
        model=raw.model,
        weights=named.hash if named else raw.hash,
        parameters=raw.parameters,
        channels=named.channels if named else None,
        cell=named.cell if named else None,
    )
    check_header(header)
    return header


def build_header(header: Header) -> bytes:
    """§3.3; BadInput if a field cannot be written."""
    try:
        check_header(header)
        named = dict(hash=header.weights, channels=header.channels, cell=header.cell) if header.model == 0 else None
        first, second = header.width, header.height
        if header.sound:
            first, second = header.length, RATES.index(header.rate) if header.rate in RATES else header.rate
        body = HeaderBody.build(
            dict(
                width=first,
                height=second,
                layout=dict(kind=header.kind, mode=MODES.index(header.mode)),
                model=header.model,
                hash=header.weights,
                unregistered=named,
                parameters=header.parameters,
            )
        )
        parse(HeaderBody, body, "§3.3 chunk H")
        if len(body) > MAX_HEADER:
            raise BadInput(f"it takes {len(body)} bytes, more than {MAX_HEADER}")
        return body
    except (BadFile, ConstructError, ValueError) as error:
        raise BadInput(f"this header cannot be written: {error}") from error
