"""The encoder's choice of a schedule for one picture: measure how many bits each noise level will cost, fit the law.

Nothing here is normative; a better encoder may choose otherwise (§4.2.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sdf_format.diffusion.schedule import (
    LAW_BEND,
    LAW_LEVEL,
    LAW_RANGES,
    LAW_SLOPE,
    REGISTERED_LEVEL,
    law_bits,
    law_levels,
)
from sdf_format.diffusion.walk import precision_at

LOWEST, SPACING = -7.0, 2.5  # nat: log-SNR where measuring starts, and between measurements
# KL that steps are planned to cost, over what their bits deliver: docs/experiments.md, "grant"
KL_OVERGRANT = 1.04
HIGHEST = 13.0  # nat: noise of about a step of 8-bit samples; there is nothing left to say
MOST_BITS = 8  # a latent value: as many as the samples have
FULLEST = 2.5  # latent values for each bit of the law's last step, at least: more bits deliver hardly more
# latent positions a side of the windows measured in a large picture, unless the model was trained at others
SAMPLE = 64
WINDOWS = 4
AHEAD = 0.3  # nat: about the length of a step
SMALL_KL = 16  # bits by which a plan may always be missed


@dataclass(frozen=True)
class MmseCurve:
    """Squared error of the model's prediction, summed over the channels that the walk goes on with, at log-SNR levels
    [nat]; well below them: their energy.

    wiener  the same of a Wiener filter at any level, up to a factor: what lies between measurements is shaped like it.
            None for models without a path, whose error is a straight line in logarithms well enough
    """

    dimensions: int  # of the latent
    energy: float
    levels: list[float]
    errors: list[float]
    wiener: Callable[[float], float] | None = None
    sample_errors: list[float] = field(default_factory=list)  # mean error of samples, 0..255; empty: not known

    def level_of(self, sample_error: float) -> float:
        """Level where the mean error of samples comes down to that; infinite if it was measured nowhere."""
        for k, there in enumerate(self.sample_errors):
            if there <= sample_error:
                here = self.sample_errors[k - 1] if k else there
                share = math.log(here / sample_error) / math.log(here / there) if here > there > 0 else 1.0
                return self.levels[k] - SPACING * (1 - share) if k else self.levels[0]
        return math.inf if self.sample_errors else -math.inf

    def error(self, level: float) -> float:
        """At any level, linear in the logarithm between measurements, over the Wiener filter's."""
        at = [self.levels[0] - SPACING, *self.levels]
        shape = [0.0 if self.wiener is None else math.log(self.wiener(x)) for x in (level, *at)]
        ratios = np.log([self.energy, *self.errors]) - shape[1:]
        return math.exp(np.interp(level, at, ratios) + shape[0])


class Predictor(Protocol):
    """What is measured of a model. One that has a `window`, positions a side, is measured in windows of that size."""

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        """Posterior mean of the clean latent, given y = clean + sigma * normal."""


def windows(latent: Tensor, side: int) -> Tensor:
    """The whole latent, or WINDOWS windows of a large one along its two diagonals, as a batch.  side: of a window"""
    height, width = latent.shape[2:]
    if height * width <= WINDOWS * side * side or min(height, width) < side:
        return latent
    tops = torch.linspace(0, height - side, WINDOWS + 2, dtype=torch.float32).long()[1:-1]
    lefts = torch.linspace(0, width - side, WINDOWS + 2, dtype=torch.float32).long()[1:-1][[1, 3, 0, 2]]
    return torch.cat([latent[:, :, t : t + side, left : left + side] for t, left in zip(tops, lefts)])


def share_ahead(level: float, path: Tensor) -> Tensor:
    """What part of a rise of AHEAD from a level each channel takes part in: 1 for those that are seen already."""
    low, high = math.exp(level), math.exp(level + AHEAD)
    return ((high - path.clamp(min=low)) / (high - low)).clamp(min=0)


def measure_mmse(
    latent: Tensor,
    model: Predictor,
    enough: Callable[[MmseCurve], bool],
    lowest: float = LOWEST,
    spacing: float = SPACING,
    size: tuple[int, int] | None = None,
) -> MmseCurve:
    """The curve of a picture, from log-SNR `lowest` up every `spacing` nat, until `enough` says so or the model
    ends.

    size: height and width of the picture that the latent is of [pixel]
    """
    sample = windows(latent, getattr(model, "window", SAMPLE))
    scale = latent.numel() / sample.numel()
    sample_errors = getattr(model, "sample_errors", None)
    noise = torch.randn(sample.shape, generator=torch.Generator("cpu").manual_seed(0), dtype=torch.float32)
    path: Tensor | None = getattr(model, "path", None)
    known = 1.0 if path is None else share_ahead(lowest - spacing, path)
    energy = float((latent.double().square() * known).sum()) + 1e-6
    curve = MmseCurve(latent.numel(), energy, [], [], getattr(model, "wiener", None))
    level = lowest
    while level <= HIGHEST + spacing:
        sigma = math.exp(-level / 2)
        precision = precision_at(level, path)
        spread = sigma if not isinstance(precision, Tensor) else precision.clamp(min=1e-30).rsqrt()
        seen = (sample + spread * noise) * (1.0 if not isinstance(precision, Tensor) else precision > 0)
        share: float | Tensor = 1.0 if path is None else share_ahead(level, path)
        clean = torch.cat([model.predict(one[None], sigma) for one in seen])
        curve.levels.append(level)
        curve.errors.append(float(((clean - sample).double().square() * share).sum()) * scale + 1e-6)
        if sample_errors:
            whole = size if len(sample) == 1 else None
            parts = zip(torch.split(sample, 1), torch.split(clean, 1))
            curve.sample_errors.append(sum(sample_errors(*part, whole)[0] for part in parts) / len(sample))
        if enough(curve):
            break
        level += spacing
    return curve


