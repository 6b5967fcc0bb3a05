"""Kind diffc as the codec has it (§5.2).

Options, schedule, coder and payload size that suit a picture; the model conditioned on its prompt; decoding, drafts and
samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdf_format import arguments
from sdf_format.coding.rcc import tree
from sdf_format.container import parameters
from sdf_format.container.chunks import HEADER_OFFSET
from sdf_format.diffusion import fit, schedule
from sdf_format.errors import BadInput, Unsupported, error_context
from sdf_format.models import loading, registry
from sdf_format.payloads import diffc
from sdf_format.payloads.diffc import Step
from sdf_format.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_QUALITY = 50
QUALITIES = range(1, 101)
QUALITY_LEVEL = (-3.0, 0.09)  # log-SNR [nat] of quality 0, and per point: docs/experiments.md, "quality"
# nat: files that reach this log-SNR name the posterior mean: docs/experiments.md, "denoiser"
MEAN_FROM = 2.0
# Payload bits up to which the sender can afford 2^L states: docs/experiments.md, "states".
STATES = ((4_000, 16), (10_000, 15), (100_000, 14), (400_000, 12), (2_000_000, 10))
FEWEST_STATES = 8
TREE_WORDS = parameters.CODER_FIRST + parameters.DEFAULT_CODER[1]  # K: docs/experiments.md, "tree"
TYPICAL = 40_000  # payload bits of a photograph at middle quality
PFR_CHUNK = 14  # bits a chunk: docs/experiments.md, "pfr"
SAMPLE_STEPS = 8  # of an ancestral sample: docs/experiments.md, "uncertainty"
DRAFT_SPEEDUP = 6  # times fewer model calls for a draft: docs/experiments.md, "thumbnails"


@dataclass(frozen=True)
class EncodeOptions:
    """What a caller may ask of kind diffc. BadInput for what cannot be.

    quality       1..100, the noise level at which sending stops; 50 unless the file has a budget
    seed          0..2^32 - 1, of the shared randomness
    steps         1..255; chosen to suit if None
    table         a registered schedule (table 4.3) with one gain for this picture, instead of the law fitted to it
    coder         a name of table 5.2; None: tree, or where latents live on a CUDA device trellis, which such a device
                  searches itself
    coder_bits    K of the tree, L of the trellis, or bits a chunk of pfr, 8..18; chosen to suit if None
    effort        0..2, of the tree's sender: each point up to 4 times as many walks compared, a little more said in the
                  same bits; decoders do not notice
    denoiser      (id, steps) of table 5.3 written into the file, or None for the model's own
    conditioning  a prompt and guidance, kept in the file, for models that take them
    """

    quality: float | None = None
    seed: int = 0
    steps: int | None = None
    table: int | None = None
    coder: str | None = None
    coder_bits: int | None = None
    effort: int = 0
    denoiser: tuple[int, int] | None = None
    conditioning: parameters.Conditioning = parameters.Conditioning()

    def __post_init__(self) -> None:
        first = parameters.CODER_FIRST
        arguments.keep(self, "quality", arguments.number, QUALITIES[0], QUALITIES[-1])
        arguments.keep(self, "seed", arguments.whole, 0, (1 << 32) - 1)
        arguments.keep(self, "steps", arguments.whole, 1, 255)
        arguments.keep(self, "table", arguments.whole, 0)
        arguments.keep(self, "coder_bits", arguments.whole, first, first + parameters.CODER_PARAMETERS[-1])
        arguments.keep(self, "effort", arguments.whole, tree.EFFORTS[0], tree.EFFORTS[-1])
        if self.table is not None and (self.table not in schedule.registry() or self.steps is not None):
            raise BadInput(f"table {self.table!r}: wanted one of {sorted(schedule.registry())}, and no steps beside it")
        if self.coder is not None and self.coder not in parameters.CODERS.values():
            raise BadInput(f"coder {self.coder!r} is unknown here; known: {', '.join(parameters.CODERS.values())}")
        if self.effort and self.coder not in (None, parameters.CODERS[parameters.TREE]):
            raise BadInput(f"effort {self.effort} of coder {self.coder}: the tree alone has one")

    def smallest(self) -> parameters.Diffc:
        """Header fields of no more bytes than others that grant these options."""
        return parameters.Diffc(
            schedule.LAW,
            dict(steps=1, end=-64, slope=1, bend=0),
            seed=self.seed,
            denoiser=self.denoiser,
            conditioning=parameters.as_written(self.conditioning),
        )


def encode(
    latent: Tensor,
    loaded: loading.Model,
    spec: registry.ModelSpec,
    options: EncodeOptions,
    room: Callable[[parameters.Diffc], int] | None,
    progress: Progress,
) -> tuple[parameters.Diffc, bytes, list[Step]]:
    """A latent to the header's fields, a payload and its account."""
    walker, _ = conditioned(loaded, parameters.as_written(options.conditioning))
    fields, payload_bytes = plan(latent, walker, options, room)
    payload, account = diffc.encode(latent, fields, payload_bytes, walker, progress, options.effort)
    return fields, payload, account


