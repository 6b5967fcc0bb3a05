"""Payload kind `lowbit` (§5.4): every value of a latent as one of a few levels, evenly spaced, with a scale and an
offset a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log2
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdf_format import arguments
from sdf_format.coding.entropy import ONE, Bits, Coder, Exhausted, Numbers, Receiver, Sender
from sdf_format.container.parameters import (
    CONTEXTS,
    EVEN,
    LEVELS,
    MEAN,
    NEIGHBOURS,
    OFFSETS,
    SCALE_UNIT,
    SCALES,
    Cleanup,
    Lowbit,
    scale_of,
)
from sdf_format.errors import BadFile, BadInput
from sdf_format.models.loading import Model
from sdf_format.models.registry import ModelSpec
from sdf_format.payloads import cleanup
from sdf_format.payloads.quantised import as_latent, largest_that_fits
from sdf_format.progress import Progress

OFFSET_UNIT = 4  # §5.4.1: of a scale
NODES = 16  # §5.4.2: contexts of a group, of the first four bits of a value
# §5.4.2: classes of the neighbours' sum, the same for each channel alone, and of their differences
SUMS, SHARED, SPREADS = 25, 5, 4
LACKING = -1  # a value that an incomplete payload does not have

DEFAULT_LEVELS = 4
DEFAULT_THRIFT = 0.1  # docs/experiments.md, "low-bit thrift"
# For budgets: (levels, what error a bit is worth), from the smallest files to the largest.
LADDER = (
    *((2, t) for t in (1.0, 0.5, 0.3, 0.2, 0.1)),
    *(
        (n, 0.1)
        for n in (
            3,
            4,
            5,
            6,
            7,
            8,
            10,
            12,
            14,
            16,
            20,
            24,
            28,
            32,
            40,
            48,
            56,
            64,
            80,
            96,
            112,
            128,
            160,
            192,
            224,
            256,
        )
    ),
)
ROOM = 0.9  # share of the entropy of a sender's values that another choice of them may have
BITS = [0.0, *(-log2(p / ONE) for p in range(1, ONE + 1))]  # of something of a probability out of ONE
TICK = 64  # positions of a row between two looks at the clock
SAMPLE = 1 << 13  # values of a channel that its scale is chosen by
FEW = 256  # values of a channel at which saving bits on its scale begins
NEGLIGIBLE = 1e-6  # squared error, of the latent's mean square


@dataclass(frozen=True)
class EncodeOptions:
    """What a caller may ask of kind lowbit. BadInput for what cannot be.

    bits      1, 2, 4 or 8 a value, before entropy coding; or levels, 2..256; 4 levels, or the most that fit where there
              is a budget
    cleanup   steps of the probability flow after decoding; 1: posterior mean; 0: none; None: posterior mean if it
              brings the latent nearer
    thrift    squared error that a bit is worth, in units of the squared distance of two levels; chosen to suit if None
    """

    bits: int | None = None
    levels: int | None = None
    cleanup: int | None = None
    thrift: float | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and self.levels is not None:
            raise BadInput("bits and levels exclude each other: give one of them")
        arguments.keep(self, "bits", arguments.whole, 1, 8)
        arguments.keep(self, "levels", arguments.whole, LEVELS[0], LEVELS[-1])
        arguments.keep(self, "thrift", arguments.number, 0, 100)
        arguments.keep(self, "cleanup", arguments.whole, cleanup.STEPS[0], cleanup.STEPS[-1])

    def wanted(self) -> int | None:
        """Levels that were asked for, if any."""
        return 1 << self.bits if self.bits is not None else self.levels

    def smallest(self) -> Lowbit:
        """Header fields of no more bytes than others that grant these options."""
        return Lowbit(self.wanted() or LEVELS[0])


def code_scales(coder: Coder, channels: int, scales: np.ndarray | None = None) -> np.ndarray:
    """(channels, 2): numbers of every channel's scale and offset.  §5.4.1"""
    numbers = Numbers(2)
    found = np.zeros((channels, 2), np.int64)
    total = 0
    for channel in range(channels):
        scale, offset = (0, 0) if scales is None else map(int, scales[channel])
        mean = total // max(1, channel)
        scale = mean + numbers.code(coder, 0, 0, scale - mean)
        offset = numbers.code(coder, 1, 1, offset)
        if scale not in SCALES or offset not in OFFSETS:
            raise BadFile(
                f"§5.4.1 channel {channel}: scale {scale}, offset of {offset}; wanted {SCALES[0]}..{SCALES[-1]} and "
                f"{OFFSETS[0]}..{OFFSETS[-1]}"
            )
        found[channel] = scale, offset
        total += scale
    return found


