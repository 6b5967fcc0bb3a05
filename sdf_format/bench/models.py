"""Published models at their true shapes with random weights.

`sdf bench models [--names sd15,sdxl,flux1-dev] [--size 768x512]`

Time and memory do not depend on the weights' values, so nothing is downloaded. Text encoders are left out: they run
once a prompt. Where a model has a refiner, the walk is counted with the network's time and the denoiser with the
refiner's: levels above 1.3 nat are its own. Rows marked "published" are DiffC's own figures on an A40.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import diffusers
import numpy as np
import torch

from sdf_format.codec import pick_device
from sdf_format.errors import BadInput
from sdf_format.inspect.table import Table
from sdf_format.models import autoencoder, stable
from sdf_format.models.loading import by_name as number_of
from sdf_format.models.registry import MODELS

SD_BLOCKS = dict(
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
)
XL_TIME = dict(addition_embed_type="text_time", addition_time_embed_dim=256, use_linear_projection=True)
# The networks' published configurations.
NETWORKS: dict[str, dict] = {
    "sd15": dict(
        sample_size=64,
        cross_attention_dim=768,
        attention_head_dim=8,
        block_out_channels=(320, 640, 1280, 1280),
        **SD_BLOCKS,
    ),
    "sd21": dict(
        sample_size=96,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        block_out_channels=(320, 640, 1280, 1280),
        use_linear_projection=True,
        **SD_BLOCKS,
    ),
    "sdxl": dict(
        sample_size=128,
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        projection_class_embeddings_input_dim=2816,
        **XL_TIME,
    ),
    "flux1-dev": dict(
        in_channels=64,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=True,
        axes_dims_rope=(16, 56, 56),
    ),
    "sd35-medium": dict(
        sample_size=128,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=384,
        qk_norm="rms_norm",
        dual_attention_layers=tuple(range(13)),
    ),
    "z-image-turbo": {},  # the defaults of its class
    "flux2-klein-base": dict(
        in_channels=128,
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        joint_attention_dim=7680,
        guidance_embeds=False,
    ),
}
REFINERS = {
    "sdxl": dict(
        sample_size=128,
        cross_attention_dim=1280,
        attention_head_dim=(6, 12, 24, 24),
        block_out_channels=(384, 768, 1536, 1536),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=4,
        projection_class_embeddings_input_dim=2560,
        **XL_TIME,
    ),
}
AUTOENCODER = dict(
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)
MEASURED = 6  # what a sender predicts beside the walk: five noise levels to plan it, and what the receiver ends with
COARSE, FINE = 1.0, 0.1  # noise levels of a network's predictions and of a refiner's
# of text, as the pipelines pad it; Z-Image does not
TOKENS = {"flux1-dev": 512, "sd35-medium": 77 + 256, "z-image-turbo": 32, "flux2-klein-base": 512}
PUBLISHED = (
    ("SD 1.5, DiffC", "0.6 to 9.4", "2.9 to 8.5"),
    ("SDXL, DiffC", "3 to 46", "15 to 37"),
    ("Flux, DiffC", "21 to 321", "98 to 215"),
)


Thin = Callable[[dict], dict]


def whole(config: dict) -> dict:
    """A configuration as it is."""
    return config


def network(pipeline: str, config: dict, device: torch.device) -> torch.nn.Module:
    """A pipeline's network with random weights, in the precision of the device."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(stable.precision(device))
        with device:
            return getattr(diffusers, stable.ADAPTERS[pipeline][0])(**config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def made(name: str, device: torch.device, thin: Thin = whole) -> stable.Stable:
    """The model with random weights: its network, its refiner if it has one, and its autoencoder.

    thin: what becomes of configurations
    """
    if name not in NETWORKS:
        raise BadInput(f"model {name!r}: wanted one of {', '.join(NETWORKS)}")
    published = MODELS[number_of(name)].published
    assert published
    settings = published.settings
    configs = [NETWORKS[name]] + ([REFINERS[name]] if name in REFINERS else [])
    nets = [stable.prepared(network(settings.pipeline, thin(config), device), device) for config in configs]
    with device:
        if settings.pipeline == "Flux2KleinPipeline":
            images = diffusers.AutoencoderKLFlux2(**thin(AUTOENCODER), latent_channels=settings.channels // 4)
        else:
            images = diffusers.AutoencoderKL(
                **thin(AUTOENCODER),
                latent_channels=settings.channels,
                sample_size=settings.native,
                scaling_factor=settings.scaling,
                shift_factor=settings.shift,
            )
    model = stable.Stable(
        None,
        settings,
        nets[0],
        nets[1] if nets[1:] else None,
        autoencoder.Images(images.eval().requires_grad_(False)),
        device,
    )
    model.tokens = TOKENS.get(name, model.tokens)
    return model


def seconds(work: Callable[[], object], device: torch.device, runs: int) -> float:
    """Median over `runs` after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(name: str, width: int, height: int, device: torch.device, runs: int, batch: int) -> dict[str, float]:
    """Seconds of one prediction of `batch` that go through the network together, of the refiner's (or the same again),
    of the autoencoder's two ways; parameters [billion], those of the refiner included; peak memory [GB] of the GPU, or
    elsewhere of this process so far.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = made(name, device)
    spec = MODELS[number_of(name)]
    pixels = np.random.default_rng(0).integers(0, 256, (spec.padded(height), spec.padded(width), 3), np.uint8)
    latent = model.encode(pixels)
    y = latent.to(device)

    def once(sigma: float) -> float:
        return seconds(lambda: model.together([(model, y, sigma)] * batch), device, runs) / batch

    predict = once(COARSE)
    return {
        "predict": predict,
        "refine": once(FINE) if model.refiner else predict,
        "encode": seconds(lambda: model.encode(pixels), device, runs),
        "decode": seconds(lambda: model.decode(latent), device, runs),
        "parameters": sum(p.numel() for net in (model.net, model.refiner) if net for p in net.parameters()) / 1e9,
        "memory": (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else most_resident()) / 1e9,
    }


def most_resident() -> int:
    """Most bytes of main memory that this process ever had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench models`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", default="sd15,sdxl,flux1-dev", help="of " + ", ".join(NETWORKS))
    parser.add_argument("--size", default="768x512", help="of the picture, in pixels")
    parser.add_argument("--steps", type=int, default=20, help="of the walk")
    parser.add_argument("--denoise", type=int, default=8, help="steps of the denoiser")
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        help="pictures whose predictions go through the network together; times are one picture's",
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", help="torch device; default: SDF_DEVICE, or the fastest there is")
    args = parser.parse_args(arguments)
    device = torch.device(pick_device(args.device))
    width, height = map(int, args.size.split("x"))
    print(
        f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else device}, {stable.precision(device)}, "
        f"{args.size}, {args.batch} together"
    )
    print("without the coder's own time")
    with Table(
        "model", "billion parameters", "s a prediction", "s the refiner's", "s encode", "s decode", "GB"
    ) as table:
        for name in args.names.split(","):
            found = measure(name, width, height, device, args.runs, args.batch)
            walk = (args.steps - 1) * found["predict"]  # the first step knows nothing and asks nothing
            encode = found["encode"] + MEASURED * found["predict"] + walk
            decode = found["decode"] + walk + args.denoise * found["refine"]
            table.add(
                name,
                f"{found['parameters']:.3f}",
                f"{found['predict']:.4f}",
                f"{found['refine']:.4f}",
                f"{encode:.2f}",
                f"{decode:.2f}",
                f"{found['memory']:.1f}",
            )
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        for name, encode, decode in PUBLISHED:
            table.add(f"{name}, published, A40", "", "", "", encode, decode, "")
