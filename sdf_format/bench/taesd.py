"""Encoders in the layout of TAESD (Ollin Boer Bohan, MIT), for the learned distance of `sdf bench rd --latents FILE`.

Plain convolutions, blocks of three with a residual connection, some with a pooled branch, three strides of 2. The file says
which layer is which: the keys are those of one `torch.nn.Sequential`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

POOL_GROUPS = 4


class Block(nn.Module):
    """Three convolutions beside the identity; before them, where `pooled`, a branch with a group norm over the whole picture."""

    def __init__(self, width: int, pooled: int):
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        self.pool = nn.Sequential(nn.Conv2d(width, pooled, 1, bias=False), nn.GroupNorm(POOL_GROUPS, pooled), nn.ReLU(),
                                  nn.Conv2d(pooled, width, 1, bias=False)) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return (self.conv(x) + x).relu()


def encoder(weights: Path) -> nn.Sequential:
    """(B, 3, H, W) in [0, 1] to (B, channels, H / 8, W / 8), float32 on the CPU.

    weights  safetensors, or a PyTorch file that holds nothing but tensors
    """
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    layers: list[nn.Module] = []
    while True:
        number = len(layers)
        if f"{number}.conv.0.weight" in state:
            pool = state.get(f"{number}.pool.0.weight")
            layers.append(Block(state[f"{number}.conv.0.weight"].shape[0], 0 if pool is None else pool.shape[0]))
        elif f"{number}.weight" in state:
            out, into, *_ = state[f"{number}.weight"].shape
            bias = f"{number}.bias" in state
            layers.append(nn.Conv2d(into, out, 3, padding=1, stride=1 if bias else 2, bias=bias))
        else:
            break
    net = nn.Sequential(*layers)
    net.load_state_dict(state)
    return net.float().eval().requires_grad_(False)
