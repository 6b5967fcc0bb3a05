"""Train the embedded model: `python -m sdf_format.training.fit --data DIR --run DIR`.

The loss is the number of bits that DiffC will spend, as a fraction of what a Wiener filter would spend at the same
noise level: squared error over sigma^2 (the I-MMSE rate), sigma uniform in log over the range that payloads cover. Stop
it at any time and start it again with the same arguments: it goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from sdf_format.models import dct
from sdf_format.models.tiny_net import SIGMA, TinyNet

VALIDATION = 48  # photographs held out, spread evenly over the folder
FLATTENING, CHROMA = 0.45, 0.75  # docs/experiments.md, "weights"


def load_photographs(folder: Path) -> list[Image.Image]:
    """Every photograph of the folder, decoded, RGB, sorted by name."""
    return [
        Image.open(f).convert("RGB")
        for f in sorted(folder.iterdir())
        if f.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
    ]


def to_pixels(images: list[Image.Image]) -> Tensor:
    """(B, 3, H, W) in [-1, 1] from images of one size."""
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


def random_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A square of `size` pixels, half the time from up to 2.2 times as much picture, flipped at random."""
    zoom = 1.0 if rng.random() < 0.5 else rng.uniform(1.0, 2.2)
    side = min(round(size * zoom), *image.size)
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
    crop = image.crop((left, top, left + side, top + side))
    if side != size:
        crop = crop.resize((size, size), Image.Resampling.LANCZOS)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def statistics(images: list[Image.Image]) -> tuple[Tensor, Tensor]:
    """(variance, weight) of the 192 channels, from 256x256 centres.

    The weight falls with frequency as the standard deviation to the power FLATTENING: isotropic noise then comes nearer
    to reverse water-filling. The means of blocks are predictable from their neighbours, so they weigh as the first
    frequencies do.
    """
    total = torch.zeros(dct.CHANNELS, dtype=torch.float64)
    for image in images:
        left, top = (extent // 2 - 128 for extent in image.size)
        c = dct.forward(to_pixels([image.crop((left, top, left + 256, top + 256))]))
        total += c.double().square().mean(dim=(0, 2, 3))
    moment = total / len(images)
    spread = moment.view(3, -1).clone()
    spread[:, 0] = 1.5 * spread[:, 1]
    weight = (spread / spread[0, 1]) ** (FLATTENING / 2)
    weight[1:] *= CHROMA
    return (moment * weight.flatten() ** 2).float(), weight.flatten().float()


def relative_bits(net: TinyNet, clean: Tensor, sigma: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(B,) bits spent at sigma over the Wiener filter's expected bits there."""
    y = clean + sigma * torch.randn(clean.shape, generator=generator)
    share = net.variance / (net.variance + sigma.view(-1, 1) ** 2)
    error = (net(y, sigma) - clean).square().mean(dim=(2, 3)).sum(dim=1) / sigma.view(-1) ** 2
    return error / share.sum(dim=1)


@torch.no_grad()
def validate(net: TinyNet, clean: Tensor, levels: int = 14) -> dict[str, list[float]]:
    """Bits per pixel (integral of mmse, Guo-Shamai-Verdu) and RGB PSNR of the posterior mean, by noise level."""
    sigmas = torch.exp(torch.linspace(math.log(SIGMA[1]), math.log(SIGMA[0]), levels))
    generator = torch.Generator().manual_seed(1)
    bpp, psnr, relative, spent, before = [], [], [], 0.0, 0.0
    for s in sigmas:
        y = clean + s * torch.randn(clean.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = net(y, s.expand(len(y), 1, 1, 1))
        error = estimate - clean
        mse = error.square().sum(dim=1).mean().item()  # per position, weighted
        precision = 1 / s.item() ** 2
        spent += (precision - before) * mse / 2 / math.log(2)  # as if the step were sent with this estimate
        before = precision
        pixel = (error / net.weight[:, None, None]).square().mean().item()
        bpp.append(round(spent / 64, 5))
        psnr.append(round(10 * math.log10(4 / pixel), 3))
        share = net.variance / (net.variance + s**2)
        relative.append(round(mse * precision / share.sum().item(), 4))
    return {"sigma": [round(s.item(), 4) for s in sigmas], "bpp": bpp, "psnr": psnr, "relative": relative}


def export(state: dict[str, Tensor], path: Path) -> None:
    """bfloat16 weights, float32 statistics, in one safetensors file."""
    keep = ("variance", "weight")
    save_file({k: v.float().contiguous() if k in keep else v.bfloat16().contiguous() for k, v in state.items()}, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m sdf_format.training.fit`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints, logs and the exported weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--minutes", type=float, default=120, help="planned length; the learning rate falls to zero over it"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="planned length in steps instead: the run then depends on nothing but data, seed and arithmetic",
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=128, help="pixels, a multiple of 16")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=3)
    args = parser.parse_args(arguments)
    args.run.mkdir(parents=True, exist_ok=True)
    arguments = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
    (args.run / "arguments.json").write_text(json.dumps(arguments) + "\n")

    checkpoint = args.run / "checkpoint.pt"
    torch.manual_seed(args.seed)
    images = load_photographs(args.data)
    held = images[:: max(1, len(images) // VALIDATION)][:VALIDATION]
    images = [i for i in images if not any(i is h for h in held)]
    net = TinyNet().to(args.device, memory_format=torch.channels_last)
    net.variance, net.weight = (x.to(args.device) for x in statistics(images[::8]))
    weights = net.weight[:, None, None]
    check = dct.forward(to_pixels([i.crop((0, 0, 256, 256)) for i in held])) * weights.cpu()
    step, elapsed, saved, average = 0, 0.0, 0.0, 0.0
    ema = {k: v.detach().clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["net"])
        ema = state["ema"]
        optimiser.load_state_dict(state["optimiser"])
        step, elapsed, average = state["step"], state["elapsed"], state.get("average", 0.0)
        saved = elapsed

    def save() -> None:
        """Checkpoint, exported weights, and a line of the log with the bits and PSNR of the held-out photographs."""
        torch.save(
            {
                "net": net.state_dict(),
                "ema": ema,
                "optimiser": optimiser.state_dict(),
                "step": step,
                "elapsed": elapsed,
                "average": average,
            },
            checkpoint,
        )
        export(ema, args.run / "weights.safetensors")
        trial = TinyNet().to(memory_format=torch.channels_last)
        trial.load_state_dict(ema)
        row = {
            "step": step,
            "minutes": round(elapsed / 60, 1),
            "loss": round(average, 4),
            **validate(trial.eval(), check),
        }
        with (args.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    low, high = map(math.log, SIGMA)
    clock = time.monotonic()
    while (step < args.steps) if args.steps else (elapsed < args.minutes * 60):
        control = args.run / "threads"  # a number in this file changes the thread count
        if step % 50 == 0 and control.exists():
            torch.set_num_threads(int(control.read_text() or 1))
        progress = step / args.steps if args.steps else elapsed / (args.minutes * 60)
        # so that a run that was stopped goes on as it would have
        rng = np.random.default_rng([args.seed, step])
        torch.manual_seed(int(rng.integers(1 << 62)))
        warm = min(1.0, (step + 1) / 300)
        for group in optimiser.param_groups:
            group["lr"] = args.rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        crops = [random_crop(images[i], args.crop, rng) for i in rng.integers(0, len(images), args.batch)]
        clean = dct.forward(to_pixels(crops).to(args.device)) * weights
        spread = (torch.arange(args.batch) + rng.random()) / args.batch  # stratified
        sigma = torch.exp(low + (high - low) * spread).view(-1, 1, 1, 1).to(args.device)
        with torch.autocast(args.device, torch.bfloat16):
            loss = relative_bits(net, clean, sigma).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.9995, 1 - 10 / (step + 10))
        with torch.no_grad():
            for k, v in net.state_dict().items():
                ema[k].lerp_(v, 1 - decay)
        average += (loss.item() - average) * (0.01 if step > 100 else 1 / step)
        now = time.monotonic()
        elapsed, clock = elapsed + now - clock, now
        if elapsed - saved > args.save_minutes * 60:
            saved = elapsed
            save()
    save()


if __name__ == "__main__":
    main()
