"""Payload kind `diffc` (§5.2): a latent to bits and back, by reverse channel coding along the walk of §7.1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sdf_format.coding import noise
from sdf_format.coding.rcc import gpu, pfr, tree, trellis
from sdf_format.container.parameters import CODER_FIRST, PFR, REALISM, TREE, TRELLIS, Diffc
from sdf_format.diffusion import schedule, walk
from sdf_format.errors import Truncated
from sdf_format.limits import Budget
from sdf_format.models.loading import Model
from sdf_format.progress import Progress

ANCESTRAL_STREAM = 3  # §6.1.1
FEWEST_DRAFT = 6  # steps before which hardly anything can be recognised
MOST_DENOISING = 32  # steps, table 5.3: five bits
CODERS = {TRELLIS: trellis, PFR: pfr, TREE: tree}  # table 5.2: modules with send, receive and capacity


@dataclass(frozen=True)
class Step:
    """What one step of an encoding was granted and what it needed [bit]; delivered: by the displacement's mean
    shift.
    """

    bits: int
    kl: float
    delivered: float


def path_of(model: Model, device: torch.device) -> Tensor | None:
    """Precision that each channel lags behind on the walk, for a model that leaves weak channels alone (§7.1)."""
    path = getattr(model, "path", None)
    return None if path is None else path.to(device)


class Sender:
    """The sender's end of a walk: what it sent, and what every step needed.

    latent  (1, C, h, w) that the walk is to come to, where the model's latents live
    """

    def __init__(self, latent: Tensor, fields: Diffc, model: Model, effort: int = 0):
        """fields: coder and seed; effort: of the tree's sender."""
        self._coder, device = gpu.on_device(CODERS[fields.coder[0]], getattr(model, "latent_device", None))
        self._coder_bits = CODER_FIRST + fields.coder[1]
        self._seed = fields.seed
        self._send = partial(tree.send, effort=effort) if self._coder is tree else self._coder.send
        self.device = device
        self.latent = latent.to(device)
        self.sent: list[np.ndarray] = []
        self.account: list[Step] = []

    def __call__(self, step: int, granted: int, clean: Tensor, gain: float | Tensor) -> Tensor:
        """Spend the bits granted to a step on its shift, gain * (latent - clean); the displacement, like clean."""
        shift = (gain * (self.latent - clean)).flatten()
        bits = self._send(shift, granted, self._coder_bits, self._seed, step)
        z = self._coder.receive(bits, shift.numel(), self._coder_bits, self._seed, step)
        norm = float(shift.double().square().sum())
        along = float((shift.double() * z.double()).sum())
        self.account.append(
            Step(len(bits), norm / (2 * math.log(2)), along * abs(along) / max(norm, 1e-12) / (2 * math.log(2)))
        )
        self.sent.append(bits)
        return z.view_as(clean)

    def payload(self, length: int, steps: int | None = None) -> bytes:
        """The bits of the first so many steps, or of all, and zeros to a length [byte].  §6.2"""
        sent = self.sent[:steps]
        return np.packbits(np.concatenate([*sent, np.zeros(8 * length - sum(map(len, sent)), np.uint8)])).tobytes()


class Watch(Protocol):
    """Looks on while a payload is made; an exception from it ends that."""

    def before(self, step: int, granted: int, clean: Tensor, gain: float | Tensor) -> None:
        """A step is about to be sent: so many bits for the shift gain * (latent - clean)."""

    def after(self, y: Tensor, sigma: float) -> None:
        """All is sent: what the receiver has, and its noise."""


def encode(
    latent: Tensor,
    fields: Diffc,
    payload_bytes: int,
    model: Model,
    progress: Progress,
    effort: int = 0,
    watch: Watch | None = None,
) -> tuple[bytes, list[Step]]:
    """Fill a payload of exactly `payload_bytes` (§6.2).

    latent: (1, C, h, w); effort: of the tree's sender; result: payload and its steps' account.
    """
    plan = schedule.expand(fields.form, fields.schedule, 8 * payload_bytes, latent.shape[2] * latent.shape[3])
    schedule.check_dimensions(plan, latent.numel())
    send = Sender(latent, fields, model, effort)

    def sender(step: int, clean: Tensor, gain: float | Tensor) -> Tensor:
        progress(step, len(plan.bits))
        if watch:
            watch.before(step, plan.bits[step], clean, gain)
        return send(step, plan.bits[step], clean, gain)

    end = walk.walk(latent.shape, plan.levels, model.predict, sender, send.device, path_of(model, send.device))
    if watch:
        watch.after(*end)
    progress(len(plan.bits), len(plan.bits))
    return send.payload(payload_bytes), send.account


