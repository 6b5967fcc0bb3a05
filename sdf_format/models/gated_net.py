"""The network of `sdf-tiny-2`: three levels of gated depthwise blocks that correct a Wiener filter.

A block is NAFNet's (Chen et al. 2022, "Simple Baselines for Image Restoration") without its pooled attention, and with
the depthwise convolution on one half of the gate alone. Every normalisation is over the channels of one position, and
nothing is pooled over the picture: the output at a position depends on its receptive field alone, and tiles with a
margin of `margin` give exactly what the whole gives.

All feature maps here are (B, h, w, C): a 1x1 convolution is then one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 192
EMBEDDING = 64
LEVELS = (-5.0, 9.0)  # ln T that is trained on; outside it the conditioning stays at the nearer end


def channel_norm(x: Tensor) -> Tensor:
    """Unit mean square over the channels of each position."""
    if torch.is_grad_enabled():
        return functional.rms_norm(x, (x.shape[-1],), eps=1e-5)
    # Two passes over memory where PyTorch's own takes five on a CPU.
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return x * square.div_(x.shape[-1]).add_(1e-5).rsqrt_()


class Depthwise(nn.Module):
    """Depthwise convolution, zeros outside.  (B, h, w, C) to the same."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        bound = 1 / kernel
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels, _, kernel, _ = self.weight.shape
        if not self.training:
            y = functional.conv2d(
                x.permute(0, 3, 1, 2),
                self.weight.to(x.dtype),
                self.bias.to(x.dtype),
                padding=kernel // 2,
                groups=channels,
            )
            return y.permute(0, 2, 3, 1)
        # As shifted products: a compiler fuses them, forwards and backwards; the convolution's own backward pass is
        # slow.
        height, width = x.shape[1:3]
        around = kernel // 2
        padded = functional.pad(x, (0, 0, around, around, around, around))
        taps = self.weight.to(x.dtype).squeeze(1)
        total = self.bias.to(x.dtype).expand_as(x)
        for row in range(kernel):
            for column in range(kernel):
                total = torch.addcmul(
                    total, padded[:, row : row + height, column : column + width], taps[:, row, column]
                )
        return total


class GatedBlock(nn.Module):
    """x plus a gated mix of neighbours, then x plus a gated mix of channels; the noise level scales and shifts what
    enters each.
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.film = nn.Linear(EMBEDDING, 4 * channels)
        self.spread = nn.Linear(channels, 2 * channels)
        self.depthwise = Depthwise(channels, kernel)
        self.first = nn.Linear(channels, channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.second = nn.Linear(channels, channels)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=0.2 / math.sqrt(channels))
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.film.weight, std=0.02)
        nn.init.zeros_(self.film.bias)

    def at(self, condition: Tensor, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Matrix and offset of both gates and values for one noise level, with its scale and shift worked in."""
        scale, shift, scale2, shift2 = self.film(condition)[0].float().chunk(4)
        made = []
        for layer, factor, offset in ((self.spread, 1 + scale, shift), (self.widen, 1 + scale2, shift2)):
            matrices = (layer.weight * factor).to(dtype).chunk(2)
            offsets = torch.addmv(layer.bias, layer.weight, offset).to(dtype).chunk(2)
            made += list(zip(matrices, offsets, strict=True))
        return made

    def fast(self, x: Tensor, condition: Tensor) -> Tensor:
        """`forward` of one noise level: the same to rounding, in fewer passes over memory; x is overwritten."""
        dtype = self.first.weight.dtype
        gate, value, gate2, value2 = self.at(condition, dtype)
        u = channel_norm(x).to(dtype)
        mixed = self.depthwise(functional.linear(u, *value)).mul_(functional.linear(u, *gate))
        x += self.first(mixed)
        u = channel_norm(x).to(dtype)
        x += self.second(functional.linear(u, *value2).mul_(functional.linear(u, *gate2)))
        return x

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift, scale2, shift2 = self.film(level)[:, None, None, :].chunk(4, dim=-1)
        gate, value = self.spread(torch.addcmul(shift, channel_norm(x), 1 + scale)).chunk(2, dim=-1)
        x = x + self.first(gate * self.depthwise(value))
        gate, value = self.widen(torch.addcmul(shift2, channel_norm(x), 1 + scale2)).chunk(2, dim=-1)
        return x + self.second(gate * value)


