"""The photographs that benchmarks run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def images_of(folders: Sequence[Path]) -> list[Path]:
    """Every image of the folders, and images named themselves."""
    return [
        f
        for folder in folders
        for f in (sorted(folder.iterdir()) if folder.is_dir() else [folder])
        if f.suffix.lower() in ENDINGS
    ]
