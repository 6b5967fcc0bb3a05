"""Pipelines of diffusers behind the model interface (§4.4): U-Nets, Flux, Stable Diffusion 3.5, Z-Image.

A network's own answer (noise, v, velocity) becomes the posterior mean of the clean latent here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sdf_format.checkpoint import REFINER, Checkpoint, Settings
from sdf_format.errors import BadInput
from sdf_format.models import autoencoder, laws, prompts, tiles
from sdf_format.models.prompts import AESTHETIC, REFINING, Condition

REFINER_SHARE = 0.2         # of the timesteps, the cleanest, belong to SDXL's refiner
GUIDED_BY_INPUT = "guidance_embeds"
Forward = Callable[[torch.nn.Module, Tensor, float, Condition, float], Tensor]


def unet(net: torch.nn.Module, z: Tensor, time: float, condition: Condition, guidance: float) -> Tensor:
    """z (1, C, h, w) and a timestep to noise or v."""
    condition = dict(condition)
    if added := condition.get("added_cond_kwargs"):
        side = [8.0 * z.shape[2], 8.0 * z.shape[3]]
        numbers = [*side, 0.0, 0.0, AESTHETIC] if condition.pop(REFINER, False) else [*side, 0.0, 0.0, *side]
        condition["added_cond_kwargs"] = dict(added, time_ids=torch.tensor([numbers], device=z.device, dtype=z.dtype))
    return net(z, torch.tensor(time, device=z.device), return_dict=False, **condition)[0]


def flux(net: torch.nn.Module, w: Tensor, s: float, condition: Condition, guidance: float) -> Tensor:
    """w (1, C, h, w) to a velocity; the network sees 2x2 positions as one token."""
    _, channels, height, width = w.shape
    tokens = w.view(channels, height // 2, 2, width // 2, 2).permute(1, 3, 0, 2, 4).reshape(1, height * width // 4, 4 * channels)
    ids = torch.zeros(height // 2, width // 2, 3, device=w.device, dtype=w.dtype)
    ids[..., 1] = torch.arange(height // 2, device=w.device)[:, None]
    ids[..., 2] = torch.arange(width // 2, device=w.device)
    scale = torch.full((1,), guidance, device=w.device) if net.config.guidance_embeds else None
    out = net(hidden_states=tokens, timestep=torch.full((1,), s, device=w.device, dtype=w.dtype), guidance=scale,
              img_ids=ids.reshape(-1, 3), return_dict=False, **condition)[0]
    return out.view(height // 2, width // 2, channels, 2, 2).permute(2, 0, 3, 1, 4).reshape(w.shape)


def stable3(net: torch.nn.Module, w: Tensor, s: float, condition: Condition, guidance: float) -> Tensor:
    return net(hidden_states=w, timestep=torch.full((1,), 1000 * s, device=w.device), return_dict=False, **condition)[0]


def z_image(net: torch.nn.Module, w: Tensor, s: float, condition: Condition, guidance: float) -> Tensor:
    """Its time runs from noise to picture, its velocity too."""
    out = net([w[0][:, None]], torch.full((1,), 1 - s, device=w.device, dtype=w.dtype), return_dict=False, **condition)[0]
    return -out[0].squeeze(1)[None]


ADAPTERS: dict[str, tuple[str, Forward]] = {            # class of pipeline -> class of network, its call
    "StableDiffusionPipeline": ("UNet2DConditionModel", unet),
    "StableDiffusionXLPipeline": ("UNet2DConditionModel", unet),
    REFINING: ("UNet2DConditionModel", unet),
    "FluxPipeline": ("FluxTransformer2DModel", flux),
    "StableDiffusion3Pipeline": ("SD3Transformer2DModel", stable3),
    "ZImagePipeline": ("ZImageTransformer2DModel", z_image),
}


def precision(device: torch.device) -> torch.dtype:
    """SDF_DTYPE, or bfloat16 on a GPU that has it, otherwise float16 there, and float32 on a CPU."""
    if name := os.environ.get("SDF_DTYPE"):
        if not isinstance(dtype := getattr(torch, name, None), torch.dtype):
            raise BadInput(f"SDF_DTYPE {name!r} is not a dtype of torch, such as float16")
        return dtype
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16


def prepared(net: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Speed and memory as the environment asks: SDF_OFFLOAD keeps layers on the CPU until needed, SDF_COMPILE compiles."""
    if os.environ.get("SDF_OFFLOAD", "") not in ("", "0") and device.type == "cuda":
        net.enable_group_offload(onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level", use_stream=True)
    else:
        net.to(device)
    if device.type == "cuda":
        net.to(memory_format=torch.channels_last)
    if os.environ.get("SDF_COMPILE", "") not in ("", "0"):
        net.compile(mode="reduce-overhead" if device.type == "cuda" else "default")
    return net


def load(checkpoint: Checkpoint, device: str) -> Stable:
    """From a folder whose hash was compared."""
    settings = checkpoint.settings()
    where = torch.device(device)
    name, _ = ADAPTERS[settings.pipeline]
    parts = checkpoint.parts()
    component = "unet" if "unet" in parts else "transformer"

    def network(folder) -> torch.nn.Module:
        return prepared(autoencoder.load_component(name, folder, "cpu", precision(where), checkpoint.variant), where)

    refiner = network(parts[f"{REFINER}/unet"]) if checkpoint.refiner else None
    images = autoencoder.load(parts["vae"], device, checkpoint.variant)
    return Stable(checkpoint, settings, network(parts[component]), refiner, images, where)


class Stable:
    """A pipeline of diffusers.  `conditioned` binds a prompt; without it the prompt is empty."""

    def __init__(self, checkpoint: Checkpoint | None, settings: Settings, net: torch.nn.Module, refiner: torch.nn.Module | None,
                 images: autoencoder.Images, device: torch.device):
        self.checkpoint, self.settings, self.images = checkpoint, settings, images
        self.net, self.refiner = net, refiner
        self.latent_device = device
        self.law = laws.Timesteps(*settings.betas) if settings.betas else None
        self.forward = ADAPTERS[settings.pipeline][1]
        self._told: dict[tuple[str, bool], Condition] = {}

    def encode(self, pixels: np.ndarray) -> Tensor:
        return self.images.encode(pixels)

    def decode(self, latent: Tensor) -> np.ndarray:
        return self.images.decode(latent)

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        return self.predict_told(y, sigma, "", 1.0)

    def conditioned(self, prompt: str, guidance: float) -> Conditioned:
        """The model with a prompt.  guidance: 1 for the prompt as it stands, more to follow it more closely."""
        return Conditioned(self, prompt, guidance)

    def _condition(self, prompt: str, refiner: bool) -> Condition:
        if (prompt, refiner) not in self._told:
            net = self.refiner if refiner else self.net
            told = prompts.embed(self.checkpoint, self.settings.pipeline, net, prompt, refiner, self.latent_device)
            self._told[prompt, refiner] = told | ({REFINER: True} if refiner or self.settings.pipeline == REFINING else {})
        return self._told[prompt, refiner]

    @torch.inference_mode()
    def predict_told(self, y: Tensor, sigma: float, prompt: str, guidance: float) -> Tensor:
        """`predict` with a prompt and its guidance; tiles of large latents one by one."""
        refine = self.refiner is not None and self.law is not None and sigma < self.law.sigma(REFINER_SHARE * self.law.number)
        net = self.refiner if refine else self.net
        assert net is not None
        weighed = guidance != 1 and not getattr(net.config, GUIDED_BY_INPUT, False) and bool(prompt)
        wanted = self._condition(prompt, refine)
        free = self._condition("", refine) if weighed else None

        def part(own: Tensor) -> Tensor:
            clean = self._clean(net, own, sigma, wanted, guidance)
            return clean if free is None else torch.lerp(self._clean(net, own, sigma, free, guidance), clean, guidance)

        side, grid = self.settings.native // self.settings.cell, self.settings.multiple // self.settings.cell
        return tiles.blended(y.to(self.latent_device), side, grid, part).to(y.device)

    def _clean(self, net: torch.nn.Module, y: Tensor, sigma: float, condition: Condition, guidance: float) -> Tensor:
        """The network's answer as a posterior mean. Above the highest trained level y is taken for one at it: it is all noise."""
        if self.law is None:
            s = laws.flow_of_sigma(sigma)
            w = y / (1 + sigma)
            return laws.clean_of_velocity(w, self.forward(net, w.to(net.dtype), s, condition, guidance).float(), s)
        z = y / (1 + sigma * sigma) ** 0.5
        time = self.law.time(sigma)
        out = self.forward(net, z.to(net.dtype), time, condition, guidance).float()
        abar = laws.abar_of_sigma(min(sigma, self.law.sigma(self.law.number - 1)))
        if self.settings.prediction == "sample":
            return out
        return (laws.clean_of_v if self.settings.prediction == "v_prediction" else laws.clean_of_epsilon)(z, out, abar)


class Conditioned:
    """A `Stable` with a prompt and its guidance."""

    def __init__(self, model: Stable, prompt: str, guidance: float):
        self.model, self.prompt, self.guidance = model, prompt, guidance
        self.latent_device = model.latent_device
        self.encode, self.decode = model.encode, model.decode

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        return self.model.predict_told(y, sigma, self.prompt, self.guidance)