def applied(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's output, computed in the dtype of its weights."""
    return cast("Tensor", layer(x.to(cast("Tensor", layer.weight).dtype)))


def fold(x: Tensor) -> Tensor:
    """(B, h, w, C) to (B, h / 2, w / 2, 4 C): the four positions of a square side by side, row by row."""
    batch, height, width, channels = x.shape
    squares = x.view(batch, height // 2, 2, width // 2, 2, channels)
    return squares.permute(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def unfold(x: Tensor) -> Tensor:
    """The other way."""
    batch, height, width, channels = x.shape
    squares = x.view(batch, height, width, 2, 2, channels // 4)
    return squares.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)


class GatedNet(nn.Module):
    """Posterior mean of the clean latent, given what was seen of it at precision t_c = max(0, T - kappa / v_c) in
    channel c.

    variance  (192,) second moment v_c of each DCT channel over the training photographs
    kappa     what leaves weak channels alone: a channel gets no bits until T exceeds kappa over its second moment
    widths    channels of the three levels, at 8, 16 and 32 pixels a position; depths: blocks before and after going
              down, and at the bottom
    """

    variance: Tensor
    frequencies: Tensor
    level: nn.Sequential
    GRID = 4  # positions: height and width are padded with zeros to multiples of it

    def __init__(
        self,
        widths: Sequence[int] = (192, 256, 384),
        depths: Sequence[int] = (2, 2, 4, 2, 3),
        kernels: Sequence[int] = (3, 5, 5),
        kappa: float = 0.3,
    ):
        super().__init__()
        outer, middle, inner = widths
        self.kappa = kappa
        self.register_buffer("variance", torch.ones(CHANNELS))
        steps = torch.arange(1, EMBEDDING // 2 + 1, dtype=torch.float32, device="cpu")
        self.register_buffer("frequencies", steps * (math.pi / 16), persistent=False)
        self.level = nn.Sequential(
            nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )
        self.enter = nn.Linear(CHANNELS, outer)
        self.down = nn.ModuleList([nn.Linear(4 * outer, middle), nn.Linear(4 * middle, inner)])
        self.up = nn.ModuleList([nn.Linear(inner, 4 * middle), nn.Linear(middle, 4 * outer)])
        at = (0, 1, 2, 1, 0)
        self.blocks = nn.ModuleList(
            nn.ModuleList(GatedBlock(widths[i], kernels[i]) for _ in range(depth))
            for i, depth in zip(at, depths, strict=True)
        )
        self.leave = nn.Linear(outer, CHANNELS)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def precision(self, level: Tensor) -> Tensor:
        """(B, 192) t_c at levels ln T (B,)."""
        return (level.exp()[:, None] - self.kappa / self.variance).clamp(min=0)

    def _run(self, number: int, x: Tensor, condition: Tensor) -> Tensor:
        for block in cast("Iterable[GatedBlock]", self.blocks[number]):
            x = block(x, condition) if self.training or len(x) > 1 else block.fast(x, condition)
        return x

    def correction(self, x: Tensor, level: Tensor) -> Tensor:
        """The network proper: from the Wiener estimate over the prior's standard deviation to a correction in units of
        the Wiener error.
        """
        angle = level.clamp(*LEVELS)[:, None] * self.frequencies
        condition = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
        height, width = x.shape[1:3]
        x = functional.pad(x, (0, 0, 0, -width % self.GRID, 0, -height % self.GRID))
        x = self._run(0, applied(self.enter, x).float(), condition)
        y = self._run(1, applied(self.down[0], fold(x)).float(), condition)
        z = self._run(2, applied(self.down[1], fold(y)).float(), condition)
        y = self._run(3, y + unfold(applied(self.up[0], z)), condition)
        x = self._run(4, x + unfold(applied(self.up[1], y)), condition)
        return applied(self.leave, channel_norm(x))[:, :height, :width]

    def for_use(self, dtype: torch.dtype) -> GatedNet:
        """Ready for single predictions: matrices in `dtype`, but for those that the noise level is worked into."""
        for block in (m for m in self.modules() if isinstance(m, GatedBlock)):
            for part in (block.depthwise, block.first, block.second):
                part.to(dtype)
        for whole in (self.enter, self.leave, self.down, self.up):
            whole.to(dtype)
        return self.eval().requires_grad_(False)

    def forward(self, total: Tensor, level: Tensor) -> Tensor:
        """total (B, h, w, 192) = t_c clean + sqrt(t_c) normal; level (B,) = ln T; result (B, h, w, 192) float32."""
        v = self.variance
        share = 1 / (v * self.precision(level) + 1)[:, None, None, :]
        f = self.correction(total * (v.sqrt() * share), level)
        return total * (v * share) + (v * share).sqrt() * f.float()
