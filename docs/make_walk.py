"""Makes the pictures and the table of docs/how-it-works.md: `python docs/make_walk.py`.

Needs the extras demo and training. The photograph is the demonstration's (NASA, public domain). Run it again when the
encoder or the embedded weights change.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from sdf_format import codec, uncertainty
from sdf_format.bench import metrics
from sdf_format.cli.demo import photograph
from sdf_format.inspect import report

DOCS = Path(__file__).parent
PAGE, PICTURES = DOCS / "how-it-works.md", DOCS / "walk"
TABLE = re.compile(r"(<!-- table: written by docs/make_walk.py -->\n).*?(<!-- end of table -->)", re.DOTALL)
BPP = 0.1
SHOWN = 6  # steps of the picture, the first and the last among them
SIDE, LABEL = 168, 20  # of a panel, pixels


@dataclass(frozen=True)
class Call:
    """One call of the model: its argument, the noise level, and its answer."""

    noisy: Tensor
    sigma: float
    clean: Tensor


class Recorder:
    """A model that answers as another and remembers what it was asked."""

    def __init__(self, model: Any):
        self.model, self.calls = model, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        clean = self.model.predict(y, sigma)
        self.calls.append(Call(y, sigma, clean))
        return clean


def make(original: Image.Image, page: Path, pictures: Path) -> None:
    """Encode, decode, and write the pictures into a folder and the table into the page."""
    data = codec.encode(np.asarray(original), bpp=BPP).data
    plan = report.describe(io.BytesIO(data), len(data))["schedule"]
    recorders: list[Recorder] = []

    def record(model: Any) -> Recorder:
        recorders.append(Recorder(model))
        return recorders[-1]

    decoded = Image.fromarray(codec.decode(io.BytesIO(data), wrap_model=record)[0])
    (recorder,) = recorders
    # Step 1 asks nothing; the call after step k has what the receiver holds after it.
    calls = recorder.calls[: len(plan)]
    guesses = [Image.fromarray(recorder.model.decode(call.clean)) for call in calls]
    quality = [metrics.psnr(original, guess) for guess in guesses]

    pictures.mkdir(exist_ok=True)
    steps(original, recorder.model, calls, guesses, plan).save(pictures / "steps.webp", quality=80, method=6)
    spread = uncertainty.as_grey(uncertainty.spread(io.BytesIO(data)))
    end = [
        ("original", original),
        (f"decoded, {len(data):,} bytes", decoded),
        ("where the file says little", ImageOps.autocontrast(Image.fromarray(spread))),
    ]
    row(end, 2 * SIDE).save(pictures / "end.webp", quality=80, method=6)
    chart(plan, quality, pictures / "schedule.svg")
    page.write_text(TABLE.sub(lambda found: found[1] + table(plan, quality) + found[2], page.read_text()))
    print(f"{len(data)} bytes, {len(plan)} steps, {metrics.psnr(original, decoded):.2f} dB")


def label(image: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text above it."""
    sheet = Image.new("RGB", (image.width, image.height + LABEL), "white")
    ImageDraw.Draw(sheet).text((2, 2), text, fill="black", font=ImageFont.load_default(13))
    sheet.paste(image, (0, LABEL))
    return sheet


def beside(panels: list[Image.Image], gap: int = 4) -> Image.Image:
    """Pictures from left to right, white between them."""
    sheet = Image.new("RGB", (sum(p.width + gap for p in panels) - gap, max(p.height for p in panels)), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + gap
    return sheet


def row(named: list[tuple[str, Image.Image]], side: int) -> Image.Image:
    """Pictures from left to right, made squares of one size, each below its name."""
    return beside(
        [label(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), name) for name, image in named]
    )


def steps(
    original: Image.Image, model: Any, calls: list[Call], guesses: list[Image.Image], plan: list[dict[str, Any]]
) -> Image.Image:
    """Three rows: what the receiver holds after a step, what the model makes of it, and what is still missing."""
    sent = np.cumsum([step["bits"] for step in plan])
    latent = model.encode(np.asarray(original))
    rows: list[list[tuple[str, Image.Image]]] = [[], [], []]
    for number in np.linspace(1, len(plan), SHOWN).round().astype(int):
        call = calls[number - 1]
        # Scaled to the latent's variance: as it is, the first ones would be white and black only.
        energy = float(latent.square().mean())
        noisy = call.noisy * math.sqrt(energy / (energy + call.sigma**2))
        rows[0].append(
            (f"step {number}: {-(-int(sent[number - 1]) // 8):,} bytes", Image.fromarray(model.decode(noisy)))
        )
        rows[1].append((f"guess: {metrics.psnr(original, guesses[number - 1]):.1f} dB", guesses[number - 1]))
        missing = np.asarray(original, np.int16) - np.asarray(guesses[number - 1], np.int16)
        rows[2].append(("still missing", Image.fromarray((missing + 128).clip(0, 255).astype(np.uint8))))
    strips = [row(panels, SIDE) for panels in rows]
    sheet = Image.new("RGB", (strips[0].width, sum(s.height for s in strips)), "white")
    for number, strip in enumerate(strips):
        sheet.paste(strip, (0, number * strip.height))
    return sheet


def chart(plan: list[dict[str, Any]], quality: list[float], path: Path) -> None:
    """Bits of every step, and how good the guess after it is."""
    matplotlib.rcParams |= {
        "svg.hashsalt": "sdf",
        "svg.fonttype": "none",
    }  # the same file every time, letters as letters
    numbers = range(1, len(plan) + 1)
    figure, bars = pyplot.subplots(figsize=(6.4, 2.8), layout="constrained")
    bars.bar(numbers, [step["bits"] for step in plan], color="#b8c4d6")
    bars.set(xlabel="step", ylabel="bits of the step", xticks=list(numbers))
    line = bars.twinx()
    line.plot(numbers, quality, "o-", color="#c2410c", markersize=3)
    line.set_ylabel("PSNR of the guess after it [dB]")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def table(plan: list[dict[str, Any]], quality: list[float]) -> str:
    """Markdown: a row a step."""
    lines = [
        "| step | log-SNR after it, nat | sigma | bits | bytes so far | PSNR of the guess, dB |",
        "|---|---|---|---|---|---|",
    ]
    sent = 0
    for number, (step, psnr) in enumerate(zip(plan, quality, strict=True), 1):
        sent += step["bits"]
        lines.append(
            f"| {number} | {step['log_snr']:.2f} | {step['sigma']:.3f} | {step['bits']} "
            f"| {-(-sent // 8)} | {psnr:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    make(photograph(), PAGE, PICTURES)
