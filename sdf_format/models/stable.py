"""Pipelines of diffusers behind the model interface (§4.4): U-Nets, Flux, FLUX.2, Stable Diffusion 3.5, Z-Image.

A network's own answer (noise, v, velocity) becomes the posterior mean of the clean latent here and nowhere else.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdf_format.errors import BadInput, Unsupported
from sdf_format.models import autoencoder, laws, prompts, tiles
from sdf_format.models.checkpoint import REFINER, Checkpoint, Settings
from sdf_format.models.prompts import AESTHETIC, REFINING, Condition

REFINER_SHARE = 0.2  # of the timesteps, the cleanest, belong to SDXL's refiner
GUIDED_BY_INPUT = "guidance_embeds"
# a condition's mark: (pixels a cell, for a refiner) of a network conditioned on the picture's size
SIZED = "sized"
PROMPTS_KEPT = 64  # embeddings, 0.2 to 4 MB each
Forward = Callable[[torch.nn.Module, Tensor, Tensor, Condition, Tensor], Tensor]


def unet(net: torch.nn.Module, z: Tensor, times: Tensor, condition: Condition, guidance: Tensor) -> Tensor:
    """z (B, C, h, w) and timesteps (B,) to noise or v."""
    condition = dict(condition)
    if sized := condition.pop(SIZED, None):
        cell, refines = sized
        side = [float(cell * n) for n in z.shape[2:]]
        numbers = [*side, 0.0, 0.0, AESTHETIC] if refines else [*side, 0.0, 0.0, *side]
        condition["added_cond_kwargs"] = dict(
            condition["added_cond_kwargs"], time_ids=torch.tensor([numbers] * len(z), device=z.device, dtype=z.dtype)
        )
    return net(z, times, return_dict=False, **condition)[0]


def flux(net: torch.nn.Module, w: Tensor, times: Tensor, condition: Condition, guidance: Tensor) -> Tensor:
    """w (B, C, h, w) to velocities; the network sees 2x2 positions as one token."""
    number, channels, height, width = w.shape
    tokens = w.reshape(number, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    ids = torch.zeros(height // 2, width // 2, 3, device=w.device, dtype=w.dtype)
    ids[..., 1] = torch.arange(height // 2, device=w.device)[:, None]
    ids[..., 2] = torch.arange(width // 2, device=w.device)
    out = net(
        hidden_states=tokens.reshape(number, height * width // 4, 4 * channels),
        timestep=times.to(w.dtype),
        guidance=guidance if net.config.guidance_embeds else None,
        img_ids=ids.reshape(-1, 3),
        return_dict=False,
        **condition,
    )[0]
    return out.view(number, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(w.shape)


def flux2(net: torch.nn.Module, w: Tensor, times: Tensor, condition: Condition, guidance: Tensor) -> Tensor:
    """w (B, C, h, w) to velocities; every position is a token at (0, row, column, 0)."""
    height, width = w.shape[2:]
    ids = torch.zeros(1, height, width, 4, device=w.device, dtype=torch.long)
    ids[..., 1] = torch.arange(height, device=w.device)[:, None]
    ids[..., 2] = torch.arange(width, device=w.device)
    out = net(
        hidden_states=w.flatten(2).mT,
        timestep=times.to(w.dtype),
        guidance=guidance if net.config.guidance_embeds else None,
        img_ids=ids.flatten(1, 2),
        return_dict=False,
        **condition,
    )[0]
    return out.mT.reshape(w.shape)


def stable3(net: torch.nn.Module, w: Tensor, times: Tensor, condition: Condition, guidance: Tensor) -> Tensor:
    """w (B, C, h, w) to velocities."""
    return net(hidden_states=w, timestep=1000 * times, return_dict=False, **condition)[0]


def z_image(net: torch.nn.Module, w: Tensor, times: Tensor, condition: Condition, guidance: Tensor) -> Tensor:
    """Its time runs from noise to picture, its velocity too."""
    out = net(list(w[:, :, None]), (1 - times).to(w.dtype), return_dict=False, **condition)[0]
    return -torch.stack(list(out)).squeeze(2)


ADAPTERS: dict[str, tuple[str, Forward]] = {  # class of pipeline -> class of network, its call
    "StableDiffusionPipeline": ("UNet2DConditionModel", unet),
    "StableDiffusionXLPipeline": ("UNet2DConditionModel", unet),
    REFINING: ("UNet2DConditionModel", unet),
    "FluxPipeline": ("FluxTransformer2DModel", flux),
    "Flux2KleinPipeline": ("Flux2Transformer2DModel", flux2),
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


def asked(name: str) -> str:
    """What a variable of the environment says, "" for no."""
    value = os.environ.get(name, "")
    return "" if value == "0" else value


def prepared(net: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Speed and memory as the environment asks: SDF_OFFLOAD keeps layers in main memory until they are needed,
    SDF_COMPILE compiles.

    SDF_COMPILE=1 is inductor, on CUDA with its graphs unless layers come and go; another value is the name of a backend
    of torch.compile.
    """
    cuda = device.type == "cuda"
    offload, backend = asked("SDF_OFFLOAD"), asked("SDF_COMPILE")
    if offload:
        net.enable_group_offload(
            onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level", use_stream=cuda
        )
    elif net.device != device:
        net.to(device)
    if cuda:
        net.to(memory_format=torch.channels_last)
    if backend in ("", "1"):
        if backend:
            net.compile(mode="reduce-overhead" if cuda and not offload else "default")
    elif backend in torch.compiler.list_backends(exclude_tags=()):
        net.compile(backend=backend)
    else:
        raise BadInput(
            f"SDF_COMPILE {backend!r}: wanted 1, or a backend of torch.compile: "
            f"{', '.join(torch.compiler.list_backends())}"
        )
    return net


