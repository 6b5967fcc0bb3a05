"""How far the pixels of a picture are from certain: the spread of what the payload does not rule out.

A decoder invents what the payload leaves open. Samples of the posterior, which share the payload and differ in the
noise that the ancestral denoiser draws, agree where the payload speaks and differ where the model does.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from sdf_format import arguments, codec, limits
from sdf_format.container import chunks, parameters
from sdf_format.errors import Unsupported, error_context
from sdf_format.host import with_own_settings
from sdf_format.progress import Progress

NUMBER = 8  # samples
SCALE = 4  # of `as_grey`: grey levels for a standard deviation of one level


@limits.enough_memory("sampling")
@with_own_settings
def spread(
    stream: BinaryIO,
    file: chunks.File | None = None,
    *,
    number: int = NUMBER,
    device: str | None = None,
    truncated: bool = False,
    most_pixels: float | None = None,
    most_work: float | None = None,
    most_memory: float | None = None,
    most_seconds: float | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """(H, W) float32: standard deviation of every pixel over `number` samples, root mean square of its channels [levels
    of 255].

    Alpha is stored without loss and has no part in it.  Other arguments and errors: of `codec.decode`; Unsupported for
    a kind of payload that knows no samples.
    """
    number = arguments.whole("number", number, 2, 64)
    file = file or chunks.scan(stream)
    allowed = limits.resolved(most_pixels, most_work, most_memory, most_seconds, lambda: codec.free_memory(device))
    offset, start, limited = codec.begin(
        stream, file, device, truncated, allowed, progress or (lambda done, total: None)
    )
    samples = codec.KINDS[file.header.kind].samples
    if samples is None:
        raise Unsupported(f"table 5.1: kind {parameters.KINDS[file.header.kind]} does not say how certain it is")
    total = squares = np.zeros(())
    with error_context(offset):
        for latent in samples(*start, number, limited):
            pixels = np.atleast_3d(codec.to_pixels(start[4], latent, file.header).astype(np.float32))
            # sums of at most 64 squares of bytes are exact
            total, squares = total + pixels, squares + pixels * pixels
    variance = (squares - total * total / number) / (number - 1)
    return np.sqrt(variance.mean(axis=2).clip(0)).astype(np.float32)


def as_grey(deviation: np.ndarray) -> np.ndarray:
    """uint8: SCALE grey levels for every level of standard deviation; 64 and more are white."""
    return (deviation * SCALE).round().clip(0, 255).astype(np.uint8)
