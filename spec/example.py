"""Writes Annex A of sdf-1.md: `python spec/example.py`.  To be run again when the embedded weights change."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from sdf_format import codec, container, kinds, schedule

SPEC = Path(__file__).parent / "sdf-1.md"


def picture() -> np.ndarray:
    """The 24x16 picture of the example: red rises to the right, green downwards, blue is 96."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 16, np.full_like(x, 96)], axis=2).astype(np.uint8)


def annotated(data: bytes) -> str:
    """The file, a field a line, with its clause."""
    file = container.scan(io.BytesIO(data))
    head, payload = file.chunks
    fields = kinds.parse(file.header)
    plan = schedule.expand(fields.form, fields.schedule, 8 * payload.length, 2 * 4)
    law = fields.schedule
    flags = file.header.parameters[0]
    lines = [
        (8, "§3.1 signature"), (2, "§3.1 version 1.0"),
        (1, "§3.2 type H"), (1, f"§3.2 length {head.length}"),
        (1, f"§3.3 width {file.header.width}"), (1, f"§3.3 height {file.header.height}"), (1, "§3.3 kind diffc, mode RGB"),
        (1, "§3.3 model sdf-tiny-1"), (4, "§3.3 first bytes of the SHA-256 of its weights"),
        (1, f"§5.2 flags {flags:08b}: schedule form 0" + (", coder present" if flags & 8 else "")),
    ]
    if flags & 8:
        lines.append((1, f"§5.2 coder trellis, L = {kinds.CODER_FIRST + fields.coder[1]}"))
    lines.append((schedule.Law.sizeof(), "§4.2.1 " + ", ".join(f"{name} {law[name]}" for name in schedule.LAW_RANGES)))
    if flags & 16:
        lines.append((1, f"§5.2 denoiser {kinds.DENOISERS[fields.denoiser[0]]}, {fields.denoiser[1]} step(s)"))
    lines += [
        (4, "§3.2 CRC"), (1, "§3.2 type D"), (1, f"§3.2 length {payload.length}"),
        (payload.length, f"§6.2 payload: steps of {', '.join(map(str, plan.bits))} bits"),
        (4, "§3.2 CRC"),
    ]
    text, position = [], 0
    for size, note in lines:
        part = data[position : position + size]
        rows = [part[i : i + 16].hex(" ") for i in range(0, len(part), 16)]
        text += [f"{row:48}" + (f"# {note}" if i == 0 else "") for i, row in enumerate(rows)]
        position += size
    assert position == len(data), "a field of the file is missing from the annex"
    return "\n".join(line.rstrip() for line in text)


def annex() -> str:
    """What stands between the headings of Annexes A and B."""
    pixels = picture()
    data = codec.encode(pixels, target_bytes=72).data
    return (f"A picture of 24x16 pixels, column x and row y: red 10 x, green 16 y, blue 96; `image.save(..., target_bytes=72)`; {len(data)} bytes.\n\n"
            f"```\n{annotated(data)}\n```\n")


if __name__ == "__main__":
    text = SPEC.read_text()
    SPEC.write_text(re.sub(r"(## Annex A[^\n]*\n\n).*?(\n## Annex B)", lambda m: m[1] + annex() + m[2], text, flags=re.S))
