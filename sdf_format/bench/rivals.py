"""The codecs that SDF is compared with, as Pillow writes them at their slowest reasonable settings."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Rival:
    """A row: Pillow's format name, its qualities from worst to best, its other options, the plugin it needs.

    curve  settings that rate-distortion curves are made of; slowest: options that take their time over them
    few    settings of curves that are wanted soon, at the usual options
    """

    format: str
    qualities: range
    options: dict[str, Any] = field(default_factory=dict)
    plugin: str | None = None
    curve: tuple[int, ...] = ()
    slowest: dict[str, Any] = field(default_factory=dict)
    few: tuple[int, ...] = ()


RIVALS = {
    "JPEG": Rival(
        "JPEG",
        range(1, 96),
        dict(optimize=True, progressive=True, subsampling="4:2:0"),
        curve=(1, 5, 10, 20, 35, 55, 80),
        few=(1, 10, 30, 60),
    ),
    # Quality is in 1/100 of a bit per pixel; the wavelets are the irreversible ones.
    "JPEG 2000": Rival(
        "JPEG2000",
        range(1, 400),
        dict(irreversible=True, quality_mode="rates"),
        curve=(2, 5, 10, 20, 40, 80),
        few=(5, 10, 20, 80),
    ),
    "WebP": Rival("WEBP", range(101), dict(method=6), curve=(0, 10, 25, 45, 65, 80), few=(0, 15, 40, 80)),
    "AVIF": Rival(
        "AVIF",
        range(100),
        dict(speed=2, subsampling="4:2:0"),
        curve=(0, 8, 18, 30, 45),
        slowest=dict(speed=0),
        few=(0, 12, 28, 50),
    ),
    "JPEG XL": Rival(
        "JXL",
        range(100),
        dict(effort=7),
        plugin="pillow_jxl",
        curve=(0, 15, 35, 55, 75),
        slowest=dict(effort=9),
        few=(0, 25, 70),
    ),
}


@dataclass(frozen=True)
class Fit:
    """A file, the quality that made it, and whether it met its budget."""

    quality: int
    data: bytes
    met: bool


def available() -> list[str]:
    """Names of the rivals that this installation can write."""
    found = []
    for name, rival in RIVALS.items():
        try:
            if rival.plugin:
                import_module(rival.plugin)
        except ImportError:
            continue
        Image.init()
        if rival.format in Image.SAVE:
            found.append(name)
    return found


def encode(name: str, image: Image.Image, quality: int, slowest: bool = False) -> bytes:
    """One file. JPEG's scans are optimised as mozjpeg does where the package mozjpeg-lossless-optimization is there."""
    rival = RIVALS[name]
    setting = dict(quality_layers=[2400 / quality]) if rival.format == "JPEG2000" else dict(quality=quality)
    buffer = io.BytesIO()
    image.save(buffer, rival.format, **setting, **rival.options | (rival.slowest if slowest else {}))
    if rival.format == "JPEG":
        try:
            from mozjpeg_lossless_optimization import optimize
        except ImportError:
            return buffer.getvalue()
        return optimize(buffer.getvalue())
    return buffer.getvalue()


def fit(name: str, image: Image.Image, budget: int) -> Fit:
    """The best quality whose file is at most `budget` bytes, by bisection; where none is, the codec's smallest, not
    met.
    """
    low, high = 0, len(RIVALS[name].qualities) - 1
    qualities = RIVALS[name].qualities
    best = Fit(qualities[0], encode(name, image, qualities[0]), False)
    if len(best.data) > budget:
        return best
    best = Fit(best.quality, best.data, True)
    while low < high:
        middle = (low + high + 1) // 2
        data = encode(name, image, qualities[middle])
        if len(data) <= budget:
            low, best = middle, Fit(qualities[middle], data, True)
        else:
            high = middle - 1
    return best
