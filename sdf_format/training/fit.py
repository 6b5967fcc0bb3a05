"""Train the embedded model: `python -m sdf_format.training.fit --data DIR --run DIR`, or `--shards FILE...` in place of
`--data`.

Everything lives on the device, a CPU or a GPU: pictures, crops, noise, averages, validation. The loss is the squared
error of the posterior mean over the Wiener filter's at the same noise level, which is also the share of its bits
(I-MMSE). A run that was stopped goes on from its last checkpoint, when started with the same arguments, as if it had
not been.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdf_format.models import dct
from sdf_format.models.gated_net import LEVELS, GatedBlock, GatedNet
from sdf_format.training import checkpoints
from sdf_format.training.drawings import drawing
from sdf_format.training.pictures import Pictures, latents, load_photographs, scaled

VALIDATION = 48  # photographs held out, spread evenly over the folder
DRAWN_HELD = 16  # made-up pictures held out
HELD_SIDE = 256  # pixels a side of what is held out
DRAWN = 1 / 8  # share of made-up pictures: text, flat shapes, user interfaces
MIDDLE, MIDDLE_SHARE = (-1.5, 6.5), 0.75  # ln T that is drawn more often: docs/experiments.md, "noise range"
ADAM_SHARE = 0.4  # learning rate of AdamW's parameters over that of Muon's matrices
RATES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # bits per pixel that the report names


def statistics(images: list[Image.Image], matrix: Tensor) -> Tensor:
    """(192,) second moment of every DCT channel, from the 256x256 centres of photographs."""
    total = torch.zeros(dct.CHANNELS, dtype=torch.float64, device=matrix.device)
    for image in images:
        total += latents(stacked([centre(image, 256)]).to(matrix.device), matrix).double().square().mean(dim=(0, 1, 2))
    return (total / len(images)).float()


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16."""
    return torch.autocast(device.type, torch.bfloat16)


def seeded(seed: int, device: torch.device) -> torch.Generator:
    """Random numbers of a device."""
    return torch.Generator(device).manual_seed(seed)


def stacked(images: Iterable[Image.Image]) -> Tensor:
    """(N, H, W, 3) uint8 from images of one size."""
    return torch.from_numpy(np.stack([np.array(image) for image in images]))


