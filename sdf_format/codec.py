"""Pictures to files and back: padding, rate, model, payload, container in one place (§2).

Pixels are NumPy arrays; Pillow comes in one layer higher.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sdf_format import alpha as alpha_plane
from sdf_format import container, kinds, model, schedule, tune
from sdf_format.container import ALPHA_CHUNK, DATA_CHUNK, Header
from sdf_format.errors import BadFile, BadInput, Truncated, Unsupported
from sdf_format.payloads import diffc
from sdf_format.payloads.diffc import Progress, Step

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "sdf-tiny-1"
DEFAULT_QUALITY = 50
QUALITIES = range(1, 101)
QUALITY_LEVEL = (-3.0, 0.09)        # log-SNR [nat] of quality 0, and per point: docs/experiments.md, "quality"
MEAN_FROM = 2.0                     # nat: files that reach this log-SNR name the posterior mean: docs/experiments.md, "denoiser"
MOST_PIXELS = 8192 * 8192           # what decode() takes on without being asked
# Payload bits up to which the sender can afford 2^L states: docs/experiments.md, "states".
STATES = ((4_000, 16), (10_000, 15), (100_000, 14), (400_000, 12), (2_000_000, 10))
FEWEST_STATES = 8
PFR_CHUNK = 14                      # bits a chunk: docs/experiments.md, "pfr"


@dataclass(frozen=True)
class Encoded:
    """A file and what its encoder knows: the account of every step, and the coder's parameter."""

    data: bytes
    steps: list[Step]
    coder_bits: int


def pick_device(device: str | None = None) -> str:
    """`device`, or the environment's SDF_DEVICE, or the fastest that torch has: cuda, mps, cpu."""
    import torch

    wanted = device or os.environ.get("SDF_DEVICE")
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device {wanted!r} is not to be had: {str(error).splitlines()[0]}") from error
    return wanted


def _nothing(done: int, total: int) -> None:
    """No progress wanted."""


def budget_of(width: int, height: int, quality: float | None, bpp: float | None, target_bytes: int | None) -> int | None:
    """Bytes that the file may take, or None where a quality decides. BadInput for values that make no sense."""
    if sum(x is not None for x in (quality, bpp, target_bytes)) > 1:
        raise BadInput("quality, bpp and target_bytes exclude each other: give one of them")
    if quality is not None and not (isinstance(quality, (int, float)) and QUALITIES[0] <= quality <= QUALITIES[-1]):
        raise BadInput(f"quality {quality!r} is outside {QUALITIES[0]}..{QUALITIES[-1]}")
    if bpp is not None:
        if not (isinstance(bpp, (int, float)) and 0 < bpp <= 24):
            raise BadInput(f"bpp {bpp!r} is not above 0 and at most 24 bits per pixel")
        return int(bpp * width * height / 8)
    if target_bytes is not None and not (isinstance(target_bytes, int) and target_bytes > 0):
        raise BadInput(f"target_bytes {target_bytes!r} is not a positive whole number")
    return target_bytes


