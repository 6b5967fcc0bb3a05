"""Make a registered schedule (§4.2.2) for the embedded model: `python -m sdf_format.calibrate --data DIR`.

Walks with exact sampling over photographs and prints, as JSON for `data/schedules.json`, the mean KL of every step per latent cell.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sdf_format import diffusion, model
from sdf_format.codec import DEFAULT_MODEL, pick_device
from sdf_format.schedule import LAW_LEVEL, LAW_SLOPE, REGISTERED_BITS, REGISTERED_LEVEL, law_levels

END, SLOPE = 5.0, 3.6       # nat: what the law's fit gives, about, for files of 0.5 bits per pixel
SIDE = 256                  # pixels of the centre of each photograph


def step_bits(latent: torch.Tensor, levels: tuple[float, ...], loaded: model.Model, generator: torch.Generator) -> list[float]:
    """KL [bit] of every step of one walk with exact samples."""
    spent: list[float] = []

    def exact(step: int, clean: torch.Tensor, gain: float) -> torch.Tensor:
        spent.append(diffusion.kl_bits(clean, latent, gain))
        return gain * (latent - clean) + torch.randn(latent.shape, generator=generator)

    diffusion.walk(latent.shape, levels, loaded.predict, exact)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, none of them used for evaluation")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    loaded = model.load(model.by_name(DEFAULT_MODEL), pick_device())
    levels = law_levels(args.steps, round(END * LAW_LEVEL), round(SLOPE * LAW_SLOPE), 0)
    files = sorted(f for f in args.data.iterdir() if f.suffix.lower() in (".jpg", ".jpeg", ".png"))
    generator = torch.Generator().manual_seed(0)
    rows = []
    for file in files[:: max(1, len(files) // args.count)][: args.count]:
        image = Image.open(file).convert("RGB")
        left, top = (max(0, extent // 2 - SIDE // 2) for extent in image.size)
        pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))
        rows.append(step_bits(loaded.encode(pixels), levels, loaded, generator))
    cells = (SIDE // model.MODELS[model.by_name(DEFAULT_MODEL)].cell) ** 2
    mean = np.mean(rows, axis=0) / cells
    print(json.dumps({"name": f"{DEFAULT_MODEL}, {args.steps} steps", "levels": [round(x * REGISTERED_LEVEL) for x in levels],
                      "bits": [max(1, round(float(b) * REGISTERED_BITS)) for b in mean]}))


if __name__ == "__main__":
    main()
