"""The walk from nothing to a noisy image, and from there to a clean one (§7).

One noise coordinate: the precision t = exp(log-SNR). After precision t the receiver has seen t * clean + sqrt(t) *
normal, a sum to which every step adds; y = sum / t is the clean latent plus noise of standard deviation sigma = 1 /
sqrt(t). In this form the posterior of DiffC's algorithms 1 and 2 is plain addition, and t = 0, where nothing is known,
is no special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Predict = Callable[[Tensor, float], Tensor]
Channel = Callable[[int, Tensor, "float | Tensor"], Tensor]


def precision_at(level: float, path: Tensor | None) -> float | Tensor:
    """What has been seen of a latent at a level [nat]: exp(level); where a model has a path, so much less in each
    channel, but not less than 0.
    """
    return math.exp(level) if path is None else (math.exp(level) - path).clamp(min=0)


def mean_of(total: Tensor, precision: float | Tensor) -> Tensor:
    """Noisy latent y = sum / precision; 0 in channels of which nothing has been seen."""
    if isinstance(precision, Tensor):
        return torch.where(precision > 0, total / precision.clamp(min=1e-30), 0.0)
    return total / precision


def walk(
    shape: Sequence[int],
    levels: Sequence[float],
    predict: Predict,
    channel: Channel,
    device: torch.device | str = "cpu",
    path: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Carry a latent from no knowledge to the last level (§7.1); sender and receiver differ in their channel alone.

    levels   log-SNR at the end of each step, increasing                     [nat]
    predict  (y, sigma) -> posterior mean of the clean latent
    channel  (step, clean, gain) -> displacement in units of the step's standard deviation, like clean; its wanted
             mean is gain * (target - clean), and the step's KL half the square of that [nat]
    device   where the latent lives: predict's argument and, as its result, clean
    path     (1, C, 1, 1) precision that each channel lags behind; None: none does
    result   (y, sigma) at the last level
    """
    total = torch.zeros(tuple(shape), dtype=torch.float32, device=device)
    before: float | Tensor = 0.0
    for step, level in enumerate(levels):
        known = step > 0
        clean = predict(mean_of(total, before), math.exp(-levels[step - 1] / 2)) if known else torch.zeros_like(total)
        here = precision_at(level, path)
        rise = here - before
        gain = rise**0.5
        total = total + rise * clean + gain * channel(step, clean, gain)
        before = here
    return mean_of(total, before), math.exp(-levels[-1] / 2)


def flow(y: Tensor, sigma: float, steps: int, predict: Predict) -> Tensor:
    """Probability flow from sigma to 0 (§7.2; DiffC-F): DPM-Solver++(2M) in `steps` model calls, float32.

    The noise level falls as sigma ((steps - i) / steps)^2. One step is the posterior mean.
    """
    sigmas = [sigma * ((steps - i) / steps) ** 2 for i in range(steps + 1)]
    before, stride = None, 0.0
    for here, there in pairwise(sigmas):
        clean = predict(y, here)
        if there == 0:
            return clean
        ahead = math.log(here / there)
        slope = clean if before is None else clean + (clean - before) * (ahead / (2 * stride))
        y = slope + (there / here) * (y - slope)
        before, stride = clean, ahead
    raise ValueError("steps must be at least 1")


def ancestral(y: Tensor, sigma: float, steps: int, predict: Predict, draw: Callable[[int], Tensor]) -> Tensor:
    """Ancestral sampling from sigma to 0 (§7.2; DiffC-A), over the noise levels of `flow`.

    draw: step -> normals like y
    """
    sigmas = [sigma * ((steps - i) / steps) ** 2 for i in range(steps + 1)]
    for step, (here, there) in enumerate(pairwise(sigmas)):
        clean = predict(y, here)
        if there == 0:
            return clean
        kept = (there / here) ** 2
        y = clean + kept * (y - clean) + there * math.sqrt(1 - kept) * draw(step)
    raise ValueError("steps must be at least 1")


def dial(y: Tensor, sigma: float, steps: int, realism: float, predict: Predict) -> Tensor:
    """Between the posterior mean (realism 0, one model call) and the flow's end (realism 1): the straight line (§7.2).

    Among all estimators at a given distance from the distribution of clean latents, those of least squared error lie on
    the line from the posterior mean to the best sampler (Freirich, Michaeli and Meir 2021, theorem 3).
    """
    first: list[Tensor] = []

    def noted(z: Tensor, level: float) -> Tensor:
        clean = predict(z, level)
        if not first:
            first.append(clean)
        return clean

    end = flow(y, sigma, steps if realism else 1, noted)
    return end if realism in (0, 1) else first[0] + realism * (end - first[0])


def kl_bits(clean: Tensor, target: Tensor, gain: float) -> float:
    """Cost of one step [bit]: half the squared norm of gain * (target - clean), §7.1."""
    return float((target - clean).double().square().sum()) * gain * gain / (2 * math.log(2))