def code_values(
    coder: Coder,
    shape: tuple[int, int, int],
    levels: int,
    contexts: int,
    places: np.ndarray | None = None,
    thrift: float = 0.0,
    tick: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """(h, w, channels) values 0..levels - 1, row by row; LACKING from where an incomplete payload ends.  §5.4.2

    places  what to send, on the scale of values but not rounded; thrift: see `EncodeOptions`; 0: the nearest values
    tick    called now and then; an exception from it ends the work
    """
    height, width, channels = shape
    bits = Bits(NODES * (channels * SHARED + SUMS * SPREADS if contexts == NEIGHBOURS else 1))
    found: list[list[list[int]]] = []  # grows as the payload goes on: a short one cannot ask for much memory
    sent = None if places is None else places.tolist()
    try:
        for y in range(height):
            found.append([[LACKING] * channels for _ in range(width)])
            for x in range(width):
                if x % TICK == 0:
                    tick()
                for c in range(channels):
                    a, b = _groups(found, y, x, c, levels, channels) if contexts == NEIGHBOURS else (0, 0)
                    value = (
                        _chosen(bits, a, b, levels, sent[y][x][c], 0.0 if contexts == EVEN else thrift) if sent else 0
                    )
                    low, high, node = 0, levels, 1
                    while contexts != EVEN and high - low > 1 and node < NODES:
                        middle = low + high >> 1
                        bit = bits.code(coder, a + node, b + node, int(value >= middle))
                        node = 2 * node + bit
                        low, high = (middle, high) if bit else (low, middle)
                    if high - low > 1:
                        low += coder.symbol(range(1, high - low + 1), value - low)
                    found[y][x][c] = low
    except Exhausted:
        pass
    values = np.full(shape, LACKING, np.int64)
    values[: len(found)] = found
    return values


def _chosen(bits: Bits, a: int, b: int, levels: int, place: float, thrift: float) -> int:
    """The nearest value, or the one on the other side of `place` if it is worth the error."""
    nearest = min(levels - 1, max(0, round(place)))
    other = nearest + (1 if place > nearest else -1)
    error = (other - place) ** 2 - (nearest - place) ** 2
    if not 0 <= other < levels or error >= thrift * 16:  # BITS go no further
        return nearest
    return (
        other
        if error < thrift * (_bits_of_value(bits, a, b, levels, nearest) - _bits_of_value(bits, a, b, levels, other))
        else nearest
    )


def _bits_of_value(bits: Bits, a: int, b: int, levels: int, value: int) -> float:
    """Bits that a value takes now, but for those without contexts, which are about as many for its neighbours."""
    low, high, node, spent = 0, levels, 1, 0.0
    while high - low > 1 and node < NODES:
        middle, one = low + high >> 1, bits.one[a + node] + bits.one[b + node] >> 1
        if value >= middle:
            low, node, spent = middle, 2 * node + 1, spent + BITS[one]
        else:
            high, node, spent = middle, 2 * node, spent + BITS[ONE - one]
    return spent


def _groups(found: list[Any], y: int, x: int, c: int, levels: int, channels: int) -> tuple[int, int]:
    """First contexts of a value's two groups: by its channel and roughly by its neighbours, and by these alone.

    §5.4.2
    """
    row = found[y]
    above = found[y - 1] if y else None
    w = row[x - 1][c] if x else LACKING
    n = above[x][c] if above else row[x - 2][c] if x > 1 else LACKING
    if n == LACKING:
        n = w if w != LACKING else levels - 1 >> 1
    if w == LACKING:
        w = n
    nw = above[x - 1][c] if above and x else n
    ne = above[x + 1][c] if above and x + 1 < len(row) else n
    sums = 6 * levels - 5
    classes = min(sums, SUMS)
    near = (2 * (w + n) + nw + ne) * classes // sums
    spread = min(SPREADS - 1, 2 * SPREADS * (abs(w - n) + abs(n - nw) + abs(n - ne)) // (3 * levels - 2))
    return NODES * (SHARED * c + SHARED * near // classes), NODES * (SHARED * channels + SPREADS * near + spread)


def levels_of(scales: np.ndarray, levels: int) -> np.ndarray:
    """(channels, levels): the latent's value at every level.  §5.4.1"""
    steps = np.array([scale_of(int(k)) for k in scales[:, 0]])
    return (scales[:, 1:] / OFFSET_UNIT + np.arange(levels) - (levels - 1) / 2) * steps[:, None]


def places_of(cells: np.ndarray, scales: np.ndarray, levels: int) -> np.ndarray:
    """(h, w, channels) numbers on the scale of values."""
    steps = np.array([scale_of(int(k)) for k in scales[:, 0]])
    return cells / steps - scales[:, 1] / OFFSET_UNIT + (levels - 1) / 2


def fitted(values: np.ndarray, levels: int) -> np.ndarray:
    """Scales and offsets for (n, channels) numbers: (channels, 2), as `code_scales` has them.

    Of least squared error, but where another is cheaper to tell by more than its error costs: n / 2 * log2(error) bits.
    """
    count = len(values)
    if count > SAMPLE:
        values = values[np.random.default_rng(0).choice(count, SAMPLE, replace=False)]
    found = np.zeros((values.shape[1], 2), np.int64)
    least = float(np.square(values).mean()) * NEGLIGIBLE
    for channel, own in enumerate(values.T):
        found[channel] = _fitted(own, levels, int(found[:channel, 0].sum()) // max(1, channel), max(count, FEW), least)
    return found


def _bits_of_number(number: int) -> float:
    """Bits that a number takes, about."""
    return 1 + 2 * np.log2(1 + abs(number))


def _fitted(own: np.ndarray, levels: int, mean_scale: int, count: int, least: float) -> tuple[int, int]:
    """Of one channel.  least: squared error that is as good as none"""
    mean, middle = own.mean(), (own.max() + own.min()) / 2
    finest = max(own.std() / levels, OFFSET_UNIT * np.abs(own).max() / OFFSETS[-1], least**0.5, 1e-9)
    coarsest = (own.max() - own.min()) / (levels - 1)  # reaches from the lowest value to the highest
    first, last = (
        int(np.clip(np.ceil(SCALE_UNIT * np.log2(max(s, finest))), SCALES[0], SCALES[-1])) for s in (finest, coarsest)
    )
    tried = []
    for k in range(first, last + 1):
        step = scale_of(k)
        centres = {
            round(OFFSET_UNIT * centre / step) + shift for centre in (mean, middle) for shift in range(-2, 3)
        } | {0}
        offsets = np.array(sorted(centres.intersection(OFFSETS)))
        place = own / step - offsets[:, None] / OFFSET_UNIT + (levels - 1) / 2
        errors = np.square(place - np.rint(place).clip(0, levels - 1)).mean(axis=1) * step**2
        tried += [
            (
                count / 2 * np.log2(error + least + 1e-18) + _bits_of_number(k - mean_scale) + _bits_of_number(m),
                k,
                int(m),
            )
            for error, m in zip(errors, offsets)
        ]
    return min(tried)[1:]


def send(cells: np.ndarray, levels: int, thrift: float = DEFAULT_THRIFT) -> tuple[Lowbit, bytes, np.ndarray]:
    """(h, w, channels) cells to fields without clean-up, a payload, the shortest of any contexts, and the cells as they
    arrive.
    """
    scales = fitted(cells.reshape(-1, cells.shape[2]), levels)
    places = places_of(cells, scales, levels)
    sent: list[tuple[Lowbit, bytes, np.ndarray]] = []
    for contexts in CONTEXTS:
        if sent and len(sent[0][1]) < _at_least(sent[0][2], levels, contexts):
            continue
        coder = Sender()
        code_scales(coder, cells.shape[2], scales)
        values = code_values(coder, cells.shape, levels, contexts, places, thrift)
        sent.append((Lowbit(levels, contexts), coder.finish(), values))
    fields, payload, values = min(sent, key=lambda s: len(s[1]))
    return fields, payload, arriving(values, scales, levels)


def _at_least(values: np.ndarray, levels: int, contexts: int) -> float:
    """Bytes that values like these take with contexts that know nothing of neighbours."""
    if contexts == EVEN:
        return values.size * log2(levels) / 8
    shares = np.bincount(values.ravel()) / values.size
    return ROOM * values.size * -sum(p * log2(p) for p in shares if p) / 8


def arriving(values: np.ndarray, scales: np.ndarray, levels: int) -> np.ndarray:
    """(h, w, channels) cells; where values are lacking, their channel's middle."""
    table = levels_of(scales, levels)
    table = np.hstack([table, table.mean(axis=1, keepdims=True)])  # LACKING is the last
    return table[np.arange(values.shape[2]), values]


def encode(
    latent: Tensor,
    loaded: Model,
    spec: ModelSpec,
    options: EncodeOptions,
    room: Callable[[Lowbit], int] | None,
    progress: Progress,
    size: tuple[int, int] | None = None,
) -> tuple[Lowbit, bytes, list[object]]:
    """A latent to the header's fields, a payload and an account of no steps.

    room: (fields) -> payload bytes that the budget leaves, None without one; size: of no use here
    """
    if not torch.isfinite(latent).all():
        raise BadInput(f"{spec.name}'s latent has values that are not finite")
    cells = latent[0].permute(1, 2, 0).double().cpu().numpy()

    def over(sent: tuple[Lowbit, bytes, np.ndarray]) -> int:
        """Bytes that a file would be above the budget."""
        holder = Cleanup((MEAN, 1), 0, 1) if options.cleanup != 0 and hasattr(loaded, "predict") else None
        return len(sent[1]) - room(replace(sent[0], cleanup=holder)) if room else 0

    def attempt(levels: int, thrift: float) -> tuple[Lowbit, bytes, np.ndarray]:
        return send(cells, levels, thrift if options.thrift is None else options.thrift)

    rungs = [r for r in LADDER if options.wanted() in (None, r[0])] if room else [(DEFAULT_LEVELS, DEFAULT_THRIFT)]
    if (wanted := options.wanted()) and not (room and rungs):
        rungs = [(wanted, DEFAULT_THRIFT)]
    best = attempt(*rungs[0])
    if over(best) > 0:
        raise BadInput(f"kind lowbit needs {over(best)} bytes more than the budget with {rungs[0][0]} levels")
    fields, payload, cells = largest_that_fits(rungs, best, lambda rung: attempt(*rung), lambda sent: over(sent) <= 0)
    return (
        replace(fields, cleanup=cleanup.choose(latent.cpu(), as_latent(cells), loaded, options.cleanup, progress)),
        payload,
        [],
    )


def decode(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: Lowbit,
    loaded: Model,
    spec: ModelSpec,
    denoiser: tuple[int, int] | None,
    realism: float | None,
    progress: Progress,
) -> Tensor:
    """The latent of a payload, or of what is there of it.

    declared: its length [byte]; denoiser, realism: of the clean-up, instead of the file's choice
    """
    channels, height, width = shape[1:]
    cleanup.check_model(fields.cleanup, loaded)
    # before anything is allocated: the caller may refuse
    calls = cleanup.calls(fields.cleanup, denoiser, realism)
    progress(0, calls)
    try:
        coder = Receiver(payload, complete=len(payload) == declared)
        scales = code_scales(coder, channels)
    except Exhausted:
        raise BadFile(
            f"§5.4.1 the payload ends inside its scales ({len(payload)} bytes); there is nothing to decode"
        ) from None
    values = code_values(
        coder, (height, width, channels), fields.levels, fields.contexts, tick=lambda: progress(0, calls)
    )
    if coder.complete:
        coder.finish()
    return cleanup.apply(
        as_latent(arriving(values, scales, fields.levels)), fields.cleanup, loaded, progress, denoiser, realism
    )
