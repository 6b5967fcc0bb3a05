"""The gated network behind the model interface: block DCT, a path that leaves weak channels alone, tiles."""

from __future__ import annotations

import math

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from sdf_format.diffusion import fit
from sdf_format.models.gated_net import GatedNet
from sdf_format.models.tiny import Tiny


def load(data: bytes, device: str) -> Gated:
    """From the bytes of a safetensors file."""
    return Gated(load_safetensors(data), device)


class Gated(Tiny):
    """DCT coefficients of opponent colours as latent, unweighted.

    path  (1, 192, 1, 1): precision that each channel lags behind the first, kappa / v_c - kappa / v_0 (§7.1)
    """

    whole, tile, margin = 384 * 384, 320, 64  # positions; the margin is a multiple of the network's grid

    def prepare(self, state: dict[str, Tensor]) -> None:
        """The network in eval mode, its matrices in the dtype that it works in."""
        with torch.device("meta"):  # as in Tiny
            net = GatedNet()
        net.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
        self.net = net.for_use(self.dtype).to(self.device)
        self.weight = torch.ones(1, 1, 1, dtype=torch.float32)
        lag = net.kappa / net.variance
        self.onset = float(lag.min())
        self.path = (lag - self.onset)[None, :, None, None]

    def wiener(self, level: float) -> float:
        """Squared error of the Wiener filter at log-SNR `level` [nat], over the channels that a walk goes on with."""
        variance = self.net.variance.cpu()[None, :, None, None]
        precision = (math.exp(level) - self.path).clamp(min=0)
        return float((fit.share_ahead(level, self.path) * variance / (variance * precision + 1)).sum())

    @torch.inference_mode()
    def _predict(self, y: Tensor, sigma: float) -> Tensor:
        precision = (sigma**-2 - self.path).clamp(min=0)
        level = math.log(sigma**-2 + self.onset)
        total = (y.to(self.device) * precision).permute(0, 2, 3, 1).contiguous()
        clean: Tensor = self.net(total, torch.tensor([level], dtype=torch.float32, device=self.device))
        return clean.permute(0, 3, 1, 2).to(y.device)
