"""Kind diffc as the codec has it (§5.2).

Options, schedule, coder and payload size that suit a picture; the model conditioned on its prompt; decoding, drafts and
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sdf_format import arguments
from sdf_format.coding.rcc import tree
from sdf_format.container import parameters
from sdf_format.container.chunks import HEADER_OFFSET
from sdf_format.diffusion import fit, schedule
from sdf_format.errors import BadInput, Unsupported, error_context
from sdf_format.models import loading, registry
from sdf_format.payloads import diffc, stepwise
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
# Mean error [of 255] of an average photograph at quality 0, and points of quality in which it falls to 1/e; a picture
# that is further off by more than a factor gets more bits: docs/experiments.md, "promise".
PHOTOGRAPH_ERROR = (19.55, 62.0)
FURTHEST = 1.4
FURTHEST_BUSY = 1.75  # where most samples differ from their neighbours as far as BUSY: the busiest photographs
BUSY = 5  # of 255
MISSED = 1.07  # how far a law may miss what it aims at
PLAIN = 0.35  # a picture is plain whose error is so small a part of a photograph's
# KL that a law's worst step needs by the curve over what its bits are planned for, and that all steps need beyond their
# plans over the payload's bits; more is no photograph: docs/experiments.md, "flat".
MOST_OVERGRANT, MOST_MISSING = 3.0, 0.4
PFR_CHUNK = 14  # bits a chunk: docs/experiments.md, "pfr"
SAMPLE_STEPS = 8  # of an ancestral sample: docs/experiments.md, "uncertainty"
DRAFT_SPEEDUP = 3  # times fewer model calls for a draft: docs/experiments.md, "thumbnails"


@dataclass(frozen=True)
class EncodeOptions:
    """What a caller may ask of kind diffc. BadInput for what cannot be.

    quality       1..100, the noise level at which sending stops, or later where the picture is further off than a
                  photograph is at that level; 50 unless the file has a budget
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
    size: tuple[int, int] | None = None,
) -> tuple[parameters.Diffc, bytes, list[Step]]:
    """A latent to the header's fields, a payload and its account.  size: of the picture, height and width [pixel]"""
    walker, _ = conditioned(loaded, parameters.as_written(options.conditioning))
    planned = plan(latent, walker, options, room, size)
    free = options.steps is None and options.table is None
    try:
        if free and (planned.plain or planned.overgrant > MOST_OVERGRANT):
            raise OffPlan
        watch = OnPlan(latent, walker, planned, size) if free else None
        fields, length = planned.fields, planned.payload_bytes
        payload, account = diffc.encode(latent, fields, length, walker, progress, options.effort, watch)
    except OffPlan:
        fields = planned.fields
        if options.denoiser is None and hasattr(walker, "sample_errors"):
            fields = replace(fields, denoiser=(parameters.MEAN, 1))  # what the encoder has looked at
        made = stepwise.encode(latent, fields, walker, planned.capacity, planned.goal, progress, options.effort, size)
        if made is not None:
            return made
        fields, length = planned.fields, planned.payload_bytes
        payload, account = diffc.encode(latent, fields, length, walker, progress, options.effort)
    return fields, payload, account


class OffPlan(Exception):
    """What is sent does not bring the receiver where the plan has it."""


@dataclass(frozen=True)
class OnPlan:
    """Ends an encoding whose steps need far more than they were planned for, or whose picture is too far off."""

    latent: Tensor
    model: loading.Model
    planned: Plan
    size: tuple[int, int] | None
    last: list[Tensor] = field(default_factory=list)  # the last prediction of the walk
    missing: list[float] = field(default_factory=list)  # KL that steps needed beyond their plan [bit]

    def before(self, step: int, granted: int, clean: Tensor, gain: float | Tensor) -> None:
        shift = gain * (self.latent.to(clean.device) - clean)
        needed = float(shift.double().square().sum()) / (2 * math.log(2))
        planned = fit.KL_OVERGRANT * self.planned.capacity(granted, clean.numel())
        self.missing.append(max(0.0, needed - planned))
        if sum(self.missing) > MOST_MISSING * 8 * self.planned.payload_bytes + fit.SMALL_KL:
            raise OffPlan
        self.last[:] = [clean]

    def after(self, y: Tensor, sigma: float) -> None:
        if not hasattr(self.model, "sample_errors") or not self.planned.goal.error:
            return  # nothing was promised
        # The last prediction of the walk costs nothing more, and the receiver's is better.
        most = MISSED * self.planned.goal.error
        if self.model.sample_errors(self.latent, self.last[0], self.size)[0] > most:
            shown = self.model.predict(y, sigma)
            if self.model.sample_errors(self.latent, shown, self.size)[0] > most:
                raise OffPlan


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
    """`decode` for thumbnails: the posterior mean after the first steps, in a third of the model calls."""
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


