"""Payload kinds (§5) as far as their header fields go: what `sdf info` and the codecs both read.  No pixels, no models."""

from __future__ import annotations

from dataclasses import dataclass

from construct import BitsInteger, BitStruct, Flag, GreedyBytes, If, Nibble, Prefixed, Struct, VarInt, this

from sdf_format import schedule
from sdf_format.container import Header, parse
from sdf_format.errors import BadFile, Unsupported

DIFFC = 0
KINDS = {DIFFC: "diffc"}                # table 5.1

TRELLIS, PFR = 0, 1
CODERS = {TRELLIS: "trellis", PFR: "pfr"}   # table 5.2
CODER_FIRST = 8                         # L, or bits a chunk, of parameter 0, §5.2
CODER_PARAMETERS = range(11)            # 8..18
DEFAULT_CODER = (TRELLIS, 14 - CODER_FIRST)

MEAN, FLOW = 0, 1
DENOISERS = {MEAN: "mean", FLOW: "flow"}    # table 5.3
FLOW_STEPS = 3                          # where a caller names flow without steps

# §5.2 DiffC flags: what follows, and in which form
DiffcFlags = BitStruct(
    "reserved" / BitsInteger(2),
    "extension" / Flag,
    "denoiser" / Flag,
    "coder" / Flag,
    "seed" / Flag,
    "form" / BitsInteger(2),                                                    # table 4.2
)

# §5.2 DiffC parameters
DiffcParameters = Struct(
    "flags" / DiffcFlags,
    "seed" / If(this.flags.seed, VarInt),                                       # absent: 0
    "coder" / If(this.flags.coder, BitStruct("id" / Nibble, "parameter" / Nibble)),     # absent: trellis, L = 14
    "schedule" / schedule.by_form(this.flags.form),
    "denoiser" / If(this.flags.denoiser, BitStruct("id" / BitsInteger(3), "steps" / BitsInteger(5))),    # absent: table 4.1
    "extension" / If(this.flags.extension, Prefixed(VarInt, GreedyBytes)),
)


@dataclass(frozen=True)
class Diffc:
    """§5.2.  coder: (id, parameter), table 5.2; denoiser: (id, steps), table 5.3, or None for the model's own."""

    form: int
    schedule: dict[str, object]
    seed: int = 0
    coder: tuple[int, int] = DEFAULT_CODER
    denoiser: tuple[int, int] | None = None
    extension: bytes | None = None


def parse_diffc(header: Header) -> Diffc:
    """§5.2 and its rules; BadFile or Unsupported."""
    if header.kind != DIFFC:
        raise Unsupported(f"table 5.1: payload kind {header.kind} is unknown here (this decoder knows {sorted(KINDS)})")
    flags = parse(DiffcFlags, header.parameters[:1], "§5.2 flags in chunk H")
    if flags.reserved or flags.form not in schedule.FORMS:
        raise Unsupported(f"§5.2 flags: reserved bits {flags.reserved}, schedule form {flags.form}; update the decoder")
    raw = parse(DiffcParameters, header.parameters, "§5.2 parameters in chunk H")
    fields = Diffc(
        form=raw.flags.form,
        schedule={k: list(v) if isinstance(v, list) else v for k, v in raw.schedule.items() if not k.startswith("_")},
        seed=raw.seed or 0,
        coder=(raw.coder.id, raw.coder.parameter) if raw.coder else DEFAULT_CODER,
        denoiser=(raw.denoiser.id, raw.denoiser.steps) if raw.denoiser else None,
        extension=raw.extension,
    )
    if fields.seed >= 1 << 32:
        raise BadFile(f"§5.2 seed: {fields.seed} has more than 32 bits")
    if fields.coder[0] not in CODERS:
        raise Unsupported(f"table 5.2: coder {fields.coder[0]} is unknown here (this decoder knows {sorted(CODERS)})")
    if fields.coder[1] not in CODER_PARAMETERS:
        raise BadFile(f"§5.2 coder: parameter {fields.coder[1]} is outside 0..{CODER_PARAMETERS[-1]}")
    if fields.denoiser and fields.denoiser[0] not in DENOISERS:
        raise Unsupported(f"table 5.3: denoiser {fields.denoiser[0]} is unknown here (this decoder knows {sorted(DENOISERS)})")
    if fields.denoiser and (not fields.denoiser[1] or fields.denoiser[0] == MEAN and fields.denoiser[1] != 1):
        raise BadFile(f"§5.2 denoiser: {fields.denoiser[1]} steps of {DENOISERS[fields.denoiser[0]]}")
    return fields


def build_diffc(fields: Diffc) -> bytes:
    """§5.2; whatever equals its default is left out."""
    return DiffcParameters.build(dict(
        flags=dict(reserved=0, extension=fields.extension is not None, denoiser=fields.denoiser is not None,
                   coder=fields.coder != DEFAULT_CODER, seed=fields.seed != 0, form=fields.form),
        seed=fields.seed,
        coder=dict(id=fields.coder[0], parameter=fields.coder[1]),
        schedule=fields.schedule,
        denoiser=dict(id=fields.denoiser[0], steps=fields.denoiser[1]) if fields.denoiser else None,
        extension=fields.extension,
    ))
