"""Reverse channel coders in the whole codec: `sdf bench coders IMAGE... [--bpp 0.03,0.06,0.12,0.24]`.

Every coder walks with levels planned for what it delivers; the picture is the posterior mean at the end. Bytes are
those of the payload alone: the same container goes around each. The last column is the share of bytes that the tree
saves at equal quality, from the curves of mean quality over the logarithm of the bytes (`--states`: L of the trellis,
if not the file's choice).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdf_format import codec
from sdf_format.bench import metrics, reference
from sdf_format.coding.rcc import pfr, tree, trellis
from sdf_format.diffusion import fit, walk
from sdf_format.diffusion.schedule import law_bits, law_levels
from sdf_format.inspect.table import Table
from sdf_format.models import loading, registry
from sdf_format.payloads import diffc_encoder

# (shift, granted bits, step) -> received, bits spent
Channel = Callable[[Tensor, int, int], tuple[Tensor, float]]


def rows(payload_bits: int, state_bits: int | None) -> Iterator[tuple[str, fit.Capacity, float, Channel]]:
    """(name, capacity, grant, channel) of every coder."""

    def exact(shift: Tensor, granted: int, step: int) -> tuple[Tensor, float]:
        return reference.exact(shift, torch.Generator().manual_seed(step))

    def public(shift: Tensor, granted: int, step: int) -> tuple[Tensor, float]:
        return reference.public_rule(shift, granted, torch.Generator().manual_seed(step))

    def real(coder: object, parameter: int, **more: int) -> Channel:
        def channel(shift: Tensor, granted: int, step: int) -> tuple[Tensor, float]:
            return coder.receive(
                coder.send(shift, granted, parameter, 0, step, **more), shift.numel(), parameter, 0, step
            ), granted

        return channel

    chosen = state_bits or diffc_encoder.states_for(payload_bits)
    yield (
        "tree",
        lambda b, d: tree.capacity(b, diffc_encoder.TREE_WORDS, d),
        fit.KL_OVERGRANT,
        real(tree, diffc_encoder.TREE_WORDS),
    )
    yield (
        "tree, effort 1",
        lambda b, d: tree.capacity(b, diffc_encoder.TREE_WORDS, d, 1),
        fit.KL_OVERGRANT,
        real(tree, diffc_encoder.TREE_WORDS, effort=1),
    )
    yield "trellis", lambda b, d: trellis.capacity(b, chosen, d), fit.KL_OVERGRANT, real(trellis, chosen)
    yield "exact sampling, ideal bits", lambda b, d: b, 1.0, exact
    # A chunk of the public rule costs 19.3 bits, about, for the 14 that it is granted.
    yield (
        "public rule, simulated",
        lambda b, d: b * PUBLIC_SHARE,
        1.0,
        lambda m, b, s: public(m, round(b * PUBLIC_SHARE), s),
    )
    yield (
        "pfr",
        lambda b, d: pfr.capacity(b, diffc_encoder.PFR_CHUNK, d),
        fit.KL_OVERGRANT,
        real(pfr, diffc_encoder.PFR_CHUNK),
    )


# KL granted over bits spent, so that sizes come near each other; the bits are counted, not assumed
PUBLIC_SHARE = 14 / 13.7


def walked(
    latent: Tensor,
    loaded: loading.Model,
    curve: fit.MmseCurve,
    payload_bits: int,
    capacity: fit.Capacity,
    grant: float,
    channel: Channel,
) -> tuple[Tensor, float]:
    """The posterior mean after a walk of about so many bits, and the bits that it took."""
    granted = law_bits(fit.step_count(payload_bits), payload_bits)
    levels = law_levels(
        **fit.fit(fit.ideal_levels(curve, granted, lambda b, d: grant / fit.KL_OVERGRANT * capacity(b, d)), granted)
    )
    spent = 0.0

    def sender(step: int, clean: Tensor, gain: float) -> Tensor:
        nonlocal spent
        z, bits = channel((gain * (latent - clean)).flatten(), granted[step], step)
        spent += bits
        return z.view_as(clean)

    y, sigma = walk.walk(latent.shape, levels, loaded.predict, sender)
    return loaded.predict(y, sigma), spent


def saved(ours: list[tuple[float, float]], others: list[tuple[float, float]]) -> float:
    """Share of the others' bytes that we save at equal quality: (bytes, quality) curves, mean over the quality that
    both reach.
    """
    grid = np.linspace(max(ours[0][1], others[0][1]), min(ours[-1][1], others[-1][1]), 50)
    log = [np.interp(grid, [q for _, q in c], np.log([b for b, _ in c])) for c in (ours, others)]
    return float(1 - np.exp(np.mean(log[0] - log[1])))


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench coders`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench coders", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--bpp", default="0.03,0.06,0.12,0.24")
    parser.add_argument("--states", type=int, help="L of the trellis, 8 to 18")
    args = parser.parse_args(arguments)
    key = loading.by_name(codec.DEFAULT_MODEL)
    loaded = loading.load(key, codec.pick_device())
    found: dict[str, dict[float, list[tuple[float, float, float]]]] = {}
    for path in args.images:
        image = Image.open(path).convert("RGB")
        latent = loaded.encode(codec.pad_to_model(np.asarray(image), registry.MODELS[key]))
        curve = fit.measure_mmse(latent, loaded, lambda c: c.levels[-1] > 6)
        for bpp in map(float, args.bpp.split(",")):
            bits = int(bpp * image.width * image.height)
            for name, capacity, grant, channel in rows(bits, args.states):
                clean, spent = walked(latent, loaded, curve, bits, capacity, grant, channel)
                picture = Image.fromarray(loaded.decode(clean)[: image.height, : image.width])
                found.setdefault(name, {}).setdefault(bpp, []).append(
                    (spent / 8, metrics.psnr(image, picture), metrics.ms_ssim(image, picture) or float("nan"))
                )
    curves = {name: [tuple(map(fmean, zip(*cells))) for cells in by_rate.values()] for name, by_rate in found.items()}
    with Table("coder", "bytes: PSNR, MS-SSIM", "bytes that the tree saves at equal PSNR, MS-SSIM") as table:
        for name, points in curves.items():
            cells = "; ".join(f"{size:.0f}: {psnr:.2f}, {ms_ssim:.4f}" for size, psnr, ms_ssim in points)
            gains = [saved([(p[0], p[i]) for p in curves["tree"]], [(p[0], p[i]) for p in points]) for i in (1, 2)]
            table.add(name, cells, f"{gains[0]:+.1%}, {gains[1]:+.1%}")
