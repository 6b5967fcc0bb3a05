"""Writes Annex A of sdf-1.md: `python spec/example.py`.  To be run again when the embedded weights change."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from sdf_format import codec
from sdf_format.inspect import dump

SPEC = Path(__file__).parent / "sdf-1.md"


def picture() -> np.ndarray:
    """The 24x16 picture of the example: red rises to the right, green downwards, blue is 96."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 16, np.full_like(x, 96)], axis=2).astype(np.uint8)


def annotated(data: bytes) -> str:
    """The file, a field a line, with its clause."""
    return dump.as_text(dump.rows(io.BytesIO(data)), offsets=False)


def annex() -> str:
    """What stands between the headings of Annexes A and B."""
    pixels = picture()
    data = codec.encode(pixels, target_bytes=72).data
    return (
        "A picture of 24x16 pixels, column x and row y: red 10 x, green 16 y, blue 96; `image.save(..., "
        f"target_bytes=72)`; {len(data)} bytes.\n\n"
        f"```\n{annotated(data)}\n```\n"
    )


if __name__ == "__main__":
    text = SPEC.read_text()
    SPEC.write_text(
        re.sub(r"(## Annex A[^\n]*\n\n).*?(\n## Annex B)", lambda m: m[1] + annex() + m[2], text, flags=re.S)
    )