def encode(
    pixels: np.ndarray,
    alpha: np.ndarray | None = None,
    *,
    quality: float | None = None,
    bpp: float | None = None,
    target_bytes: int | None = None,
    model_name: str = DEFAULT_MODEL,
    seed: int = 0,
    steps: int | None = None,
    table: int | None = None,
    coder: str = "trellis",
    coder_bits: int | None = None,
    denoiser: tuple[int, int] | None = None,
    conditioning: kinds.Conditioning = kinds.Conditioning(),
    chunks: Sequence[tuple[bytes, bytes]] = (),
    device: str | None = None,
    progress: Progress = _nothing,
) -> Encoded:
    """Write a picture.

    pixels        (H, W) for mode L or (H, W, 3) for RGB, uint8, sides 1..65535; alpha: (H, W) uint8, kept without loss
    quality       1..100, the noise level at which sending stops; 50 unless one of the next two is given
    bpp           bits per pixel that the whole file may take, at most; target_bytes: the same in bytes
    steps         1..255; chosen to suit if None
    model_name    of table 4.1, or the folder of a pipeline of diffusers
    coder         a name of table 5.2; coder_bits: L of the trellis, or bits a chunk of pfr, 8..18; chosen to suit if None
    table         a registered schedule (table 4.3) with one gain for this picture, instead of the law fitted to it
    denoiser      (id, steps) of table 5.3 written into the file, or None for the model's own
    conditioning  a prompt and guidance, kept in the file, for models that take them
    chunks        metadata (type, body), §3.4
    progress      called with (done, total) between model calls; an exception from it ends the encoding

    Raises BadInput for what cannot be done, MissingModel if the model's weights are not there.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[2] != 3:
        raise BadInput(f"pixels of shape {pixels.shape} and type {pixels.dtype}; wanted (H, W) or (H, W, 3), uint8")
    height, width = pixels.shape[:2]
    if not (1 <= width <= container.MAX_SIDE and 1 <= height <= container.MAX_SIDE):
        raise BadInput(f"a picture of {width}x{height}: sides must be 1..{container.MAX_SIDE}")
    if steps is not None and not 1 <= steps <= 255:
        raise BadInput(f"steps {steps} is outside 1..255")
    if table is not None and (table not in schedule.registry() or steps is not None):
        raise BadInput(f"table {table!r}: wanted one of {sorted(schedule.registry())}, and no steps beside it")
    if coder not in kinds.CODERS.values():
        raise BadInput(f"coder {coder!r} is unknown here; known: {', '.join(kinds.CODERS.values())}")
    if coder_bits is not None and coder_bits - kinds.CODER_FIRST not in kinds.CODER_PARAMETERS:
        raise BadInput(f"coder_bits {coder_bits} is outside 8..18")
    if not 0 <= seed < 1 << 32:
        raise BadInput(f"seed {seed} is outside 0..2^32 - 1")
    conditioning = kinds.as_written(conditioning)
    budget = budget_of(width, height, quality, bpp, target_bytes)
    found = model.find(model_name)
    spec = found.spec
    mode = ("L" if pixels.ndim == 2 else "RGB") + ("A" if alpha is not None else "")
    others = list(chunks)
    if alpha is not None:
        others.append((ALPHA_CHUNK, alpha_plane.encode(alpha)))

    def header(fields: kinds.Diffc) -> Header:
        named = {} if found.key else dict(channels=spec.channels, cell=spec.cell)
        return Header(width, height, mode, kinds.DIFFC, found.key, found.weights, kinds.build_diffc(fields), **named)

    def room(fields: kinds.Diffc, file_bytes: int) -> int:
        """Payload bytes that fit into a file; the payload's own length field may take a byte more than for none."""
        left = file_bytes - len(container.build(header(fields), b"", others))
        return left - max(0, (max(left, 1).bit_length() - 1) // 7)

    smallest = kinds.Diffc(schedule.LAW, dict(steps=1, end=-64, slope=1, bend=0), seed=seed, denoiser=denoiser,
                           conditioning=conditioning)
    if budget is not None and room(smallest, budget) < 1:
        least = budget + 1 - room(smallest, budget)
        raise BadInput(f"{budget} bytes are too few for this picture: header, alpha and metadata alone take {least - 1}; "
                       f"allow at least {least}, or drop metadata")
    loaded, _ = _told(model.load(found, pick_device(device)), conditioning)
    latent = loaded.encode(padded(pixels, spec))
    fields, payload_bytes = _plan(latent, loaded, smallest, budget, room, quality, steps, coder, coder_bits, table)
    payload, account = diffc.encode(latent, fields, payload_bytes, loaded, progress)
    return Encoded(container.build(header(fields), payload, others), account, kinds.CODER_FIRST + fields.coder[1])


def _told(loaded: model.Model, conditioning: kinds.Conditioning) -> tuple[model.Model, model.Model]:
    """The model for the walk and the one for the denoiser.  §5.2"""
    if conditioning == kinds.Conditioning():
        return loaded, loaded
    if not hasattr(loaded, "conditioned"):
        raise Unsupported("§5.2 a prompt or guidance for a model that takes none")
    walker, finisher = (loaded.conditioned(conditioning.prompt, g) for g in (conditioning.coding, conditioning.denoising))
    return walker, finisher


def padded(pixels: np.ndarray, spec: model.ModelSpec) -> np.ndarray:
    """(H, W) or (H, W, 3) to (H', W', 3), the borders repeated up to sides that the model takes.  §4.1"""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, spec.padded(height) - height), (0, spec.padded(width) - width), (0, 0)), "edge")


