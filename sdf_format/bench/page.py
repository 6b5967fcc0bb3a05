"""The self-contained page of `sdf bench rd --html`: plots, and a slider between any two codecs at about equal bytes."""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections import defaultdict
from importlib import resources
from statistics import fmean

from PIL import Image

from sdf_format.bench.images import images_of

QUALITY = 90  # of the WebP in which the page carries decoded pictures; the originals too
LABELS = {
    "psnr": "PSNR [dB]",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA 2",
    "latent": "latent distance",
    "frechet": "Frechet distance of patches",
    "lpips": "LPIPS",
    "dists": "DISTS",
}


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def published() -> list[dict]:
    """Curves of others: codec, points of bpp and metrics."""
    return json.loads(resources.files("sdf_format").joinpath("bench/published.json").read_text())["curves"]


def plot(metric: str, curves: dict[str, list[tuple[float, float]]]) -> str:
    """SVG of a metric over bits per pixel; published curves dashed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.6))
    for name, points in curves.items():
        axes.plot(*zip(*sorted(points)), marker="o", markersize=3, label=name)
    for curve in published():
        points = [(p["bpp"], p[metric]) for p in curve["points"] if metric in p]
        if points:
            axes.plot(*zip(*points), linestyle="--", linewidth=1, label=curve["codec"] + ", published")
    axes.set(xscale="log", xlabel="bits per pixel", ylabel=LABELS[metric])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    pyplot.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def build(
    rows: list[dict], statistics: dict[tuple[str, str], tuple[float, float]], known: list[str], args: argparse.Namespace
) -> str:
    """The page as HTML.  rows: with "picture" in the work folder; known: metrics that the rows have."""
    plots = []
    for metric in known:
        cells: dict = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row.get(metric) is not None:
                cells[row["codec"]][row["setting"]].append((row["bpp"], row[metric]))
        plots.append(
            plot(metric, {name: [tuple(map(fmean, zip(*c))) for c in by.values()] for name, by in cells.items()})
        )
    if statistics:
        curves = defaultdict(list)
        for (name, _), point in statistics.items():
            curves[name].append(point)
        plots.append(plot("frechet", curves))
    paths = images_of(args.folders)
    step = max(1, len(paths) // args.page_images)
    pictures: dict = {}
    for path in paths[::step][: args.page_images]:
        entry: dict = {"original": _uri(Image.open(path)), "codecs": defaultdict(list)}
        for row in rows:
            if row["image"] == path.name:
                entry["codecs"][row["codec"]].append(
                    {
                        "bytes": row["bytes"],
                        "bpp": round(row["bpp"], 4),
                        "psnr": round(row["psnr"], 2),
                        "uri": _uri(Image.open(args.work / row["picture"])),
                    }
                )
        pictures[path.name] = entry
    template = resources.files("sdf_format").joinpath("bench/page.html").read_text()
    return template.replace("/*PICTURES*/", json.dumps(pictures).replace("</", "<\\/")).replace(
        "<!--PLOTS-->", "\n".join(plots)
    )
