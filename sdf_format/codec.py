"""Pictures to files and back: padding, rate, model, payload, container in one place (§2).

Pixels are NumPy arrays; Pillow comes in one layer higher.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sdf_format import arguments, limits
from sdf_format.container import alpha as alpha_plane
from sdf_format.container import chunks, parameters
from sdf_format.container.chunks import ALPHA_CHUNK, DATA_CHUNK
from sdf_format.container.header import MAX_SIDE, SOUNDS, Header, not_a_picture
from sdf_format.errors import BadFile, BadInput, IsSound, Trailing, Truncated, Unsupported, error_context
from sdf_format.host import with_own_settings
from sdf_format.inspect import cost, validate
from sdf_format.limits import Limits, enough_memory
from sdf_format.models import loading
from sdf_format.payloads import diffc_encoder, lowbit, palette
from sdf_format.payloads.diffc import Step
from sdf_format.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

    from sdf_format.models.registry import ModelSpec

DEFAULT_MODEL = "sdf-tiny-1"


@dataclass(frozen=True)
class Codec:
    """A payload kind.

    options  what a caller may ask of it; made from keywords, BadInput for values that cannot be
    encode   (latent, model, its row, options, room, progress, size) -> header fields, payload, account; size: height
             and width of a picture [pixel], None of a sound
    decode   (payload, declared bytes, shape, fields, model, its row, denoiser, realism, progress) -> latent
    draft    the same for pictures made small: faster, coarser; None: as decode
    samples  (the same arguments without the last three, number, progress) -> so many latents, one after another, that
             the payload does not rule out; None: the kind has no such thing
    """

    options: type[Any]
    encode: Callable[..., Any]
    decode: Callable[..., Any]
    draft: Callable[..., Any] | None = None
    samples: Callable[..., Any] | None = None


KINDS = {  # table 5.1
    parameters.DIFFC: Codec(
        diffc_encoder.EncodeOptions,
        diffc_encoder.encode,
        diffc_encoder.decode,
        diffc_encoder.draft,
        diffc_encoder.samples,
    ),
    parameters.PALETTE: Codec(palette.EncodeOptions, palette.encode, palette.decode),
    parameters.LOWBIT: Codec(lowbit.EncodeOptions, lowbit.encode, lowbit.decode),
}


@dataclass(frozen=True)
class Encoded:
    """A file and what its encoder knows: the header's fields of its kind, and the account of every step."""

    data: bytes
    steps: list[Step]
    fields: parameters.Fields


def pick_device(device: str | None = None) -> str:
    """`device`, or the environment's SDF_DEVICE, or the fastest that torch has: cuda, mps, cpu. BadInput for one that
    numbers do not come back from.
    """
    import torch

    if device is not None and not isinstance(device, (str, torch.device)):
        raise BadInput(f"device {device!r}: wanted a name such as 'cuda:1' or 'cpu'")
    wanted = str(device or "") or os.environ.get("SDF_DEVICE")
    if not wanted:
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=wanted).cpu()
    except Exception as error:  # what PyTorch raises depends on the device, and on how it was built
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(f"device {wanted!r} is not to be had: {reason}") from error
    return wanted


def free_memory(device: str | None) -> float:
    """Bytes that are free where latents live: of a CUDA device, otherwise of this machine.

    device  as `pick_device` takes it
    """
    import torch

    wanted = pick_device(device)
    if wanted.startswith("cuda") and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info(wanted)[0])
    return limits.free_memory()


def budget_of(width: int, height: int, bpp: float | None, target_bytes: int | None) -> int | None:
    """Bytes that the file may take, or None for no limit. BadInput for values that make no sense."""
    if bpp is not None:
        if not (found := arguments.number("bpp", bpp, 0, 24)):
            raise BadInput(f"bpp {bpp!r} is not above 0 bits per pixel")
        return int(found * width * height / 8)
    return None if target_bytes is None else arguments.whole("target_bytes", target_bytes, 1)