def inputs_at_once() -> int:
    """SDF_BATCH: tiles, or predictions with and without a prompt, that go through a network together; 1 unless set."""
    value = os.environ.get("SDF_BATCH") or "1"
    if not value.isdecimal() or int(value) < 1:
        raise BadInput(f"SDF_BATCH {value!r} is not a whole number from 1")
    return int(value)


def load(checkpoint: Checkpoint, device: str) -> Stable:
    """From a folder whose hash was compared."""
    settings = checkpoint.settings()
    where = torch.device(device)
    name, _ = ADAPTERS[settings.pipeline]
    parts = checkpoint.parts()
    component = "unet" if "unet" in parts else "transformer"

    def network(folder: Path) -> torch.nn.Module:
        return prepared(autoencoder.load_component(name, folder, "cpu", precision(where), checkpoint.variant), where)

    refiner = network(parts[f"{REFINER}/unet"]) if checkpoint.refiner else None
    images = autoencoder.load(parts["vae"], device, checkpoint.variant)
    return Stable(checkpoint, settings, network(parts[component]), refiner, images, where)


@dataclass(frozen=True)
class Request:
    """One input of a network: a tile, its noise level, and what the network is conditioned on."""

    y: Tensor
    sigma: float
    prompt: str
    guidance: float
    refines: bool


