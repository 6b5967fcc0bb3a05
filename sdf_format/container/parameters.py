"""Payload kinds (§5) as far as their header fields go: what `sdf info` and the codecs both read.

No pixels, no models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from construct import (
    Bit,
    BitsInteger,
    BitStruct,
    Container,
    Flag,
    GreedyBytes,
    If,
    Int8sb,
    Int8ub,
    Nibble,
    Prefixed,
    Struct,
    VarInt,
    this,
)

from sdf_format import arguments
from sdf_format.container import compression
from sdf_format.container.canonical import parse as parse_struct
from sdf_format.container.header import Header
from sdf_format.diffusion import schedule
from sdf_format.errors import BadFile, BadInput, Unsupported
from sdf_format.tables import limits, names

KINDS = names("kinds")  # table 5.1
DIFFC, PALETTE, LOWBIT = KINDS

CODERS = names("coders")  # table 5.2
TRELLIS, PFR, TREE = CODERS
CODER_FIRST = 8  # L, K or bits a chunk, of parameter 0, §5.2
CODER_PARAMETERS = range(11)  # 8..18
DEFAULT_CODER = (TREE, 12 - CODER_FIRST)

DENOISERS = names("denoisers")  # table 5.3
MEAN, FLOW, ANCESTRAL, BALANCED = DENOISERS
# §7.2: how far from the posterior mean to the flow's end
REALISM = {MEAN: 0.0, FLOW: 1.0, BALANCED: 0.5}
FLOW_STEPS = 3  # where a caller names flow or ancestral without steps

GUIDANCE = 8  # unit 1/n, §5.2
MOST_GUIDANCE = 255 / GUIDANCE  # §5.2
PROMPT_LIMIT = limits()["prompt_bytes"]  # §5.2

COLOURS = range(1, limits()["colours"] + 1)  # §5.3
VALUES = range(-128, 128)  # §5.3, of a vector
STEP_UNIT = 8  # §5.3, steps an octave
DITHERING = 64  # §5.3, of full strength
LEVELS = range(2, limits()["levels"] + 1)  # §5.4
SCALES = range(-128, 128)  # §5.4.1
OFFSETS = range(-32768, 32768)  # §5.4.1
SCALE_UNIT = 4  # §5.4.1, scales an octave
CONTEXTS = names("contexts")  # table 5.4
NEIGHBOURS, ALONE, EVEN = CONTEXTS
CLEANUP_LEVEL = 8  # unit 1/n nat, §5.5
CLEANUP_GAIN = 64  # unit 1/n, §5.5

# Table 5.3 and steps, §5.2
DenoiserFields = BitStruct("id" / BitsInteger(3), "steps" / BitsInteger(5))

# §5.2 DiffC flags: what follows, and in which form
DiffcFlags = BitStruct(
    "reserved" / Bit,
    "conditioning" / Flag,
    "extension" / Flag,
    "denoiser" / Flag,
    "coder" / Flag,
    "seed" / Flag,
    "form" / BitsInteger(2),  # table 4.2
)

# §5.2 Conditioning
ConditioningFields = Struct(
    "coding" / Int8ub,  # guidance of the walk, 1/8
    "denoising" / Int8ub,  # guidance of the denoiser, 1/8
    "prompt" / Prefixed(VarInt, GreedyBytes),  # §3.4
)

# §5.2 DiffC parameters
DiffcParameters = Struct(
    "flags" / DiffcFlags,
    "seed" / If(this.flags.seed, VarInt),  # absent: 0
    "coder" / If(this.flags.coder, BitStruct("id" / Nibble, "parameter" / Nibble)),  # absent: tree, K = 12
    "schedule" / schedule.by_form(this.flags.form),
    "denoiser" / If(this.flags.denoiser, DenoiserFields),  # absent: table 4.1
    "conditioning" / If(this.flags.conditioning, ConditioningFields),  # absent: no prompt, guidance 1
    "extension" / If(this.flags.extension, Prefixed(VarInt, GreedyBytes)),
)

# §5.5 Clean-up
CleanupFields = Struct(
    "denoiser" / DenoiserFields,
    "level" / Int8sb,  # log-SNR, 1/8 nat
    "gain" / Int8ub,  # 1/64
)

# §5.3 Palette flags
PaletteFlags = BitStruct(
    "reserved" / BitsInteger(5),
    "extension" / Flag,
    "dithering" / Flag,
    "cleanup" / Flag,
)

# §5.3 Palette parameters
PaletteParameters = Struct(
    "flags" / PaletteFlags,
    "colours" / VarInt,  # vectors of a palette
    "groups" / VarInt,  # of channels
    "step" / Int8sb,  # 1/8 octave
    "dithering" / If(this.flags.dithering, Int8ub),  # 1/64; absent: 0
    "cleanup" / If(this.flags.cleanup, CleanupFields),
    "extension" / If(this.flags.extension, Prefixed(VarInt, GreedyBytes)),
)

# §5.4 Lowbit flags
LowbitFlags = BitStruct(
    "reserved" / BitsInteger(4),
    "contexts" / BitsInteger(2),  # table 5.4
    "extension" / Flag,
    "cleanup" / Flag,
)

# §5.4 Lowbit parameters
LowbitParameters = Struct(
    "flags" / LowbitFlags,
    "levels" / VarInt,
    "cleanup" / If(this.flags.cleanup, CleanupFields),
    "extension" / If(this.flags.extension, Prefixed(VarInt, GreedyBytes)),
)


@dataclass(frozen=True)
class Conditioning:
    """§5.2.

    The words that condition the model, and how closely it follows: 1 as it stands; for the walk and for the denoiser.
    """

    prompt: str = ""
    coding: float = 1.0
    denoising: float = 1.0

    def __post_init__(self) -> None:
        arguments.keep(self, "prompt", arguments.text)
        for name in ("coding", "denoising"):
            given = getattr(self, name)
            object.__setattr__(self, name, arguments.number(f"guidance ({name})", given, 0, MOST_GUIDANCE))


@dataclass(frozen=True)
class Diffc:
    """§5.2.  coder: (id, parameter), table 5.2; denoiser: (id, steps), table 5.3, or None for the model's own."""

    form: int
    schedule: dict[str, Any]
    seed: int = 0
    coder: tuple[int, int] = DEFAULT_CODER
    denoiser: tuple[int, int] | None = None
    extension: bytes | None = None
    conditioning: Conditioning = Conditioning()


