"""Payload kind `palette` (§5.3): every cell of a latent as the number of a palette's vector, after Bühlmann (2022).

Channels may be split into groups with a palette each. Numbers are coded by what the neighbours' vectors let expect, not
by what the numbers themselves are like, so their order is free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sdf_format import arguments
from sdf_format.coding.entropy import Coder, Exhausted, Numbers, Receiver, Sender
from sdf_format.container.parameters import COLOURS, DITHERING, MEAN, STEP_UNIT, VALUES, Cleanup, Palette, step_of
from sdf_format.errors import BadFile, BadInput, Unsupported, with_extra
from sdf_format.models.loading import Model
from sdf_format.models.registry import ModelSpec
from sdf_format.payloads import cleanup
from sdf_format.payloads.quantised import as_latent, largest_that_fits
from sdf_format.progress import Progress

NEIGHBOURS = ((0, -1, 3), (-1, 0, 3), (-1, -1, 1), (-1, 1, 1))  # §5.3.2: row, column, weight
ONE = 1 << 16  # §5.3.2: of closeness
SEEN = 3  # §5.3.2: what a cell adds to its vector's count
MOST_SEEN = 1 << 19  # §5.3.2: sum of counts from which on they are halved
LACKING = -1  # number of a cell that an incomplete payload does not have

DIFFUSION = ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1))  # Floyd and Steinberg: row, column, sixteenths
# share of the palette's error that rounding its vectors may add: docs/experiments.md, "palette precision"
PRECISION = 0.05
SAMPLE = 1 << 15  # cells that a palette is made from
DEFAULT_COLOURS = 256
DEFAULT_THRIFT = 0.05  # docs/experiments.md, "thrift"
HALF_OCTAVES = (1, 2, 4, 8, *(round(2 ** (n / 2)) for n in range(8, 25)))  # colours that a budget tries
# colours beyond which, and channels into which, a budget's palette is split instead: docs/experiments.md, "palette
# groups"
FEW, MANY = 1024, 4

Choose = Callable[[int, int, int, np.ndarray], int]


@dataclass(frozen=True)
class EncodeOptions:
    """What a caller may ask of kind palette. BadInput for what cannot be.

    colours    vectors of each palette, 1..4096; 256, or the most that fit where there is a budget
    groups     of channels with a palette each; chosen to suit if None
    dithering  strength of error diffusion, 0 (off) to 1
    cleanup    steps of the probability flow after decoding; 1: posterior mean; 0: none; None: posterior mean if it
               brings the latent nearer
    thrift     error that a bit is worth, in units of the palette's own; chosen to suit if None
    """

    colours: int | None = None
    groups: int | None = None
    dithering: float = 0.0
    cleanup: int | None = None
    thrift: float | None = None

    def __post_init__(self) -> None:
        arguments.keep(self, "colours", arguments.whole, COLOURS[0], COLOURS[-1])
        arguments.keep(self, "groups", arguments.whole, 1)
        arguments.keep(self, "dithering", arguments.number, 0, 1)
        arguments.keep(self, "thrift", arguments.number, 0, 100)
        arguments.keep(self, "cleanup", arguments.whole, cleanup.STEPS[0], cleanup.STEPS[-1])

    def smallest(self) -> Palette:
        """Header fields of no more bytes than others that grant these options."""
        return Palette(self.colours or COLOURS[0], self.groups or 1, 0, round(self.dithering * DITHERING))


def bounds(channels: int, groups: int) -> list[slice]:
    """The channels of every group.  §5.3"""
    return [slice(channels * g // groups, channels * (g + 1) // groups) for g in range(groups)]


def code_vectors(coder: Coder, count: int, channels: int, vectors: np.ndarray | None = None) -> np.ndarray:
    """A palette: (count, channels) integers in VALUES, the first channel not falling.  §5.3.1"""
    numbers = Numbers(channels + 1)
    found = np.zeros((count, channels), np.int64)
    for entry in range(count):
        for channel in range(channels):
            before = int(found[entry - 1, 0]) if entry and not channel else 0
            wanted = 0 if vectors is None else int(vectors[entry, channel]) - before
            value = before + numbers.code(coder, channel, channels if channel else 0, wanted)
            if value not in VALUES or (value < before and entry and not channel):
                raise BadFile(
                    f"§5.3.1 vector {entry}, channel {channel}: {value} is outside {VALUES[0]}..{VALUES[-1]} or falls"
                )
            found[entry, channel] = value
    return found


class Expectation:
    """What a cell's number is likely to be: how often each was seen, times how close its vector is to the neighbours'.

    §5.3.2
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors
        count = len(vectors)
        # Mean squared distance between two vectors, and half of it: what counts as close.
        spread = 2 * (count * int(np.square(vectors).sum()) - int(np.square(vectors.sum(axis=0)).sum())) // count**2
        self.close = max(1, spread // 2)
        self.seen = np.ones(count, np.int64)
        self.total = count
        self.rows: dict[int, np.ndarray] = {}

    def distances(self, number: int) -> np.ndarray:
        """(count,) squared, from every vector to one."""
        if number not in self.rows:
            self.rows[number] = np.square(self.vectors - self.vectors[number]).sum(axis=1)
        return self.rows[number]

    def frequencies(self, neighbours: list[tuple[int, int]]) -> np.ndarray:
        """(count,) integers of at least 1, their sum at most entropy.MOST_TOTAL.  neighbours: (number, weight)"""
        if not neighbours:
            return self.seen
        far = sum(weight * self.distances(number) for number, weight in neighbours)
        close = self.close * sum(weight for _, weight in neighbours)
        likely = ONE * close // (close + far)
        for _ in range(3):
            likely = likely * likely >> 16
        return 1 + (self.seen * likely >> 8)

    def note(self, number: int) -> None:
        self.seen[number] += SEEN
        self.total += SEEN
        if self.total > MOST_SEEN:
            self.seen = self.seen + 1 >> 1
            self.total = int(self.seen.sum())


def code_cells(
    coder: Coder,
    palettes: list[np.ndarray],
    shape: tuple[int, int],
    choose: Choose | None = None,
    tick: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """(h, w, groups) numbers, row by row.  §5.3.2

    choose  (row, column, group, frequencies) -> number to send; None in a receiver
    tick    called at every cell; an exception from it ends the work
    """
    height, width = shape
    numbers = np.full((height, width, len(palettes)), LACKING, np.int64)
    models = [Expectation(p) for p in palettes]
    try:
        for y in range(height):
            for x in range(width):
                tick()
                near = [
                    (y + dy, x + dx, weight) for dy, dx, weight in NEIGHBOURS if y + dy >= 0 and 0 <= x + dx < width
                ]
                for g, model in enumerate(models):
                    frequencies = model.frequencies([(int(numbers[i, j, g]), weight) for i, j, weight in near])
                    number = coder.symbol(np.cumsum(frequencies), choose(y, x, g, frequencies) if choose else 0)
                    model.note(number)
                    numbers[y, x, g] = number
    except Exhausted:
        pass
    return numbers


def build(cells: np.ndarray, colours: int) -> tuple[np.ndarray, float]:
    """A palette of (n, channels) cells by k-means: (colours, channels), and the mean squared error of a cell."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise Unsupported(f"kind palette needs the package scikit-learn to write: {with_extra('palette')}") from error
    from threadpoolctl import threadpool_limits

    if len(cells) > SAMPLE:
        cells = cells[np.random.default_rng(0).choice(len(cells), SAMPLE, replace=False)]
    count = min(colours, len(np.unique(cells, axis=0)))
    with threadpool_limits(1):  # so that the same sums come out every time
        means = KMeans(count, n_init=1, max_iter=30, random_state=0).fit(cells)
    vectors = np.concatenate([means.cluster_centers_, np.repeat(means.cluster_centers_[-1:], colours - count, axis=0)])
    return vectors, max(float(means.inertia_) / len(cells), 1e-9)


@dataclass(frozen=True)
class Made:
    """Palettes for a picture, not rounded yet.  vectors: of each group; errors: mean squared, of a cell, of each"""

    vectors: list[np.ndarray]
    errors: list[float]


def made(cells: np.ndarray, colours: int, groups: int) -> Made:
    """For (h, w, channels) cells."""
    flat = cells.reshape(-1, cells.shape[2])
    vectors, errors = zip(*(build(flat[:, part], colours) for part in bounds(cells.shape[2], groups)))
    return Made(list(vectors), list(errors))


def step_number(own: Made, channels: int) -> int:
    """§5.3: of a step that adds about PRECISION to the error, or of the least that lets the largest value be said."""
    wanted = max(
        (12 * PRECISION * sum(own.errors) / channels) ** 0.5,
        max(float(np.abs(v).max()) for v in own.vectors) / VALUES[-1],
    )
    return int(np.clip(np.ceil(STEP_UNIT * np.log2(max(wanted, 1e-12))), -128, 127))


@dataclass(frozen=True)
class Sent:
    """Fields without clean-up, a payload, the (h, w, channels) cells as they arrive, and of each the (h, w, groups)
    numbers in `Made`.
    """

    fields: Palette
    payload: bytes
    arriving: np.ndarray
    numbers: np.ndarray


def send(cells: np.ndarray, own: Made, dithering: int, thrift: float, progress: Progress) -> Sent:
    """(h, w, channels) cells to a payload.

    dithering [1/DITHERING]; thrift: error that a bit is worth, in units of the palette's own
    """
    height, width, channels = cells.shape
    groups = len(own.vectors)
    parts = bounds(channels, groups)
    number = step_number(own, channels)
    step = step_of(number)
    palettes = [np.rint(v / step).astype(np.int64).clip(VALUES[0], VALUES[-1]) for v in own.vectors]
    orders = [np.lexsort(p.T[::-1]) for p in palettes]
    palettes = [p[order] for p, order in zip(palettes, orders)]
    coder = Sender()
    for palette in palettes:
        code_vectors(coder, len(palette), palette.shape[1], palette)
    wanted = cells / step
    arriving = np.empty_like(wanted)
    worth = [thrift * e / step**2 for e in own.errors]

    def choose(y: int, x: int, g: int, frequencies: np.ndarray) -> int:
        if not x and not g:
            progress(y, height)
        part, palette = parts[g], palettes[g]
        target = wanted[y, x, part]
        cost = np.square(palette - target).sum(axis=1) - worth[g] * np.log2(frequencies)
        chosen = int(cost.argmin())
        arriving[y, x, part] = palette[chosen]
        if dithering:
            left = dithering / DITHERING / 16 * (target - palette[chosen])
            for dy, dx, share in DIFFUSION:
                if y + dy < height and 0 <= x + dx < width:
                    wanted[y + dy, x + dx, part] += share * left
        return chosen

    numbers = code_cells(coder, palettes, (height, width), choose)
    progress(height, height)
    numbers = np.stack([order[numbers[..., g]] for g, order in enumerate(orders)], axis=2)
    return Sent(Palette(len(palettes[0]), groups, number, dithering), coder.finish(), arriving * step, numbers)


def refined(own: Made, cells: np.ndarray, sent: Sent) -> Made:
    """Every vector the mean of the cells that chose it; those that none chose left out, as far as the palettes stay
    equally long.
    """
    vectors = []
    count = max(len(np.unique(sent.numbers[..., g])) for g in range(len(own.vectors)))
    for g, (before, part) in enumerate(zip(own.vectors, bounds(cells.shape[2], len(own.vectors)))):
        flat, numbers = cells[..., part].reshape(-1, before.shape[1]), sent.numbers[..., g].flatten()
        chosen = np.bincount(numbers, minlength=len(before))
        sums = np.stack([np.bincount(numbers, column, len(before)) for column in flat.T], axis=1)
        after = np.where(chosen[:, None] > 0, sums / np.maximum(chosen, 1)[:, None], before)
        vectors.append(after[np.argsort(-chosen, kind="stable")[:count]])
    return Made(vectors, own.errors)


def encode(
    latent: Tensor,
    loaded: Model,
    spec: ModelSpec,
    options: EncodeOptions,
    room: Callable[[Palette], int] | None,
    progress: Progress,
    size: tuple[int, int] | None = None,
) -> tuple[Palette, bytes, list[object]]:
    """A latent to the header's fields, a payload and an account of no steps.

    room: payload bytes that the budget leaves, None without one; size: of no use here
    """
    channels = latent.shape[1]
    if not torch.isfinite(latent).all():
        raise BadInput(f"{spec.name}'s latent of this picture has values that are not finite")
    if (options.groups or 1) > channels:
        raise BadInput(f"groups {options.groups}: the latent has {channels} channels")
    cells = latent[0].permute(1, 2, 0).double().cpu().numpy()
    dithering = round(options.dithering * DITHERING)

    def attempt(rung: Rung) -> Sent:
        thrift = rung.thrift if options.thrift is None else options.thrift
        own = made(cells, rung.colours, rung.groups)
        return send(
            cells, refined(own, cells, send(cells, own, dithering, thrift, progress)), dithering, thrift, progress
        )

    def over(sent: Sent) -> int:
        """Bytes that a file would be above the budget."""
        holder = Cleanup((MEAN, 1), 0, 1) if options.cleanup != 0 and hasattr(loaded, "predict") else None
        return len(sent.payload) - room(replace(sent.fields, cleanup=holder)) if room else 0

    usual = Rung(options.colours or DEFAULT_COLOURS, options.groups or 1, DEFAULT_THRIFT)
    rungs = ladder(options, channels) if room else [usual]
    best = attempt(rungs[0])
    if over(best) > 0:
        raise BadInput(
            f"kind palette needs {over(best)} bytes more than the budget for this picture with {best.fields.colours} "
            f"colours in {best.fields.groups} groups"
        )
    best = largest_that_fits(rungs, best, attempt, lambda sent: over(sent) <= 0)
    chosen = cleanup.choose(latent.cpu(), as_latent(best.arriving), loaded, options.cleanup, progress)
    return replace(best.fields, cleanup=chosen), best.payload, []


@dataclass(frozen=True)
class Rung:
    """A setting: thrift is as in `EncodeOptions`."""

    colours: int
    groups: int
    thrift: float


def ladder(options: EncodeOptions, channels: int) -> list[Rung]:
    """What a budget chooses from: as a rule every rung takes more bytes than the one before."""
    few = options.groups or 1
    many = options.groups or max(1, min(channels, max(2, channels // MANY)))
    sizes = [(n, few) for n in HALF_OCTAVES if n <= FEW or many == few] + [
        (n, many) for n in HALF_OCTAVES if n >= 64 and many != few
    ]
    if options.colours:
        sizes = [(options.colours, few)]
    rungs = [Rung(*size, DEFAULT_THRIFT) for size in sizes]
    at = min(1, len(rungs) - 1)  # a single vector cannot be thrifty
    return rungs[:at] + [replace(rungs[at], thrift=thrift) for thrift in (1.0, 0.5, 0.2, 0.1)] + rungs[at:]


def decode(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: Palette,
    loaded: Model,
    spec: ModelSpec,
    denoiser: tuple[int, int] | None,
    realism: float | None,
    progress: Progress,
) -> Tensor:
    """The latent of a payload, or of what is there of it: cells that are lacking get the palettes' mean.

    declared: its length [byte]; denoiser, realism: of the clean-up, instead of the file's choice
    """
    channels, height, width = shape[1:]
    if fields.groups > channels:
        raise BadFile(f"§5.3 groups: {fields.groups} for {channels} channels")
    cleanup.check_model(fields.cleanup, loaded)
    # before anything is allocated: the caller may refuse
    calls = cleanup.calls(fields.cleanup, denoiser, realism)
    progress(0, calls)
    parts = bounds(channels, fields.groups)
    try:
        coder = Receiver(payload, complete=len(payload) == declared)
        palettes = [code_vectors(coder, fields.colours, part.stop - part.start) for part in parts]
    except Exhausted:
        raise BadFile(
            f"§5.3.1 the payload ends inside its palettes ({len(payload)} bytes); there is no picture in it"
        ) from None
    numbers = code_cells(coder, palettes, (height, width), tick=lambda: progress(0, calls))
    if coder.complete:
        coder.finish()
    cells = np.empty((height, width, channels))
    for g, (part, palette) in enumerate(zip(parts, palettes)):
        cells[..., part] = np.vstack([palette, palette.mean(axis=0)])[numbers[..., g]]  # LACKING is the last row
    return cleanup.apply(as_latent(cells * step_of(fields.step)), fields.cleanup, loaded, progress, denoiser, realism)