class Stable:
    """A pipeline of diffusers.  `conditioned` binds a prompt; without it the prompt is empty.

    checkpoint  None: there are no text encoders; tokens: how many of nothing condition networks then
    """

    prompt, guidance = "", 1.0
    tokens = prompts.TOKENS

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        settings: Settings,
        net: torch.nn.Module,
        refiner: torch.nn.Module | None,
        images: autoencoder.Images,
        device: torch.device,
    ):
        self.checkpoint, self.settings, self.images = checkpoint, settings, images
        self.net, self.refiner = net, refiner
        self.latent_device = device
        self.window = settings.native // settings.cell
        self.law = laws.Timesteps(*settings.betas) if settings.betas else None
        self.forward = ADAPTERS[settings.pipeline][1]
        self.at_once = inputs_at_once()
        self.most = 1 << 16  # inputs that the device's memory holds, as far as is known
        self._conditioned: dict[tuple[str, bool], Condition] = {}

    def encode(self, pixels: np.ndarray) -> Tensor:
        return self.images.encode(pixels)

    def decode(self, latent: Tensor) -> np.ndarray:
        return self.images.decode(latent)

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        return self.together([(self, y, sigma)])[0]

    def conditioned(self, prompt: str, guidance: float) -> Conditioned:
        """The model with a prompt.  guidance: 1 for the prompt as it stands, more to follow it more closely."""
        return Conditioned(self, prompt, guidance)

    @torch.inference_mode()
    def together(self, asked: Sequence[tuple[Stable | Conditioned, Tensor, float]]) -> list[Tensor]:
        """`predict` of this model, bound to prompts or not, for latents of several files; tiles of large ones like
        files.
        """
        side, grid = self.settings.native // self.settings.cell, self.settings.multiple // self.settings.cell
        cuts, requests = [], []
        for conditioned, y, sigma in asked:
            refines = (
                self.refiner is not None
                and self.law is not None
                and sigma < self.law.sigma(REFINER_SHARE * self.law.number)
            )
            weighed = (
                conditioned.guidance != 1
                and bool(conditioned.prompt)
                and not getattr(self._net(refines).config, GUIDED_BY_INPUT, False)
            )
            cuts.append((tiles.Tiling(*y.shape[2:], side, grid), conditioned.guidance if weighed else None))
            for part in cuts[-1][0].cut(y.to(self.latent_device)):
                requests.append(Request(part, sigma, conditioned.prompt, conditioned.guidance, refines))
                if weighed:
                    requests.append(Request(part, sigma, "", conditioned.guidance, refines))
        answers = iter(self._answered(requests, len(asked)))
        results = []
        for (_, y, _), (tiling, guidance) in zip(asked, cuts):
            parts = []
            for _ in tiling.areas():
                clean = next(answers)
                parts.append(clean if guidance is None else torch.lerp(next(answers), clean, guidance))
            results.append(tiling.blended(parts).to(y.device))
        return results

    def _net(self, refines: bool) -> torch.nn.Module:
        net = self.refiner if refines else self.net
        assert net is not None
        return net

    def _answered(self, requests: Sequence[Request], files: int) -> list[Tensor]:
        """The posterior means, in order; inputs of one network and size go through it together, as many as files or
        SDF_BATCH.
        """
        conditions = self._conditions(requests)
        groups = defaultdict(list)
        for place, request in enumerate(requests):
            groups[request.refines, request.y.shape].append(place)
        answers: dict[int, Tensor] = {}
        for places in groups.values():
            while places:
                some = places[: min(max(self.at_once, files), self.most)]
                try:
                    answers |= zip(some, self._clean([requests[i] for i in some], conditions))
                except torch.OutOfMemoryError as error:
                    if len(some) == 1:
                        raise Unsupported(
                            f"{self.settings.pipeline} does not fit into the memory of {self.latent_device}; "
                            "SDF_OFFLOAD=1 keeps "
                            f"its layers in main memory, SDF_DTYPE=float16 halves it: {str(error).splitlines()[0]}"
                        ) from error
                    self.most = len(some) // 2
                    continue
                del places[: len(some)]
        return [answers[i] for i in range(len(requests))]

    def _conditions(self, requests: Sequence[Request]) -> dict[tuple[str, bool], Condition]:
        """Conditions of the networks by prompt; text encoders are loaded once for all prompts that are new."""
        wanted = dict.fromkeys((q.prompt, q.refines) for q in requests)
        with prompts.one_at_a_time:
            for refines in (False, True):
                new = [key for key in wanted if key[1] == refines and key not in self._conditioned]
                if new:
                    embedded = prompts.embed(
                        self.checkpoint,
                        self.settings.pipeline,
                        self._net(refines),
                        [prompt for prompt, _ in new],
                        refines,
                        torch.device("cpu") if asked("SDF_OFFLOAD") else self.latent_device,
                        self.tokens,
                    )
                    sized = {SIZED: (self.settings.cell, refines or self.settings.pipeline == REFINING)}
                    self._conditioned |= {
                        key: prompts.to_device(c | sized if "added_cond_kwargs" in c else c, self.latent_device)
                        for key, c in zip(new, embedded)
                    }
            found = {key: self._conditioned[key] for key in wanted}
            for key in list(self._conditioned)[: max(0, len(self._conditioned) - PROMPTS_KEPT)]:
                del self._conditioned[key]
        return found

    def _clean(self, requests: Sequence[Request], conditions: dict[tuple[str, bool], Condition]) -> list[Tensor]:
        """A network's answers as posterior means.

        Above the highest trained level y is taken for one at it: it is all noise.
        """
        net = self._net(requests[0].refines)
        if self.law is None:
            times = [laws.flow_of_sigma(q.sigma) for q in requests]
            seen = [q.y / (1 + q.sigma) for q in requests]
        else:
            times = [self.law.time(q.sigma) for q in requests]
            seen = [q.y / (1 + q.sigma * q.sigma) ** 0.5 for q in requests]
        out = self.forward(
            net,
            torch.cat(seen).to(net.dtype),
            torch.tensor(times, dtype=torch.float32, device=self.latent_device),
            prompts.stacked([conditions[q.prompt, q.refines] for q in requests]),
            torch.tensor([q.guidance for q in requests], dtype=torch.float32, device=self.latent_device),
        ).float()
        return [self._meant(q, z, answer[None]) for q, z, answer in zip(requests, seen, out)]

    def _meant(self, request: Request, z: Tensor, out: Tensor) -> Tensor:
        """What one answer says of the clean latent."""
        if self.law is None:
            return laws.clean_of_velocity(z, out, laws.flow_of_sigma(request.sigma))
        if self.settings.prediction == "sample":
            return out.clone()  # CUDA graphs write their next answer over it
        abar = laws.abar_of_sigma(min(request.sigma, self.law.sigma(self.law.number - 1)))
        return (laws.clean_of_v if self.settings.prediction == "v_prediction" else laws.clean_of_epsilon)(z, out, abar)


class Conditioned:
    """A `Stable` with a prompt and its guidance."""

    def __init__(self, model: Stable, prompt: str, guidance: float):
        self.prompt, self.guidance = prompt, guidance
        self.latent_device, self.window = model.latent_device, model.window
        self.encode, self.decode, self.together = model.encode, model.decode, model.together

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        return self.together([(self, y, sigma)])[0]