def _parse_diffc(header: Header) -> Diffc:
    """§5.2 and its rules."""
    flags = parse_struct(DiffcFlags, header.parameters[:1], "§5.2 flags in chunk H")
    if flags.reserved or flags.form not in schedule.FORMS:
        raise Unsupported(f"§5.2 flags: reserved bits {flags.reserved}, schedule form {flags.form}; update the decoder")
    raw = parse_struct(DiffcParameters, header.parameters, "§5.2 parameters in chunk H")
    fields = Diffc(
        form=raw.flags.form,
        schedule={k: list(v) if isinstance(v, list) else v for k, v in raw.schedule.items() if not k.startswith("_")},
        seed=raw.seed or 0,
        coder=(raw.coder.id, raw.coder.parameter) if raw.coder else DEFAULT_CODER,
        denoiser=(raw.denoiser.id, raw.denoiser.steps) if raw.denoiser else None,
        extension=raw.extension,
    )
    if fields.coder[0] not in CODERS:
        raise Unsupported(f"table 5.2: coder {fields.coder[0]} is unknown here (this decoder knows {sorted(CODERS)})")
    if fields.coder[1] not in CODER_PARAMETERS:
        raise BadFile(f"§5.2 coder: parameter {fields.coder[1]} is outside 0..{CODER_PARAMETERS[-1]}")
    if fields.denoiser and fields.denoiser[0] not in DENOISERS:
        raise Unsupported(
            f"table 5.3: denoiser {fields.denoiser[0]} is unknown here (this decoder knows {sorted(DENOISERS)})"
        )
    if fields.denoiser and (not fields.denoiser[1] or (fields.denoiser[0] == MEAN and fields.denoiser[1] != 1)):
        raise BadFile(f"§5.2 denoiser: {fields.denoiser[1]} steps of {DENOISERS[fields.denoiser[0]]}")
    return replace(fields, conditioning=_parse_conditioning(raw.conditioning)) if raw.conditioning else fields


