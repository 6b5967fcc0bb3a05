"""What the kinds share that quantise a latent, palette and lowbit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Rung = TypeVar("Rung")
Attempt = TypeVar("Attempt")


def as_latent(cells: np.ndarray) -> Tensor:
    """(h, w, channels) to (1, channels, h, w) float32."""
    return torch.from_numpy(cells.astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def largest_that_fits(
    rungs: Sequence[Rung], least: Attempt, attempt: Callable[[Rung], Attempt], fits: Callable[[Attempt], bool]
) -> Attempt:
    """The attempt at the highest rung that fits, by bisection; rungs cost more and more.  least: that of the first"""
    low, high, best = 0, len(rungs), least  # a rung that fits, one that does not
    while high - low > 1:
        middle = (low + high) // 2
        tried = attempt(rungs[middle])
        if fits(tried):
            low, best = middle, tried
        else:
            high = middle
    return best
