"""Everything that can be said against a file without a model (§3 to §6.3): what `sdf verify`, `sdf info` and Pillow's
`verify` ask for.  No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from sdf_format.container import chunks, metadata, parameters
from sdf_format.container.chunks import DATA_CHUNK, File
from sdf_format.diffusion import schedule
from sdf_format.errors import TooMuch, error_context
from sdf_format.models.registry import MODELS

if TYPE_CHECKING:
    import numpy as np

MOST_ALPHA = 1 << 28  # pixels; a few hundred kilobytes can stand for 4 GiB


def check(stream: BinaryIO, file: File) -> None:
    """BadFile, Truncated or Unsupported for the first thing that is wrong."""
    chunks.verify(stream, file)
    with error_context(chunks.HEADER_OFFSET):
        fields = parameters.parse(file.header)
    metadata.read(stream, file)
    if chunks.check_alpha(file) and (pixels := file.header.width * file.header.height) > MOST_ALPHA:
        raise TooMuch(
            f"§3.5 an alpha plane of {pixels} pixels is not looked into here; this takes memory for at most "
            f"{MOST_ALPHA}"
        )
    plane(stream, file)
    data = file.find(DATA_CHUNK)
    assert data is not None  # container.verify has seen it
    if own := CHECKS.get(file.header.kind):
        with error_context(data.offset):
            own(file, fields, chunks.read(stream, data))


def plane(stream: BinaryIO, file: File) -> np.ndarray | None:
    """§3.5: alpha, (H, W) uint8, of a file whose mode has it. For others NumPy is not even imported."""
    chunk = chunks.check_alpha(file)
    if chunk is None:
        return None
    from sdf_format.container import alpha

    with error_context(chunk.offset):
        return alpha.decode(chunks.read(stream, chunk), file.header.height, file.header.width)


def _diffc(file: File, fields: parameters.Diffc, payload: bytes) -> None:
    """§4.2, §6.2, §6.3, where table 4.1 says how large the latent is."""
    spec = MODELS.get(file.header.model)
    if spec is None or file.header.sound:
        return
    cells = math.prod(spec.padded(n) // spec.cell for n in (file.header.width, file.header.height))
    plan = schedule.expand(fields.form, fields.schedule, 8 * len(payload), cells)
    schedule.check_dimensions(plan, cells * spec.channels)
    schedule.check_padding(plan, payload)


CHECKS: dict[int, Callable[[File, Any, bytes], None]] = {parameters.DIFFC: _diffc}