def decode(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: Diffc,
    denoiser: tuple[int, int],
    model: Model,
    progress: Progress,
    finisher: Model | None = None,
    realism: float | None = None,
    draft_speedup: int = 1,
) -> Tensor:
    """The latent of a payload, or of what is there of it.  Arguments: of `latents`"""
    (latent,) = latents(payload, declared, shape, fields, denoiser, model, progress, finisher, realism, draft_speedup)
    return latent


def latents(
    payload: bytes,
    declared: int,
    shape: tuple[int, ...],
    fields: Diffc,
    denoiser: tuple[int, int],
    model: Model,
    progress: Progress,
    finisher: Model | None = None,
    realism: float | None = None,
    draft_speedup: int = 1,
    number: int = 1,
) -> Iterator[Tensor]:
    """One walk and `number` ends of it, which differ in the noise that the ancestral denoiser draws.

    declared  length of the payload in the header [byte]: where bits lie follows from it even if some are missing
    denoiser  (id, steps), table 5.3; finisher: the model that it asks, if not the walk's
    realism   how far from the posterior mean towards the flow's end, 0..1, instead of what the denoiser says
    draft_speedup     the posterior mean after so few of the steps that it takes 1 / draft_speedup of the model calls,
             but after FEWEST_DRAFT if there are so many
    """
    plan = schedule.expand(fields.form, fields.schedule, 8 * declared, shape[2] * shape[3])
    dimensions = math.prod(shape)
    schedule.check_dimensions(plan, dimensions)
    ends = np.cumsum(plan.bits)
    whole = int(np.searchsorted(ends, 8 * len(payload), side="right"))  # steps that are there completely
    if whole == 0:
        raise Truncated(
            f"§6.2 the payload ends inside its first step ({len(payload)} bytes); there is no picture in it"
        )
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    if whole == len(ends):
        schedule.check_padding(plan, payload)
    coder, device = gpu.on_device(CODERS[fields.coder[0]], getattr(model, "latent_device", None))
    coder_bits = CODER_FIRST + fields.coder[1]
    share = REALISM.get(denoiser[0]) if realism is None else realism  # None: ancestral, not on that line
    denoising = 1 if share == 0 else denoiser[1]
    if draft_speedup > 1:
        if isinstance(progress, Budget):  # a draft is no way around what the whole picture would cost
            progress.afford(whole + denoising)
        # The first step calls no model, so n steps and the posterior mean are n calls.
        fewer = max(FEWEST_DRAFT, (whole - 1 + denoising) // draft_speedup)
        whole, share, denoising = min(whole, fewer), 0.0, 1
    calls = whole + number * denoising

    progress(0, calls)  # before anything is allocated: the caller may refuse

    def receiver(step: int, clean: Tensor, gain: float | Tensor) -> Tensor:
        if step:
            progress(step, calls)
        own = bits[ends[step] - plan.bits[step] : ends[step]]
        return coder.receive(own, dimensions, coder_bits, fields.seed, step).view_as(clean)

    y, sigma = walk.walk(shape, plan.levels[:whole], model.predict, receiver, device, path_of(model, device))
    done = iter(range(whole, calls + 1))

    def counted(z: Tensor, level: float) -> Tensor:
        progress(next(done), calls)
        return (finisher or model).predict(z, level)

    def draw(step: int) -> Tensor:
        drawn = (
            noise.normals(fields.seed, step + sample * MOST_DENOISING, ANCESTRAL_STREAM, dimensions).astype(np.float32)
            / noise.NORMAL_ONE
        )
        return torch.from_numpy(drawn).view(shape).to(device)

    for sample in range(number):
        if share is None:
            latent = walk.ancestral(y, sigma, denoiser[1], counted, draw)
        else:
            latent = walk.dial(y, sigma, denoising, share, counted)
        if sample == number - 1:
            progress(calls, calls)
        yield latent.cpu()