Capacity = Callable[[int, int], float]  # (bits, dimensions) of a step -> KL [bit] that a coder delivers with them


def ideal_levels(curve: MmseCurve, bits: tuple[int, ...], capacity: Capacity) -> list[float]:
    """Log-SNR that each step reaches if its bits deliver what the coder promises and the next prediction is stale until
    then.
    """
    precision, levels = 0.0, []
    for granted in bits:
        error = curve.error(math.log(precision)) if precision else curve.energy
        precision += 2 * math.log(2) * KL_OVERGRANT * capacity(granted, curve.dimensions) / error
        levels.append(math.log(precision) if precision else -math.inf)
    return levels


def fit(levels: list[float], bits: tuple[int, ...]) -> dict[str, int]:
    """The integers of the law (§4.2.1) nearest to the levels, each weighted by its bits."""
    steps = len(levels)
    some = [k for k in range(steps) if levels[k] > -math.inf]
    u = np.log((np.array(some) + 1) / steps)
    weight = np.sqrt(np.array([bits[k] + 1.0 for k in some]))
    wanted = np.array([levels[k] for k in some])
    for terms in (3, 2, 1):
        basis = np.stack([np.ones_like(u), u, u * u][:terms], axis=1)
        found, *_ = np.linalg.lstsq(basis * weight[:, None], wanted * weight, rcond=None)
        end, slope, bend = (*found, *[2.0, 0.0][terms - 1 :])[:3] if terms < 3 else found
        law = dict(
            steps=steps, end=round(end * LAW_LEVEL), slope=max(1, round(slope * LAW_SLOPE)), bend=round(bend * LAW_BEND)
        )
        fits = all(LAW_RANGES[name][0] <= value <= LAW_RANGES[name][1] for name, value in law.items())
        if fits and (np.diff(law_levels(**law)) > 0).all() and law_levels(**law)[0] > -15:
            break
    return law


def step_count(bits: int, dimensions: int | None = None) -> int:
    """How many steps pay for a payload of so many bits: docs/experiments.md, "steps".

    dimensions  D, for which the last step of a large payload must not have too many bits; None: so many that it has not
    """
    most = 2 * FULLEST * bits / dimensions if dimensions else 0
    return min(255, max(1, math.ceil(most), min(20, round(1.9 * math.log(max(bits, 1)) - 2))))


def overgrant(curve: MmseCurve, levels: tuple[float, ...], bits: tuple[int, ...], capacity: Capacity) -> float:
    """KL that a schedule's worst step costs by the curve, over what its bits are planned to: 1 if a law fits well."""
    precision, worst = 0.0, 0.0
    for level, granted in zip(levels, bits):
        error = curve.error(math.log(precision)) if precision else curve.energy
        kl = (math.exp(level) - precision) * error / (2 * math.log(2))
        worst = max(worst, (kl - SMALL_KL) / (KL_OVERGRANT * capacity(granted, curve.dimensions) + 1e-9))
        precision = math.exp(level)
    return worst


def bits_for_level(curve: MmseCurve, level: float, capacity: Capacity, limit: int) -> int:
    """Payload bits with which the last step reaches a log-SNR, at most `limit`."""
    low, high = 1, max(1, limit)
    while low < high:
        middle = (low + high) // 2
        steps = step_count(middle, curve.dimensions)
        if ideal_levels(curve, law_bits(steps, middle), capacity)[-1] < level:
            low = middle + 1
        else:
            high = middle
    return low


def table_up_to(entry: dict[str, Any], level: float) -> tuple[float, ...]:
    """Levels [nat] of the steps of a registered schedule that end at or below `level`; at least one."""
    levels = [x / REGISTERED_LEVEL for x in entry["levels"]]
    return tuple(levels[: max(1, sum(x <= level for x in levels))])


def table_gain(curve: MmseCurve, levels: tuple[float, ...], bits: tuple[int, ...], capacity: Capacity) -> float:
    """What a registered table's bits must be multiplied by for this picture, over the steps up to `levels[-1]`."""
    precision, needed, delivered = 0.0, 0.0, 0.0
    for level, granted in zip(levels, bits):
        delivered += KL_OVERGRANT * capacity(granted, curve.dimensions)
        error = curve.error(math.log(precision)) if precision else curve.energy
        needed += (math.exp(level) - precision) * error / (2 * math.log(2))
        precision = math.exp(level)
    return needed / max(1.0, delivered)