def centre(image: Image.Image, size: int) -> Image.Image:
    """A square of `size` pixels from the middle of a photograph."""
    left, top = (extent // 2 - size // 2 for extent in image.size)
    return image.crop((left, top, left + size, top + size))


def draw_levels(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count,) ln T, stratified; MIDDLE_SHARE of them in MIDDLE, the rest over the whole range."""
    u = (torch.arange(count, device=device) + torch.rand(1, generator=generator, device=device)) / count
    low, high = LEVELS
    inner = MIDDLE[0] + (MIDDLE[1] - MIDDLE[0]) * u / MIDDLE_SHARE
    outer = low + (high - low) * (u - MIDDLE_SHARE) / (1 - MIDDLE_SHARE)
    return torch.where(u < MIDDLE_SHARE, inner, outer)


def observed(net: GatedNet, clean: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """What was seen of a latent (B, h, w, 192) at ln T (B,): t clean + sqrt(t) normal."""
    t = net.precision(level)[:, None, None, :]
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    return t * clean + t.sqrt() * noise


def relative_error(net: GatedNet, clean: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """(B,) squared error of the prediction over the Wiener filter's expected one."""
    wiener = (net.variance / (net.variance * net.precision(level) + 1)).sum(dim=1)
    error = (net(observed(net, clean, level, generator), level) - clean).square().mean(dim=(1, 2)).sum(dim=1)
    return error / wiener


@torch.no_grad()
def validate(net: GatedNet, pixels: Tensor, matrix: Tensor, spacing: float = 1.0) -> dict[str, Any]:
    """Ideal bits and RGB PSNR of the posterior mean over held-out pictures (N, H, W, 3), by level, and PSNR at RATES.

    Bits are the integral of the error over the precision (Guo, Shamai and Verdu 2005), in steps of `spacing` nat, each
    with the prediction at its end.
    """
    device = pixels.device
    generator = seeded(1, device)
    levels = np.arange(LEVELS[0], LEVELS[1] + 1e-9, spacing)
    before = torch.zeros(dct.CHANNELS, device=device)
    spent, bpp, psnr, relative = 0.0, [], [], []
    for value in levels:
        level = torch.full((1,), float(value), device=device)
        error = torch.zeros(dct.CHANNELS, device=device)
        for part in pixels.split(8):
            clean = latents(part, matrix)
            own = level.expand(len(clean))
            with autocast(device):
                estimate = net(observed(net, clean, own, generator), own)
            error += (estimate - clean).square().sum(dim=(0, 1, 2))
        error /= len(pixels) * clean.shape[1] * clean.shape[2]
        t = net.precision(level)[0]
        spent += ((t - before) * error).sum().item() / 2 / math.log(2) / dct.BLOCK**2
        before = t
        bpp.append(round(spent, 5))
        psnr.append(round(10 * math.log10(4 / error.mean().item()), 3))
        relative.append(round((error.sum() / (net.variance / (net.variance * t + 1)).sum()).item(), 4))
    at = [round(float(np.interp(math.log(rate), np.log(np.maximum(bpp, 1e-9)), psnr)), 2) for rate in RATES]
    return {
        "at": dict(zip(map(str, RATES), at)),
        "level": [round(float(v), 3) for v in levels],
        "bpp": bpp,
        "psnr": psnr,
        "relative": relative,
    }


def optimisers(net: GatedNet, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for everything else."""
    inner = [
        p
        for name, p in net.named_parameters()
        if p.ndim == 2 and name.startswith(("blocks", "down", "up")) and "film" not in name
    ]
    known = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in known]
    made = [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate * ADAM_SHARE, betas=(0.9, 0.99), weight_decay=1e-3),
    ]
    for group in (g for optimiser in made for g in optimiser.param_groups):
        group["initial_lr"] = group["lr"]
    return made


def rate_at(step: int, progress: float, cooldown: float) -> float:
    """Share of the full learning rate: a rise over 100 steps, constant, then a straight fall over the last part of the
    run.
    """
    return min(1.0, (step + 1) / 100) * min(1.0, max(0.0, (1 - progress) / cooldown) if cooldown else 1.0)


class Run:
    """A network in training, all its state on one device."""

    def __init__(self, args: argparse.Namespace, images: list[Image.Image]):
        self.args, self.device = args, torch.device(args.device)
        self.matrix = dct.matrix().to(self.device)
        torch.manual_seed(args.seed)
        held = images[:: max(1, len(images) // VALIDATION)][:VALIDATION]
        self.held = stacked(i.crop((0, 0, HELD_SIDE, HELD_SIDE)) for i in held).to(self.device)
        own = [i for i in images if not any(i is h for h in held)] or held
        rng = np.random.default_rng(args.seed)
        self.drawn_held = stacked(drawing(rng, HELD_SIDE) for _ in range(DRAWN_HELD)).to(self.device)
        self.photographs = Pictures(scaled(own, args.crop), self.device)
        self.drawings = Pictures((drawing(rng) for _ in range(args.drawings)), self.device) if args.drawings else None
        self.net = GatedNet(args.widths, args.depths, args.kernels, args.kappa).to(self.device)
        self.net.variance.copy_(statistics(own[::8], self.matrix))
        if args.compile:  # block by block: blocks of one shape share their code
            torch._dynamo.config.recompile_limit = 64
            for block in (m for m in self.net.modules() if isinstance(m, GatedBlock)):
                block.compile(dynamic=False)
        self.optimisers = optimisers(self.net, args.rate)
        self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.step, self.elapsed, self.average = 0, 0.0, 0.0
        if args.start and not checkpoints.exists(args.run):
            from safetensors.torch import load_file

            started = {k: v.float() for k, v in load_file(args.start).items()}
            self.net.load_state_dict(started)
            self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}

    def batch(self, generator: torch.Generator) -> Tensor:
        """(batch, h, w, 192) clean latents: photographs, and DRAWN of them made up."""
        args = self.args
        drawn = round(args.batch * DRAWN) if self.drawings else 0
        crops = [self.photographs.crops(args.batch - drawn, args.crop, generator)]
        if drawn and self.drawings:
            crops.append(self.drawings.crops(drawn, args.crop, generator))
        clean = latents(torch.cat(crops), self.matrix)
        order = torch.randperm(args.batch, generator=generator, device=self.device)
        return clean[order]  # levels are stratified in order

    def advance(self, progress: float) -> Tensor:
        """One step; the batch's loss, still on the device."""
        args = self.args
        share = rate_at(self.step, progress, args.cooldown)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * share
        # From the step's number alone, so that a run that was stopped goes on as it would have.
        generator = seeded(args.seed * 1_000_003 + self.step, self.device)
        clean = self.batch(generator)
        level = draw_levels(len(clean), generator, self.device)
        self.net.train()
        with autocast(self.device):
            loss = relative_error(self.net, clean, level, generator).mean()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        decay = min(0.999, 1 - 10 / (self.step + 10))
        with torch.no_grad():
            own = self.net.state_dict()
            torch._foreach_lerp_(list(self.ema.values()), [own[k] for k in self.ema], 1 - decay)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "ema": self.ema,
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "elapsed": self.elapsed,
            "average": self.average,
        }

    def resume(self) -> None:
        """From the run's checkpoint, if there is one."""
        if not checkpoints.exists(self.args.run):
            return
        state = checkpoints.load(self.args.run, self.device)
        self.net.load_state_dict(state["net"])
        self.ema = state["ema"]
        for optimiser, own in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(own)
        self.step, self.elapsed, self.average = state["step"], state["elapsed"], state["average"]

    def save(self) -> dict[str, Any]:
        """Checkpoint, exported weights, and a line of the log: bits and PSNR of held-out photographs and drawings."""
        checkpoints.save(self.state(), self.args.run)
        checkpoints.export(self.ema, self.args.run / "weights.safetensors")
        trial = GatedNet(self.args.widths, self.args.depths, self.args.kernels, self.args.kappa).to(self.device)
        trial.load_state_dict(self.ema)
        trial.eval()
        row = {
            "step": self.step,
            "minutes": round(self.elapsed / 60, 1),
            "loss": round(self.average, 4),
            "drawings": validate(trial, self.drawn_held, self.matrix)["at"],
            **validate(trial, self.held, self.matrix),
        }
        with (self.args.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        print(json.dumps({k: row[k] for k in ("step", "minutes", "loss", "at", "drawings")}), flush=True)
        return row

    def train(self) -> None:
        """Until the planned minutes or steps are over."""
        args = self.args
        saved, clock = self.elapsed, time.monotonic()
        losses: list[Tensor] = []
        first = args.compile
        while (self.step < args.steps) if args.steps else (self.elapsed < args.minutes * 60):
            progress = self.step / args.steps if args.steps else self.elapsed / (args.minutes * 60)
            losses.append(self.advance(progress))
            if len(losses) == 20 or self.device.type == "cpu":  # a device is waited for now and then only
                mean = torch.stack(losses).mean().item()
                self.average += (mean - self.average) * (min(1.0, 0.01 * len(losses)) if self.step > 100 else 1.0)
                losses = []
            now = time.monotonic()
            if first:  # the compiler's time is not the run's
                first, clock = False, now
            self.elapsed, clock = self.elapsed + now - clock, now
            if self.elapsed - saved > args.save_minutes * 60:
                self.save()
                clock = time.monotonic()
                saved = self.elapsed
        self.save()


def parser() -> argparse.ArgumentParser:
    """The arguments of a run."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of photographs")
    source.add_argument("--shards", type=Path, nargs="+", help="files that sdf_format.training.shards made")
    made.add_argument(
        "--run", type=Path, required=True, help="folder for the checkpoint, the log and the exported weights"
    )
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument(
        "--minutes", type=float, default=120, help="planned length; the learning rate falls to zero at its end"
    )
    made.add_argument(
        "--steps",
        type=int,
        help="planned length in steps instead: the run then depends on data, seed and arithmetic alone",
    )
    made.add_argument(
        "--cooldown", type=float, default=0.25, help="share of the run over which the learning rate falls"
    )
    made.add_argument("--start", type=Path, help="weights (safetensors) that a new run starts from")
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--crop", type=int, default=192, help="pixels, a multiple of 32")
    made.add_argument("--rate", type=float, default=4e-3, help="of the matrices that Muon trains")
    made.add_argument("--drawings", type=int, default=2500, help="made-up pictures, drawn before the run; 0 for none")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--save-minutes", type=float, default=2)
    made.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=torch.cuda.is_available(),
        help="torch.compile: worth it on every device, but needs a C++ compiler on a CPU",
    )
    made.add_argument("--widths", type=int, nargs=3, default=(192, 256, 384))
    made.add_argument("--depths", type=int, nargs=5, default=(2, 2, 4, 2, 3))
    made.add_argument("--kernels", type=int, nargs=3, default=(3, 5, 5))
    made.add_argument("--kappa", type=float, default=0.3, help="of the path that leaves weak channels alone")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or go on with training."""
    args = parser().parse_args(arguments)
    args.run.mkdir(parents=True, exist_ok=True)
    plain = {
        k: v for k, v in vars(args).items() if not isinstance(v, (Path, list)) or k in ("widths", "depths", "kernels")
    }
    (args.run / "arguments.json").write_text(json.dumps(plain) + "\n")
    run = Run(args, load_photographs(args.data, args.shards or ()))
    run.resume()
    run.train()


if __name__ == "__main__":
    main()
