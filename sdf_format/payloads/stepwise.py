"""Kind diffc's schedule made on the way: for pictures that the law (§4.2.1) does not fit.

A law is planned from a measured curve before anything is sent. Flat pictures leave it in the first steps: a few bits
say nearly all, and whether they arrive is a matter of luck. Here every step is planned from what the receiver knows by
then, and the schedule is written inline (§4.2.3). Of the steps that were sent, those up to the one with the least error
are kept. Nothing here is normative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from sdf_format.container.parameters import Diffc
from sdf_format.diffusion import fit, walk
from sdf_format.diffusion.schedule import INLINE, INLINE_LEVEL, LEVEL_LIMIT
from sdf_format.models.loading import Model
from sdf_format.payloads import diffc
from sdf_format.payloads.diffc import Step
from sdf_format.progress import Progress

# Levels lie on a grid [1/INLINE_LEVEL nat], so that files of different qualities walk the same path: more quality is
# more of it. 0.45 nat are five points of quality.
GRID_START, GRID_PITCH = -3.0, 0.45
STEP_COST = 29  # bits that a step takes in the header, and loses at the start of its walks, about
FIRST_KL = 16  # bits of the first step
FULLEST = 2  # latent values for each bit of a step, at least: more bits deliver hardly more, codebook.capacity
MOST_STEPS = 255  # §4.2.3


@dataclass(frozen=True)
class Goal:
    """Where sending stops.

    level     log-SNR to be reached [nat]
    error     mean error of the samples, of 255, that is small enough; 0 where all bits are to be used
    bits      that the payload has at most
    fits      whether a header with such fields and so many payload bytes may be written
    """

    level: float
    error: float
    bits: int
    fits: Callable[[Diffc, int], bool]


@dataclass(frozen=True)
class Distance:
    """Of a prediction from the picture: of samples, 0..255, or of latent values where the model knows no other."""

    squared: float
    mean: float

    @classmethod
    def between(cls, model: Model, latent: Tensor, clean: Tensor, size: tuple[int, int] | None) -> Distance:
        """Samples are compared where the model can do that without much work."""
        if hasattr(model, "sample_errors"):
            mean, squared = model.sample_errors(latent, clean, size)
            return cls(squared, mean)
        return cls(float((latent - clean).double().square().mean()), 0.0)


def grid_level(index: int) -> int:
    """Level of a place of the grid [1/INLINE_LEVEL nat]."""
    return round((GRID_START + GRID_PITCH * index) * INLINE_LEVEL)


def grid_index(level: float) -> int:
    """Last place of the grid at or below a level [nat]."""
    index = math.floor((level - GRID_START) / GRID_PITCH)
    return index + (grid_level(index + 1) <= level * INLINE_LEVEL)


def bits_for_kl(kl: float, capacity: fit.Capacity, dimensions: int) -> int:
    """Fewest bits of a step that deliver so much [bit]; at most one a latent value (§6.3)."""
    low, high = 1, dimensions
    while low < high:
        middle = (low + high) // 2
        if capacity(middle, dimensions) < kl:
            low = middle + 1
        else:
            high = middle
    return low


def kl_of_steps(latent: Tensor, clean: Tensor, here: int | None, path: Tensor | None) -> Callable[[int], float]:
    """What a step to a level [1/INLINE_LEVEL nat] would cost [bit], from the level here; None: nothing is sent yet."""
    errors = (latent - clean).double().square().sum(dim=(0, 2, 3), keepdim=True)
    before = 0.0 if here is None else walk.precision_at(here / INLINE_LEVEL, path)

    def kl(level: int) -> float:
        return float(((walk.precision_at(level / INLINE_LEVEL, path) - before) * errors).sum()) / (2 * math.log(2))

    return kl


def farthest(kl: Callable[[int], float], most: float, low: int, high: int) -> int:
    """Highest level of low..high whose step costs at most so much [bit]; low if none does."""
    while low < high:
        middle = -(-(low + high) // 2)
        if kl(middle) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def next_step(here: int | None, kl: Callable[[int], float], capacity: fit.Capacity, dimensions: int) -> tuple[int, int]:
    """Level [1/INLINE_LEVEL nat] and bits of the next step.

    here: level before it; None: nothing is sent yet. kl: `kl_of_steps`.
    A step is as long as pays for what it costs: its prediction grows stale, and the next costs STEP_COST.
    """
    fullest = fit.KL_OVERGRANT * capacity(max(1, dimensions // FULLEST), dimensions)
    if here is None:
        lowest, wanted = grid_index(-LEVEL_LIMIT) + 1, float(FIRST_KL)
    else:
        lowest = grid_index(here / INLINE_LEVEL) + 1
        a_nat = kl(here + INLINE_LEVEL) / (math.e - 1)
        wanted = max(STEP_COST, math.sqrt(4 * STEP_COST * a_nat))
    last = grid_index(LEVEL_LIMIT)
    level = grid_level(farthest(lambda index: kl(grid_level(index)), wanted, min(lowest, last), last))
    if here is not None:
        level = farthest(kl, fullest, here + 1, max(level, here + 1))
    return level, bits_for_kl(kl(level) / fit.KL_OVERGRANT, capacity, dimensions)


def squeezed(
    here: int | None, kl: Callable[[int], float], bits: int, capacity: fit.Capacity, dimensions: int
) -> tuple[int, int] | None:
    """Level and bits of a last step that has so many bits left; None if they are worth no step."""
    most = fit.KL_OVERGRANT * capacity(max(bits, 0), dimensions)
    lowest = round(-LEVEL_LIMIT * INLINE_LEVEL) if here is None else here + 1
    if kl(lowest) > most or not bits:
        return None
    return farthest(kl, most, lowest, round(LEVEL_LIMIT * INLINE_LEVEL)), bits


def encode(
    latent: Tensor,
    fields: Diffc,
    model: Model,
    capacity: fit.Capacity,
    goal: Goal,
    progress: Progress,
    effort: int = 0,
    size: tuple[int, int] | None = None,
) -> tuple[Diffc, bytes, list[Step]] | None:
    """A latent (1, C, h, w) to fields, with the schedule in them, payload and the steps' account.

    fields: all but the schedule; capacity: of their coder; effort: of the tree's sender; size: of the
    picture, height and width [pixel]. None if not a step fits.
    """
    send = diffc.Sender(latent, fields, model, effort)
    latent, dimensions = send.latent, latent.numel()
    levels: list[int] = []
    bits: list[int] = []
    best, nearest, kept = math.inf, math.inf, 0
    path = diffc.path_of(model, send.device)
    total, clean = torch.zeros_like(latent), torch.zeros_like(latent)
    before: float | Tensor = 0.0

    def inline(levels: list[int], bits: list[int]) -> Diffc:
        rises = [b - a for a, b in pairwise(levels)]
        return replace(
            fields, form=INLINE, schedule=dict(steps=len(bits), first=levels[0], rises=rises, bits=list(bits))
        )

    def fits(level: int, granted: int) -> bool:
        together = sum(bits) + granted
        return together <= goal.bits and goal.fits(inline([*levels, level], [*bits, granted]), -(-together // 8))

    while True:
        here = levels[-1] if levels else None
        if here is not None:
            distance = Distance.between(model, latent, clean, size)
            if distance.squared < best:
                best, nearest, kept = distance.squared, distance.mean, len(levels)
            reached = here >= round(goal.level * INLINE_LEVEL) and nearest <= goal.error
            if reached or best == 0 or here >= fit.HIGHEST * INLINE_LEVEL or len(levels) == MOST_STEPS:
                break
        kl = kl_of_steps(latent, clean, here, path)
        step = next_step(here, kl, capacity, dimensions)
        last = not fits(*step)
        if last:
            few, many = 0, step[1]  # bits that fit, and that do not
            while few + 1 < many:
                middle = (few + many) // 2
                if fits(step[0], middle):
                    few = middle
                else:
                    many = middle
            squeezed_step = squeezed(here, kl, few, capacity, dimensions)
            if squeezed_step is None:
                break
            step = squeezed_step
        left = max(1, math.ceil((goal.level - step[0] / INLINE_LEVEL) / (2 * GRID_PITCH)))
        progress(len(levels), len(levels) + 1 + (0 if last else min(left, MOST_STEPS)))
        levels.append(step[0])
        bits.append(step[1])
        after = walk.precision_at(step[0] / INLINE_LEVEL, path)
        rise = after - before
        gain = rise**0.5
        total = total + rise * clean + gain * send(len(levels) - 1, step[1], clean, gain)
        before = after
        clean = model.predict(walk.mean_of(total, before), math.exp(-step[0] / (2 * INLINE_LEVEL)))  # §7.1
        if last:
            if Distance.between(model, latent, clean, size).squared < best:
                kept = len(levels)
            break
    if not kept:
        return None
    progress(len(levels), len(levels))
    levels, bits = levels[:kept], bits[:kept]
    return inline(levels, bits), send.payload(-(-sum(bits) // 8), kept), send.account[:kept]