def options_for(kind: str, options: dict[str, object]) -> tuple[Codec, Any]:
    """The payload kind of a name, and what a caller asks of it. BadInput for a kind or an option that is not there."""
    number = next((n for n, name in parameters.KINDS.items() if name == kind), None)
    if number is None:
        raise BadInput(f"kind {kind!r} is unknown here; known: {', '.join(parameters.KINDS.values())}")
    known = [f.name for f in fields(KINDS[number].options)]
    for name in options:
        if name not in known:
            raise BadInput(f"{name} means nothing to kind {kind}; it takes {', '.join(known)}")
    return KINDS[number], KINDS[number].options(**options)


def unsuited(kind: int, spec: ModelSpec) -> str | None:
    """Why a payload kind and a model do not go together, or None if they do.  §5.1"""
    if kind != parameters.DIFFC and not spec.autoencoder:
        return (
            f"kind {parameters.KINDS[kind]} needs the latent of an autoencoder, and {spec.name} has none; name a model "
            "with one, such as sd15 or the folder of an AutoencoderKL"
        )
    return None


@enough_memory("encoding")
@with_own_settings
def encode(
    pixels: np.ndarray,
    alpha: np.ndarray | None = None,
    *,
    kind: str = "diffc",
    bpp: float | None = None,
    target_bytes: int | None = None,
    model_name: str = DEFAULT_MODEL,
    chunks: Sequence[tuple[bytes, bytes]] = (),
    device: str | None = None,
    progress: Progress = no_progress,
    wrap_model: Callable[[loading.Model], loading.Model] = lambda own: own,
    **options: Any,
) -> Encoded:
    """Write a picture.

    pixels        (H, W) for mode L or (H, W, 3) for RGB, uint8, sides 1..65535; alpha: (H, W) uint8, kept without loss
    kind          a name of table 5.1; options: what it takes, see `EncodeOptions` of `payloads.diffc_encoder` and of
                  the others' modules
    bpp           bits per pixel that the whole file may take, at most; target_bytes: the same in bytes
    model_name    of table 4.1, or the folder of a pipeline of diffusers
    chunks        metadata (type, body), §3.4
    progress      called with (done, total) between model calls; an exception from it ends the encoding
    wrap_model    gives what stands in the model's place, as for `decode`

    Raises BadInput for what cannot be done, MissingModel if the model's weights are not there.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise BadInput(f"pixels of shape {pixels.shape} and type {pixels.dtype}; wanted (H, W) or (H, W, 3), uint8")
    height, width = pixels.shape[:2]
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise BadInput(f"a picture of {width}x{height}: sides must be 1..{MAX_SIDE}")
    if sum(x is not None for x in (options.get("quality"), bpp, target_bytes)) > 1:
        raise BadInput("quality, bpp and target_bytes exclude each other: give one of them")
    if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != (height, width)):
        raise BadInput(f"alpha of shape {alpha.shape} and type {alpha.dtype}; wanted ({height}, {width}), uint8")
    arguments.callback("progress", progress)
    codec, chosen = options_for(kind, options)
    budget = budget_of(width, height, bpp, target_bytes)
    found = loading.find(model_name)
    spec = found.spec
    if spec.sound:
        raise BadInput(f"{model_name} is a model of sound; sdf_format.sound.encode writes sound with it")
    if problem := unsuited(parameters.number(chosen.smallest()), spec):
        raise BadInput(problem)
    mode = ("L" if pixels.ndim == 2 else "RGB") + ("A" if alpha is not None else "")
    others = list(chunks)
    if alpha is not None:
        others.append((ALPHA_CHUNK, alpha_plane.encode(alpha)))

    blank = Header(width, height, mode, 0, found.key, found.weights, b"")
    return assemble(
        blank,
        others,
        budget,
        found,
        pick_device(device),
        codec,
        chosen,
        lambda loaded: loaded.encode(pad_to_model(pixels, spec)),
        progress,
        wrap_model,
    )


def assemble(
    blank: Header,
    others: Sequence[tuple[bytes, bytes]],
    budget: int | None,
    found: loading.ResolvedModel,
    device: str,
    codec: Codec,
    options: Any,
    latent_of: Callable[[loading.Model], Tensor],
    progress: Progress,
    wrap_model: Callable[[loading.Model], loading.Model] = lambda own: own,
) -> Encoded:
    """A file of a latent.

    blank: its header but for kind, parameters and latent; budget: bytes that it may take, or None; latent_of: run on
    the loaded model
    """
    spec = found.spec
    named: dict[str, Any] = {} if found.key else dict(channels=spec.channels, cell=spec.cell)

    def header(fields: parameters.Fields) -> Header:
        return replace(blank, kind=parameters.number(fields), parameters=parameters.build(fields), **named)

    def room(fields: parameters.Fields) -> int:
        """Payload bytes that fit into the budget; the payload's own length field may take a byte more than for none."""
        assert budget is not None
        left = budget - len(chunks.build(header(fields), b"", others))
        return left - max(0, (max(left, 1).bit_length() - 1) // 7)

    if budget is not None and room(options.smallest()) < 1:
        least = budget + 1 - room(options.smallest())
        raise BadInput(
            f"{budget} bytes are too few: header, alpha and metadata alone take {least - 1}; "
            f"allow at least {least}, or drop metadata"
        )
    loaded = wrap_model(loading.load(found, device))
    made, payload, account = codec.encode(
        latent_of(loaded),
        loaded,
        spec,
        options,
        None if budget is None else room,
        progress,
        None if blank.sound else (blank.height, blank.width),
    )
    return Encoded(chunks.build(header(made), payload, others), account, made)


def pad_to_model(pixels: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """(H, W) or (H, W, 3) to (H', W', 3), the borders repeated up to sides that the model takes.  §4.1"""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, spec.padded(height) - height), (0, spec.padded(width) - width), (0, 0)), "edge")