@dataclass(frozen=True)
class Plan:
    """Header fields and payload size [byte] for a picture, and what becomes of them.

    capacity   of the coder
    overgrant  how far the schedule is from the measured curve, `fit.overgrant`
    plain      whether so little is in the picture that a law's small steps would leave it to luck
    goal       of a walk that is planned step by step instead
    """

    fields: parameters.Diffc
    payload_bytes: int
    capacity: fit.Capacity
    overgrant: float
    plain: bool
    goal: stepwise.Goal


def plan(
    latent: Tensor,
    loaded: loading.Model,
    options: EncodeOptions,
    room: Callable[[parameters.Diffc], int] | None,
    size: tuple[int, int] | None = None,
) -> Plan:
    """Schedule and payload size [byte] for a budget, or for a quality; never more than the model can say of the
    picture.

    room  payload bytes that the budget leaves beside a header with such fields; None where there is no budget
    """
    smallest, steps = options.smallest(), options.steps
    # A table's steps are what they are; the law's and inline ones become more where a picture takes more bits.
    limit = most_bits = (fit.MOST_BITS if options.table is None else 1) * latent.numel()
    level, error = fit.HIGHEST, math.inf
    if room is None:
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        level = min(level, QUALITY_LEVEL[0] + QUALITY_LEVEL[1] * quality)
        error = FURTHEST * photograph_error(quality)
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
        return steps or fit.step_count(bits, latent.numel())

    def reach(curve: fit.MmseCurve, bits: int) -> float:
        return fit.ideal_levels(curve, schedule.law_bits(counted(bits), bits), guess)[-1]

    def enough(curve: fit.MmseCurve) -> bool:
        if room is not None:
            return curve.levels[-1] >= level or reach(curve, limit) <= curve.levels[-1]
        return curve.levels[-1] >= max(level, curve.level_of(error))

    curve = fit.measure_mmse(latent, loaded, enough, size=size)
    if room is None and curve.level_of(error) > level and busy(loaded.decode(latent)):
        error *= FURTHEST_BUSY / FURTHEST
    goal = stepwise.Goal(
        level, error if room is None else 0.0, limit, lambda fields, length: room is None or length <= room(fields)
    )
    if room is not None:
        level = min(level, reach(curve, limit))
    elif steps is None and options.table is None:
        level = min(fit.HIGHEST, max(level, curve.level_of(error)))
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
        most = min(room(fields), most_bits // 8)
        payload = most if bits == limit else min(payload, most)
    payload = max(1, payload)
    cells = latent.shape[2] * latent.shape[3]
    expanded = schedule.expand(fields.form, fields.schedule, 8 * payload, cells)
    while max(expanded.bits) > latent.numel():  # §6.3.1; payloads are whole bytes, and callers name numbers of steps
        payload = payload * latent.numel() // max(expanded.bits)
        expanded = schedule.expand(fields.form, fields.schedule, 8 * payload, cells)
    overgrant = fit.overgrant(curve, expanded.levels, expanded.bits, chosen)
    plain = any(
        sample_error <= PLAIN * photograph_error((measured - QUALITY_LEVEL[0]) / QUALITY_LEVEL[1])
        for measured, sample_error in zip(curve.levels, curve.sample_errors)
    )
    return Plan(fields, payload, chosen, overgrant, plain, goal)


def busy(pixels: np.ndarray) -> bool:
    """Whether most samples of (H, W, 3) differ from their neighbours so far that errors hide among them."""
    steps = [np.abs(np.diff(pixels.astype(np.int16), axis=axis)).max(axis=2) for axis in (0, 1)]
    return sum((step >= BUSY).mean() for step in steps) > 1


def photograph_error(quality: float) -> float:
    """Mean error of the samples, 0..255, of an average photograph at a quality."""
    return PHOTOGRAPH_ERROR[0] * math.exp(-quality / PHOTOGRAPH_ERROR[1])


def states_for(bits: int) -> int:
    """L for a payload of so many bits."""
    return next((states for most, states in STATES if bits <= most), FEWEST_STATES)