def _plan(
    latent: Tensor,
    loaded: model.Model,
    smallest: kinds.Diffc,
    budget: int | None,
    room: Callable[[kinds.Diffc, int], int],
    quality: float | None,
    steps: int | None,
    coder: str,
    coder_bits: int | None,
    table: int | None,
) -> tuple[kinds.Diffc, int]:
    """Schedule and payload size [byte] for a budget, or for a quality; never more than the model can say of the picture."""
    limit = latent.numel()                       # bits: a bit a value is above the model's range
    level = tune.HIGHEST
    if budget is None:
        level = min(level, QUALITY_LEVEL[0] + QUALITY_LEVEL[1] * (DEFAULT_QUALITY if quality is None else quality))
    else:
        limit = min(limit, 8 * room(smallest, budget))
    number = next(i for i, name in kinds.CODERS.items() if name == coder)

    def suited(bits: int) -> int:
        """The coder's parameter for a payload of so many bits."""
        return coder_bits or (states_for(bits) if number == kinds.TRELLIS else PFR_CHUNK)

    def capacity(parameter: int) -> tune.Capacity:
        return lambda bits, dimensions: diffc.CODERS[number].capacity(bits, parameter, dimensions)

    guess = capacity(suited(limit) if budget is not None else kinds.CODER_FIRST + kinds.DEFAULT_CODER[1])

    def counted(bits: int) -> int:
        return steps or tune.step_count(bits)

    def reach(curve: tune.Curve, bits: int) -> float:
        return tune.ideal_levels(curve, schedule.law_bits(counted(bits), bits), guess)[-1]

    def enough(curve: tune.Curve) -> bool:
        return curve.levels[-1] >= level or budget is not None and reach(curve, limit) <= curve.levels[-1]

    curve = tune.measure(latent, loaded, enough)
    if budget is not None:
        level = min(level, reach(curve, limit))
    bits = limit if budget is not None and level < tune.HIGHEST else tune.bits_for_level(curve, level, guess, limit)
    chosen = capacity(suited(bits))
    fields = replace(smallest, coder=(number, suited(bits) - kinds.CODER_FIRST))
    if fields.denoiser is None and level >= MEAN_FROM:
        fields = replace(fields, denoiser=(kinds.MEAN, 1))
    if table is None:
        granted = schedule.law_bits(counted(bits), bits)
        fields = replace(fields, schedule=tune.fit(tune.ideal_levels(curve, granted, chosen), granted))
    else:
        cells = latent.shape[2] * latent.shape[3]
        entry = schedule.registry()[table]
        levels = tune.table_up_to(entry, level)
        standard = schedule.granted_bits(entry, schedule.REGISTERED_GAIN, cells)
        # At least so much that the whole table holds the payload.
        gain = max(round(schedule.REGISTERED_GAIN * tune.table_gain(curve, levels, tuple(standard[: len(levels)]), chosen)),
                   -(-schedule.REGISTERED_GAIN * (bits + len(levels)) // sum(standard)))
        fields = replace(fields, form=schedule.REGISTERED, schedule=dict(table=table, gain=gain))
        bits = min(bits, sum(schedule.granted_bits(entry, gain, cells)) // 8 * 8)
    payload = -(-bits // 8)
    if budget is not None:
        most = room(fields, budget)
        payload = most if bits == limit else min(payload, most)
    return fields, max(1, payload)


def states_for(bits: int) -> int:
    """L for a payload of so many bits."""
    return next((states for most, states in STATES if bits <= most), FEWEST_STATES)


def decode(
    stream: BinaryIO,
    file: container.File | None = None,
    *,
    device: str | None = None,
    denoiser: tuple[int, int] | None = None,
    realism: float | None = None,
    truncated: bool = False,
    most_pixels: int = MOST_PIXELS,
    progress: Progress = _nothing,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture: pixels (H, W) or (H, W, 3), and alpha (H, W) or None, uint8.

    file         what `container.scan` found, if that was done already
    denoiser     (id, steps) of table 5.3 instead of the file's own
    realism      0 (posterior mean, highest fidelity) to 1 (probability flow, most realistic) instead of either
    truncated    decode what is there of a file that ends early
    most_pixels  refuse larger pictures before any model runs

    Raises BadFile, Truncated, Unsupported, MissingModel; BadInput for a device that is not there.
    """
    if realism is not None and not (isinstance(realism, (int, float)) and 0 <= realism <= 1):
        raise BadInput(f"realism {realism!r} is outside 0..1")
    file = file or container.scan(stream)
    header = file.header
    if header.width * header.height > most_pixels:
        raise BadFile(f"§3.3 {header.width}x{header.height} pixels are more than the {most_pixels} that the caller allows")
    fields = kinds.parse_diffc(header)
    found = model.find_for(header)
    spec = found.spec
    if file.problem and not (truncated and isinstance(file.problem, Truncated)):
        raise file.problem
    data = file.find(DATA_CHUNK)
    if data is None:
        raise file.problem or BadFile("§3.2 there is no payload chunk")
    partial = data.available < data.length or file.problem is not None
    payload = container.read_part(stream, data) if partial else container.read(stream, data)
    shape = (1, spec.channels, *(spec.padded(n) // spec.cell for n in (header.height, header.width)))
    plane = _alpha(stream, file)
    loaded, finisher = _told(model.load(found, pick_device(device)), fields.conditioning)
    wanted = denoiser or fields.denoiser or spec.denoiser
    if realism is not None and wanted[0] not in (kinds.FLOW, kinds.BALANCED):
        wanted = (kinds.FLOW, kinds.FLOW_STEPS)
    latent = diffc.decode(payload, data.length, shape, fields, wanted, loaded, progress, finisher, realism)
    pixels = loaded.decode(latent)[: header.height, : header.width]
    if header.mode.startswith("L"):
        pixels = pixels.mean(axis=2).round().astype(np.uint8)
    return np.ascontiguousarray(pixels), plane


def _alpha(stream: BinaryIO, file: container.File) -> np.ndarray | None:
    """§3.5: there is an alpha plane exactly where the mode has alpha."""
    chunk = file.find(ALPHA_CHUNK)
    if (chunk is not None) != file.header.mode.endswith("A"):
        raise BadFile(f"§3.5 mode {file.header.mode} {'without' if chunk is None else 'with'} an alpha chunk")
    return alpha_plane.decode(container.read(stream, chunk), file.header.height, file.header.width) if chunk else None


def decode_bytes(data: bytes, **options) -> tuple[np.ndarray, np.ndarray | None]:
    """`decode` of a file in memory."""
    return decode(io.BytesIO(data), **options)
