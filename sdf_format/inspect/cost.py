"""What decoding a file takes of memory (§8.1), from its header alone, before any model is looked for.  No torch.

Measured as peaks beside the model's weights: docs/experiments.md, "memory".
"""

from __future__ import annotations

from sdf_format.container import parameters
from sdf_format.container.header import SOUNDS, Header
from sdf_format.errors import SdfError, error_context
from sdf_format.limits import Limits, check_memory, check_pixels
from sdf_format.models.registry import MODELS

A_VALUE = 80  # bytes, of a latent: some 20 arrays of float32 are alive at the walk's worst
A_CELL = 64  # bytes, of a position of a latent: a row of lists
A_PIXEL = 16  # bytes, of a picture: samples, alpha, Pillow's picture
AN_AUTOENCODERS_PIXEL = 32  # bytes more: planes of float32, blended
A_SAMPLE = 40  # bytes, of a channel of a sound, at the model's rate and its own
A_CHANNEL = 1 << 11  # bytes: contexts of the entropy coder
BASE = 32 << 20  # bytes: activations of a tile, tables
HIGHEST_RATE = 48_000  # Hz, of a model of sound: what the header does not say


def check(header: Header, allowed: Limits) -> None:
    """TooMuch, at chunk H, for what has more pixels or would take more memory than is allowed."""
    from sdf_format.container.chunks import HEADER_OFFSET

    with error_context(HEADER_OFFSET):
        if not header.sound:
            check_pixels(header.width, header.height, allowed)
        what = f"a sound of {header.length} samples" if header.sound else f"a picture of {header.width}x{header.height}"
        check_memory(memory(header), allowed, what)


def memory(header: Header) -> int:
    """Bytes beside the model's weights, about."""
    spec = MODELS.get(header.model)
    channels, cell = (spec.channels, spec.cell) if spec else (header.channels or 1, header.cell or 1)
    if header.sound:
        samples = header.length * max(1, HIGHEST_RATE // header.rate)
        cells = -(-samples // cell)
        own = A_SAMPLE * (samples + header.length) * SOUNDS[header.mode]
    else:
        width, height = (spec.padded(n) if spec else -(-n // cell) * cell for n in (header.width, header.height))
        cells = width * height // cell**2
        own = (A_PIXEL if spec and not spec.autoencoder else A_PIXEL + AN_AUTOENCODERS_PIXEL) * width * height
    return BASE + own + cells * (A_VALUE * channels + A_CELL) + _tables(header, channels)


def _tables(header: Header, channels: int) -> int:
    """What the coders of quantised latents hold beside them."""
    try:
        fields = parameters.parse(header)
    except SdfError:
        return 0  # whoever decodes says what is wrong
    if isinstance(fields, parameters.Palette):
        return channels * A_CHANNEL + 24 * fields.colours * channels + 8 * fields.colours**2 * fields.groups
    return channels * A_CHANNEL if isinstance(fields, parameters.Lowbit) else 0