@enough_memory("decoding")
@with_own_settings
def decode(
    stream: BinaryIO,
    file: chunks.File | None = None,
    *,
    device: str | None = None,
    denoiser: tuple[int, int] | None = None,
    realism: float | None = None,
    truncated: bool = False,
    most_pixels: float | None = None,
    most_work: float | None = None,
    most_memory: float | None = None,
    most_seconds: float | None = None,
    reduce: int = 1,
    progress: Progress = no_progress,
    wrap_model: Callable[[loading.Model], loading.Model] = lambda own: own,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture: pixels (H, W) or (H, W, 3), and alpha (H, W) or None, uint8.

    file         what `container.scan` found, if that was done already
    denoiser     (id, steps) of table 5.3 instead of the file's own
    realism      0 (posterior mean, highest fidelity) to 1 (most realistic, by as much of the probability flow as suits
                 the model) instead of either
    truncated    decode what is there of a file that ends early, and pass over what follows one that ends in time
    most_pixels, most_work, most_memory, most_seconds
                 what the picture may cost, see `limits`; None: as the environment says, or the defaults. All but the
                 last are checked before any model runs, and drafts are refused where the whole picture would be
    wrap_model   gives what stands in the model's place: `batch.decode_many` has several files ask together
    reduce       2, 4 or 8: sides divided by so much, rounded up, from the first steps alone: for thumbnails

    Raises BadFile, Truncated, Unsupported, TooMuch, MissingModel; BadInput for a device that is not there.
    """
    realism = None if realism is None else arguments.number("realism", realism, 0, 1)
    arguments.callback("progress", progress)
    file = file or chunks.scan(stream)
    allowed = limits.resolved(most_pixels, most_work, most_memory, most_seconds, lambda: free_memory(device))
    at, start, limited = begin(stream, file, device, truncated, allowed, progress, wrap_model)
    plane = validate.plane(stream, file)
    kind = KINDS[file.header.kind]
    decoded = (kind.draft if reduce > 1 else None) or kind.decode
    with error_context(at):
        latent = decoded(*start, denoiser, realism, limited)
    samples = to_pixels(start[4], latent, file.header, reduce)
    return np.ascontiguousarray(samples), plane if plane is None else reduced(plane, reduce)


def begin(
    stream: BinaryIO,
    file: chunks.File,
    device: str | None,
    truncated: bool,
    allowed: Limits,
    progress: Progress,
    wrap_model: Callable[[loading.Model], loading.Model] = lambda own: own,
) -> tuple[int, tuple[Any, ...], Progress]:
    """What decoding starts from: offset of the payload's chunk; payload, declared bytes, shape, fields, model, its row;
    progress that refuses what is too much.  Arguments and errors: of `decode`
    """
    header = file.header
    if header.sound:
        raise IsSound(not_a_picture(header))
    cost.check(header, allowed)
    with error_context(file.chunks[0].offset):
        fields_of_kind = validate.check_header(file)
        found = loading.find_for(header)
        spec = found.spec
        check_weights(header, fields_of_kind, spec)
    data, payload = payload_of(stream, file, truncated)
    shape = (1, spec.channels, *(spec.padded(n) // spec.cell for n in (header.height, header.width)))
    loaded = wrap_model(loading.load(found, pick_device(device)))
    pixels = shape[2] * shape[3] * spec.cell**2
    limited = limits.Budget(allowed, pixels, progress, file.chunks[0].offset)
    return data.offset, (payload, data.length, shape, fields_of_kind, loaded, spec), limited


def check_weights(header: Header, fields: parameters.Fields, spec: ModelSpec) -> None:
    """§8.3, the end of stage "model": the header against what its weights turn out to be.  BadFile, Unsupported"""
    if header.model == 0 and (header.channels, header.cell) != (spec.channels, spec.cell):
        raise BadFile(
            f"§3.3 a latent of {header.channels} channels, cells of {header.cell}: the model has {spec.channels} "
            f"and {spec.cell}"
        )
    if (spec.sound.planes if spec.sound else 0) < SOUNDS.get(header.mode, 0) or (spec.sound and not header.sound):
        made_for = f"sound, {'mono' if spec.sound.planes == 1 else 'stereo'}" if spec.sound else "pictures"
        raise BadFile(f"§4.6 mode {header.mode} of {spec.name}, a model of {made_for}")
    if problem := unsuited(header.kind, spec):
        raise BadFile(f"§5.1 {problem}")
    spec.check_size(header.width, header.height)
    if not spec.predicts and (header.kind == parameters.DIFFC or getattr(fields, "cleanup", None)):
        raise Unsupported(
            f"§4.5 {'kind diffc' if header.kind == parameters.DIFFC else 'clean-up'} needs a model that "
            f"predicts; {spec.name} is an autoencoder alone"
        )


def to_pixels(loaded: loading.Model, latent: Tensor, header: Header, reduce: int = 1) -> np.ndarray:
    """A decoded latent as the picture's samples, its sides divided by `reduce`: by the model if it knows how, otherwise
    afterwards.
    """
    if reduce > 1 and hasattr(loaded, "decode_reduced"):
        samples = loaded.decode_reduced(latent, reduce)
    else:
        samples = reduced(loaded.decode(latent), reduce)
    samples = samples[: -(-header.height // reduce), : -(-header.width // reduce)]
    return samples.mean(axis=2).round().astype(np.uint8) if header.mode.startswith("L") else samples


def reduced(samples: np.ndarray, factor: int) -> np.ndarray:
    """(H, W) or (H, W, C) uint8, its sides divided by `factor` and rounded up: rounded means of squares, the borders
    repeated.
    """
    if factor == 1:
        return samples
    height, width = samples.shape[:2]
    square = np.pad(samples, ((0, -height % factor), (0, -width % factor), *[(0, 0)] * (samples.ndim - 2)), "edge")
    parts = square.reshape(square.shape[0] // factor, factor, square.shape[1] // factor, factor, *samples.shape[2:])
    return parts.mean(axis=(1, 3)).round().astype(np.uint8)


def payload_of(stream: BinaryIO, file: chunks.File, truncated: bool) -> tuple[chunks.Chunk, bytes]:
    """Chunk D and its body; where `truncated` allows that, what is there of it, whatever follows. BadFile, Truncated"""
    if file.problem and not (truncated and isinstance(file.problem, (Trailing, Truncated))):
        raise file.problem
    data = file.find(DATA_CHUNK)
    if data is None:
        raise file.problem or BadFile("§3.2 there is no payload chunk")
    if not isinstance(file.problem, Truncated):
        chunks.verify(stream, file, trailing=truncated)
    return data, chunks.read_part(stream, data)


def decode_bytes(data: bytes, **options: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """`decode` of a file in memory."""
    return decode(io.BytesIO(data), **options)
