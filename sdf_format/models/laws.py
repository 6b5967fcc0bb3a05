"""Noise laws of published models against the codec's one coordinate, sigma: y = clean + sigma * normal (§4.4).

Three spellings of the same thing, with equal signal-to-noise ratio at equal sigma:

    variance preserving (DDPM)   z = sqrt(abar) clean + sqrt(1 - abar) normal,   1 / abar - 1 = sigma^2
    rectified flow (OT flow)     w = (1 - s) clean + s normal,                   s / (1 - s) = sigma
    the codec                    y = clean + sigma normal

DiffC's appendix A.3 goes from flow to DDPM by the first two; here both go to the third.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sdf_format.models.checkpoint import ZERO_SNR

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", float, "Tensor")


def sigma_of_abar(abar: float) -> float:
    """Noise over signal of a variance-preserving level, 0 < abar <= 1."""
    return math.sqrt(1 / abar - 1)


def abar_of_sigma(sigma: float) -> float:
    """The inverse of `sigma_of_abar`."""
    return 1 / (1 + sigma * sigma)


def sigma_of_flow(s: float) -> float:
    """Noise over signal of a flow's time, 0 <= s < 1."""
    return s / (1 - s)


def flow_of_sigma(sigma: float) -> float:
    """The inverse of `sigma_of_flow`."""
    return sigma / (1 + sigma)


def ddpm_to_flow(z: T, abar: float) -> tuple[T, float]:
    """A variance-preserving sample as a flow's: (w, s) with the same clean, the same normal.  DiffC A.3"""
    total = math.sqrt(abar) + math.sqrt(1 - abar)
    return z / total, math.sqrt(1 - abar) / total


def flow_to_ddpm(w: T, s: float) -> tuple[T, float]:
    """The inverse: (z, abar)."""
    norm = math.sqrt((1 - s) ** 2 + s * s)
    return w / norm, ((1 - s) / norm) ** 2


def clean_of_epsilon(z: T, epsilon: T, abar: float) -> T:
    """What a prediction of the noise says of the clean latent."""
    return (z - math.sqrt(1 - abar) * epsilon) / math.sqrt(abar)


def clean_of_v(z: T, v: T, abar: float) -> T:
    """Of v = sqrt(abar) normal - sqrt(1 - abar) clean."""
    return math.sqrt(abar) * z - math.sqrt(1 - abar) * v


def clean_of_velocity(w: T, velocity: T, s: float) -> T:
    """Of velocity = normal - clean."""
    return w - s * velocity


class Timesteps:
    """A discrete variance-preserving schedule made continuous: the network takes the very level that its input has.

    Timestep t (from 0) is the level after t + 1 betas; between timesteps ln sigma is linear in t. Rescaled to zero
    terminal SNR (Lin et al. 2024), the roots of abar are shifted and scaled so that the first is what it was and the
    last is 0.
    """

    def __init__(self, schedule: str, first: float, last: float, number: int):
        plain = schedule.removesuffix(ZERO_SNR)
        if plain == "scaled_linear":
            betas = np.linspace(math.sqrt(first), math.sqrt(last), number) ** 2
        elif plain == "linear":
            betas = np.linspace(first, last, number)
        else:
            raise ValueError(f"beta schedule {schedule!r} is unknown; known: scaled_linear, linear")
        self.number = number
        self.abar = np.cumprod(1 - betas)
        if plain != schedule:
            root = np.sqrt(self.abar)
            self.abar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        with np.errstate(divide="ignore"):
            self.logs = 0.5 * np.log(1 / self.abar - 1)

    def time(self, sigma: float) -> float:
        """The timestep of a level, fractional, clamped to the trained range."""
        return float(np.interp(math.log(sigma), self.logs, np.arange(self.number)))

    def sigma(self, time: float) -> float:
        return math.exp(float(np.interp(time, np.arange(self.number), self.logs)))