def decode(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: parameters.Diffc,
    loaded: loading.Model,
    spec: registry.ModelSpec,
    denoiser: tuple[int, int] | None,
    realism: float | None,
    progress: Progress,
) -> Tensor:
    """The latent of a payload, or of what is there of it.

    declared: its length [byte]; denoiser, realism: instead of the file's choice
    """
    walker, finisher = conditioned(loaded, fields.conditioning)
    wanted = denoiser or fields.denoiser or spec.denoiser
    if realism is not None:
        wanted = spec.realistic
        realism *= parameters.REALISM[wanted[0]]
    return diffc.decode(payload, declared, shape, fields, wanted, walker, progress, finisher, realism)


def draft(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: parameters.Diffc,
    loaded: loading.Model,
    spec: registry.ModelSpec,
    denoiser: tuple[int, int] | None,
    realism: float | None,
    progress: Progress,
) -> Tensor:
    """`decode` for thumbnails: the posterior mean after the first steps, in a sixth of the model calls."""
    walker, finisher = conditioned(loaded, fields.conditioning)
    return diffc.decode(
        payload,
        declared,
        shape,
        fields,
        denoiser or fields.denoiser or spec.denoiser,
        walker,
        progress,
        finisher,
        draft_speedup=DRAFT_SPEEDUP,
    )


def samples(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: parameters.Diffc,
    loaded: loading.Model,
    spec: registry.ModelSpec,
    number: int,
    progress: Progress,
) -> Iterator[Tensor]:
    """So many samples of the posterior that the payload leaves: one walk, then ancestral sampling with noise of each
    one's own.
    """
    walker, finisher = conditioned(loaded, fields.conditioning)
    return diffc.latents(
        payload,
        declared,
        shape,
        fields,
        (parameters.ANCESTRAL, SAMPLE_STEPS),
        walker,
        progress,
        finisher,
        number=number,
    )


def conditioned(loaded: loading.Model, conditioning: parameters.Conditioning) -> tuple[loading.Model, loading.Model]:
    """The model for the walk and the one for the denoiser.

    §5.2; Unsupported for a model that takes no prompt, or predicts nothing
    """
    if not hasattr(loaded, "predict"):
        raise Unsupported(
            "§4.5 kind diffc needs a model that predicts; this one is an autoencoder alone, which kind palette does "
            "with"
        )
    if conditioning == parameters.Conditioning():
        return loaded, loaded
    if not hasattr(loaded, "conditioned"):
        with error_context(HEADER_OFFSET):
            raise Unsupported("§5.2 a prompt or guidance for a model that takes none")
    walker, finisher = (
        loaded.conditioned(conditioning.prompt, g) for g in (conditioning.coding, conditioning.denoising)
    )
    return walker, finisher