def _parse_conditioning(raw: Container) -> Conditioning:
    where = "§5.2 prompt in chunk H"
    try:
        prompt = compression.unpack(raw.prompt, where, PROMPT_LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(f"{where}: {error}") from error
    return Conditioning(prompt, raw.coding / GUIDANCE, raw.denoising / GUIDANCE)


def as_written(conditioning: Conditioning) -> Conditioning:
    """What a reader will find: guidance in eighths."""
    return Conditioning(
        conditioning.prompt,
        round(conditioning.coding * GUIDANCE) / GUIDANCE,
        round(conditioning.denoising * GUIDANCE) / GUIDANCE,
    )


def build_conditioning(conditioning: Conditioning) -> dict[str, object]:
    """§5.2; BadInput for a prompt that is too long. Guidance is rounded to eighths."""
    prompt = conditioning.prompt.encode()
    if len(prompt) > PROMPT_LIMIT:
        raise BadInput(f"§5.2 prompt: {len(prompt)} bytes; at most {PROMPT_LIMIT}")
    guidance = {name: round(getattr(conditioning, name) * GUIDANCE) for name in ("coding", "denoising")}
    return dict(prompt=compression.pack(prompt), **guidance)


def _build_diffc(fields: Diffc) -> bytes:
    """§5.2; whatever equals its default is left out."""
    return DiffcParameters.build(
        dict(
            flags=dict(
                reserved=0,
                conditioning=fields.conditioning != Conditioning(),
                extension=fields.extension is not None,
                denoiser=fields.denoiser is not None,
                coder=fields.coder != DEFAULT_CODER,
                seed=fields.seed != 0,
                form=fields.form,
            ),
            seed=fields.seed,
            coder=dict(id=fields.coder[0], parameter=fields.coder[1]),
            schedule=fields.schedule,
            denoiser=dict(id=fields.denoiser[0], steps=fields.denoiser[1]) if fields.denoiser else None,
            conditioning=build_conditioning(fields.conditioning),
            extension=fields.extension,
        )
    )


@dataclass(frozen=True)
class Cleanup:
    """§5.5.

    denoiser: (id, steps), table 5.3, not ancestral; level: log-SNR [1/CLEANUP_LEVEL nat]; gain [1/CLEANUP_GAIN]
    """

    denoiser: tuple[int, int]
    level: int
    gain: int


def parse_cleanup(raw: Container | None) -> Cleanup | None:
    """§5.5 and its rules, for the kinds that have it."""
    if raw is None:
        return None
    number, steps = raw.denoiser.id, raw.denoiser.steps
    if number not in REALISM:
        raise Unsupported(f"§5.5 clean-up by denoiser {number}: this decoder knows {sorted(REALISM)} there")
    if not steps or (number == MEAN and steps != 1):
        raise BadFile(f"§5.5 clean-up: {steps} steps of {DENOISERS[number]}")
    if not raw.gain:
        raise BadFile("§5.5 clean-up: a gain of 0")
    return Cleanup((number, steps), raw.level, raw.gain)


def build_cleanup(cleanup: Cleanup | None) -> dict[str, object] | None:
    """§5.5: the fields of the struct."""
    if cleanup is None:
        return None
    return dict(
        denoiser=dict(id=cleanup.denoiser[0], steps=cleanup.denoiser[1]), level=cleanup.level, gain=cleanup.gain
    )


@dataclass(frozen=True)
class Palette:
    """§5.3.  step: of vectors [1/STEP_UNIT octave]; dithering: strength [1/DITHERING], which a decoder does not need"""

    colours: int
    groups: int
    step: int
    dithering: int = 0
    cleanup: Cleanup | None = None
    extension: bytes | None = None


def step_of(number: int) -> float:
    """§5.3: a step size by its number."""
    return 2.0 ** (number / STEP_UNIT)


def _parse_palette(header: Header) -> Palette:
    """§5.3 and its rules."""
    flags = parse_struct(PaletteFlags, header.parameters[:1], "§5.3 flags in chunk H")
    if flags.reserved:
        raise Unsupported(f"§5.3 flags: reserved bits {flags.reserved}; update the decoder")
    raw = parse_struct(PaletteParameters, header.parameters, "§5.3 parameters in chunk H")
    if raw.colours not in COLOURS:
        raise BadFile(f"§5.3 colours: {raw.colours} is outside {COLOURS[0]}..{COLOURS[-1]}")
    if not raw.groups or (header.channels and raw.groups > header.channels):
        raise BadFile(f"§5.3 groups: {raw.groups} for {header.channels or 'the'} channels")
    if raw.dithering is not None and not 0 < raw.dithering <= DITHERING:
        raise BadFile(f"§5.3 dithering: {raw.dithering} is outside 1..{DITHERING}")
    return Palette(raw.colours, raw.groups, raw.step, raw.dithering or 0, parse_cleanup(raw.cleanup), raw.extension)


def _build_palette(fields: Palette) -> bytes:
    return PaletteParameters.build(
        dict(
            flags=dict(
                reserved=0,
                extension=fields.extension is not None,
                dithering=fields.dithering > 0,
                cleanup=fields.cleanup is not None,
            ),
            colours=fields.colours,
            groups=fields.groups,
            step=fields.step,
            dithering=fields.dithering,
            cleanup=build_cleanup(fields.cleanup),
            extension=fields.extension,
        )
    )


@dataclass(frozen=True)
class Lowbit:
    """§5.4.  contexts: table 5.4"""

    levels: int
    contexts: int = NEIGHBOURS
    cleanup: Cleanup | None = None
    extension: bytes | None = None


def scale_of(number: int) -> float:
    """§5.4.1: the distance of two levels by its number."""
    return 2.0 ** (number / SCALE_UNIT)


def _parse_lowbit(header: Header) -> Lowbit:
    """§5.4 and its rules."""
    flags = parse_struct(LowbitFlags, header.parameters[:1], "§5.4 flags in chunk H")
    if flags.reserved or flags.contexts not in CONTEXTS:
        raise Unsupported(f"§5.4 flags: reserved bits {flags.reserved}, contexts {flags.contexts}; update the decoder")
    raw = parse_struct(LowbitParameters, header.parameters, "§5.4 parameters in chunk H")
    if raw.levels not in LEVELS:
        raise BadFile(f"§5.4 levels: {raw.levels} is outside {LEVELS[0]}..{LEVELS[-1]}")
    return Lowbit(raw.levels, flags.contexts, parse_cleanup(raw.cleanup), raw.extension)


def _build_lowbit(fields: Lowbit) -> bytes:
    return LowbitParameters.build(
        dict(
            flags=dict(
                reserved=0,
                contexts=fields.contexts,
                extension=fields.extension is not None,
                cleanup=fields.cleanup is not None,
            ),
            levels=fields.levels,
            cleanup=build_cleanup(fields.cleanup),
            extension=fields.extension,
        )
    )


Fields = Diffc | Palette | Lowbit
# kind -> fields, from a header, to its bytes
_PAIRS: dict[int, tuple[type[Any], Callable[[Header], Any], Callable[[Any], bytes]]] = {
    DIFFC: (Diffc, _parse_diffc, _build_diffc),
    PALETTE: (Palette, _parse_palette, _build_palette),
    LOWBIT: (Lowbit, _parse_lowbit, _build_lowbit),
}


def parse(header: Header) -> Fields:
    """The parameters of a header's kind, by the rules of §5 and §4.2; BadFile or Unsupported."""
    fields = parse_fields(header)
    if isinstance(fields, Diffc):
        schedule.check_fields(fields.form, fields.schedule)
    return fields


def parse_fields(header: Header) -> Fields:
    """`parse`, whatever the levels of the schedule: for those who show what stands there."""
    if header.kind not in _PAIRS:
        raise Unsupported(f"table 5.1: payload kind {header.kind} is unknown here (this decoder knows {sorted(KINDS)})")
    fields: Fields = _PAIRS[header.kind][1](header)
    return fields


def number(fields: Fields) -> int:
    """Table 5.1."""
    return next(kind for kind, (made, *_) in _PAIRS.items() if isinstance(fields, made))


def build(fields: Fields) -> bytes:
    """The other way."""
    return _PAIRS[number(fields)][2](fields)
