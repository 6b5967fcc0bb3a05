"""Everything that can be said against a file without a model (§3 to §6.3): what `sdf verify`, `sdf info` and Pillow's
`verify` ask for.  No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from sdf_format import limits
from sdf_format.container import chunks, metadata, parameters
from sdf_format.container.chunks import DATA_CHUNK, File
from sdf_format.container.header import Header
from sdf_format.diffusion import schedule
from sdf_format.errors import BadFile, Unsupported, error_context
from sdf_format.models.registry import MODELS

if TYPE_CHECKING:
    import numpy as np


def check(stream: BinaryIO, file: File, most_pixels: float | None = None) -> None:
    """BadFile, Truncated or Unsupported for the first thing that is wrong.

    One body is held at a time, of alpha no more than some rows. TooMuch for alpha of more pixels than `most_pixels`
    (see `limits`), which is not looked into.
    """
    fields = check_header(file)
    chunks.verify(stream, file)
    metadata.check(stream, file)
    if chunk := chunks.check_alpha(file):
        from sdf_format.container import alpha

        height, width = file.header.height, file.header.width
        with error_context(chunks.HEADER_OFFSET):
            limits.check_pixels(width, height, limits.resolved(most_pixels, free=lambda: 1.0))
        with error_context(chunk.offset):
            alpha.check(chunks.read(stream, chunk), height, width)
    data = file.find(DATA_CHUNK)
    assert data is not None  # container.verify has seen it
    if own := CHECKS.get(file.header.kind):
        with error_context(data.offset):
            own(file, fields, chunks.read(stream, data))


def check_model(header: Header, fields: parameters.Fields) -> None:
    """The rules of stage "model" (§8.3) that need the tables alone, no weights."""
    spec = MODELS.get(header.model)
    if header.model and spec is None:
        raise Unsupported(
            f"table 4.1: model {header.model} is unknown here (this decoder knows {sorted(MODELS)}); update it"
        )
    if spec is None:
        return
    if header.kind != parameters.DIFFC and not spec.autoencoder:
        raise BadFile(
            f"§5.1 kind {parameters.KINDS[header.kind]} needs the latent of an autoencoder; {spec.name} has none"
        )
    if header.sound:
        raise BadFile(f"§4.6 a sound of {spec.name}, a model of pictures")
    if isinstance(fields, parameters.Palette) and fields.groups > spec.channels:
        raise BadFile(f"§5.3 groups: {fields.groups} for {spec.channels} channels")
    if not spec.autoencoder and getattr(fields, "conditioning", None) not in (None, parameters.Conditioning()):
        raise Unsupported(f"§5.2 a prompt or guidance for {spec.name}, which takes none")
    spec.check_size(header.width, header.height)


def check_header(file: File) -> parameters.Fields:
    """Stages "parameters" and "model" of §8.3 as far as tables tell: the kind's parameters; BadFile, Unsupported."""
    with error_context(chunks.HEADER_OFFSET):
        fields = parameters.parse(file.header)
        check_model(file.header, fields)
    return fields


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