def plan(
    latent: Tensor,
    loaded: loading.Model,
    options: EncodeOptions,
    room: Callable[[parameters.Diffc], int] | None,
) -> tuple[parameters.Diffc, int]:
    """Schedule and payload size [byte] for a budget, or for a quality; never more than the model can say of the
    picture.

    room  payload bytes that the budget leaves beside a header with such fields; None where there is no budget
    """
    smallest, steps = options.smallest(), options.steps
    limit = latent.numel()  # bits: a bit a value is above the model's range
    level = fit.HIGHEST
    if room is None:
        level = min(
            level,
            QUALITY_LEVEL[0] + QUALITY_LEVEL[1] * (DEFAULT_QUALITY if options.quality is None else options.quality),
        )
    else:
        limit = min(limit, 8 * room(smallest))
    on_gpu = getattr(getattr(loaded, "latent_device", None), "type", "cpu") == "cuda"
    coder = options.coder or parameters.CODERS[parameters.TRELLIS if on_gpu and not options.effort else parameters.TREE]
    number = next(i for i, name in parameters.CODERS.items() if name == coder)

    def suited(bits: int) -> int:
        """The coder's parameter for a payload of so many bits."""
        return (
            options.coder_bits
            or {parameters.TREE: TREE_WORDS, parameters.TRELLIS: states_for(bits), parameters.PFR: PFR_CHUNK}[number]
        )

    def capacity(parameter: int) -> fit.Capacity:
        if number == parameters.TREE:
            return lambda bits, dimensions: tree.capacity(bits, parameter, dimensions, options.effort)
        return lambda bits, dimensions: diffc.CODERS[number].capacity(bits, parameter, dimensions)

    guess = capacity(suited(limit if room is not None else TYPICAL))

    def counted(bits: int) -> int:
        return steps or fit.step_count(bits)

    def reach(curve: fit.MmseCurve, bits: int) -> float:
        return fit.ideal_levels(curve, schedule.law_bits(counted(bits), bits), guess)[-1]

    def enough(curve: fit.MmseCurve) -> bool:
        return curve.levels[-1] >= level or (room is not None and reach(curve, limit) <= curve.levels[-1])

    curve = fit.measure_mmse(latent, loaded, enough)
    if room is not None:
        level = min(level, reach(curve, limit))
    bits = limit if room is not None and level < fit.HIGHEST else fit.bits_for_level(curve, level, guess, limit)
    chosen = capacity(suited(bits))
    fields = replace(smallest, coder=(number, suited(bits) - parameters.CODER_FIRST))
    if fields.denoiser is None and level >= MEAN_FROM:
        fields = replace(fields, denoiser=(parameters.MEAN, 1))
    if options.table is None:
        granted = schedule.law_bits(counted(bits), bits)
        fields = replace(fields, schedule=fit.fit(fit.ideal_levels(curve, granted, chosen), granted))
    else:
        cells = latent.shape[2] * latent.shape[3]
        entry = schedule.registry()[options.table]
        levels = fit.table_up_to(entry, level)
        standard = schedule.granted_bits(entry, schedule.REGISTERED_GAIN, cells)
        # At least so much that the whole table holds the payload.
        gain = max(
            round(schedule.REGISTERED_GAIN * fit.table_gain(curve, levels, tuple(standard[: len(levels)]), chosen)),
            -(-schedule.REGISTERED_GAIN * (bits + len(levels)) // sum(standard)),
        )
        fields = replace(fields, form=schedule.REGISTERED, schedule=dict(table=options.table, gain=gain))
        bits = min(bits, sum(schedule.granted_bits(entry, gain, cells)) // 8 * 8)
    payload = -(-bits // 8)
    if room is not None:
        most = min(room(fields), latent.numel() // 8)
        payload = most if bits == limit else min(payload, most)
    return fields, max(1, payload)


def states_for(bits: int) -> int:
    """L for a payload of so many bits."""
    return next((states for most, states in STATES if bits <= most), FEWEST_STATES)
