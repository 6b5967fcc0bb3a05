"""Sounds to files and back (§3.3, §4.6): the counterpart of `codec` for pictures.

Samples are NumPy arrays; `sound_file` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sdf_format import arguments, codec, limits
from sdf_format.codec import Encoded
from sdf_format.container import chunks
from sdf_format.container.header import SOUNDS, Header, build_header
from sdf_format.errors import BadInput, TooMuch, Unsupported, error_context, with_extra
from sdf_format.host import with_own_settings
from sdf_format.inspect import cost, validate
from sdf_format.models import loading
from sdf_format.models.autoencoder_config import SoundSettings
from sdf_format.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_KIND = "lowbit"
MOST_SAMPLES = 1 << 26  # what decode() takes on without being asked: 25 minutes at 44.1 kHz


def at_model(length: int, rate: int, sound: SoundSettings) -> tuple[int, int]:
    """Samples of a sound at the model's rate, and positions of its latent.  §4.6"""
    samples = -(-length * sound.rate // rate)
    return samples, -(-samples // sound.cell)


def resampled(samples: np.ndarray, rate: int, wanted: int, length: int) -> np.ndarray:
    """(channels, n) at another rate: (channels, length), cut or continued with silence.

    Unsupported without the package for it.
    """
    if rate != wanted:
        try:
            import soxr
        except ImportError as error:
            raise Unsupported(f"{rate} Hz to {wanted} Hz needs the package soxr: {with_extra('sound')}") from error
        samples = soxr.resample(np.ascontiguousarray(samples.T), rate, wanted, "VHQ").T
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1]))))


@limits.enough_memory("encoding a sound")
@with_own_settings
def encode(
    samples: np.ndarray,
    rate: int,
    *,
    model_name: str,
    kind: str = DEFAULT_KIND,
    target_bytes: int | None = None,
    chunks: Sequence[tuple[bytes, bytes]] = (),
    device: str | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Encoded:
    """Write a sound.

    samples       (1, n) or (2, n) floats, full scale 1; beyond it they are cut off
    rate          [Hz], 1000 to 1000000; resampled to the model's, and back by decoders
    model_name    folder of an AutoencoderOobleck or of a pipeline with one
    kind          a name of table 5.1, and its options; target_bytes: bytes that the file may take, where the kind can
                  choose

    Raises BadInput for what cannot be done, MissingModel if the weights are not there.
    """
    samples = np.asarray(samples)
    if samples.ndim != 2 or len(samples) not in SOUNDS.values() or not samples.shape[1] or samples.dtype.kind != "f":
        raise BadInput(
            f"samples of shape {samples.shape} and type {samples.dtype}; wanted (1, n) or (2, n) floats: mix more "
            "channels down first"
        )
    if not np.isfinite(samples).all():
        raise BadInput("some samples are not finite numbers")
    payload_kind, chosen = codec.options_for(kind, options)
    rate = arguments.whole("rate", rate, 1)
    arguments.callback("progress", progress)
    found = loading.find(model_name)
    sound = found.spec.sound
    if sound is None:
        raise BadInput(f"{model_name} is a model of pictures; sound needs the folder of an AutoencoderOobleck")
    if len(samples) > sound.planes:
        raise BadInput("a stereo sound for a model of mono: mix it down first")
    blank = blank_header(samples, rate, found)
    build_header(replace(blank, channels=1, cell=1))  # says what is wrong with length and rate
    return codec.assemble(
        blank,
        chunks,
        codec.budget_of(0, 0, None, target_bytes),
        found,
        codec.pick_device(device),
        payload_kind,
        chosen,
        lambda loaded: latent_of(samples, rate, sound, loaded),
        progress,
    )


def blank_header(samples: np.ndarray, rate: int, found: loading.ResolvedModel) -> Header:
    """A sound's header, but for what its payload kind says."""
    mode = next(name for name, count in SOUNDS.items() if count == len(samples))
    return Header(0, 0, mode, 0, found.key, found.weights, b"", length=samples.shape[1], rate=rate)


def latent_of(
    samples: np.ndarray, rate: int, sound: SoundSettings, loaded: loading.Model | loading.Autoencoder
) -> Tensor:
    """(1, C, 1, n).  §4.6"""
    length, positions = at_model(samples.shape[1], rate, sound)
    wave = resampled(np.clip(samples, -1, 1).astype(np.float32), rate, sound.rate, length)
    wave = np.pad(wave, ((0, 0), (0, positions * sound.cell - length)))
    return loaded.encode(np.repeat(wave, sound.planes // len(wave), axis=0))[:, :, None]


@limits.enough_memory("decoding a sound")
@with_own_settings
def decode(
    stream: BinaryIO,
    file: chunks.File | None = None,
    *,
    device: str | None = None,
    truncated: bool = False,
    most_samples: int = MOST_SAMPLES,
    most_work: float | None = None,
    most_memory: float | None = None,
    most_seconds: float | None = None,
    progress: Progress = no_progress,
) -> tuple[np.ndarray, int]:
    """Read a sound: (channels, n) float32 in [-1, 1], and the rate [Hz].

    file          what `container.scan` found, if that was done already
    truncated     decode what is there of a file that ends early
    most_samples  refuse longer sounds, at their own rate or the model's, before any model runs
    most_work, most_memory, most_seconds
                  what the sound may cost, see `limits`, a sample counting as a pixel; None: as the environment says, or
                  the defaults

    Raises BadFile, Truncated, Unsupported, TooMuch, MissingModel; BadInput for a picture and for a device that is not
    there.
    """
    arguments.callback("progress", progress)
    file = file or chunks.scan(stream)
    header = file.header
    if not header.sound:
        raise BadInput("this file holds a picture; Image.open or sdf_format.codec.decode reads it")
    allowed = limits.resolved(None, most_work, most_memory, most_seconds, lambda: codec.free_memory(device))
    with error_context(file.chunks[0].offset):
        fields = validate.check_header(file)
        check_samples(header.length, most_samples)
        cost.check(header, allowed)
        found = loading.find_for(header)
        codec.check_weights(header, fields, found.spec)
        sound = found.spec.sound
        assert sound is not None
        length, positions = at_model(header.length, header.rate, sound)
        check_samples(length, most_samples)
    data, payload = codec.payload_of(stream, file, truncated)
    loaded = loading.load(found, codec.pick_device(device))
    with error_context(data.offset):
        latent = codec.KINDS[header.kind].decode(
            payload,
            data.length,
            (1, found.spec.channels, 1, positions),
            fields,
            loaded,
            found.spec,
            None,
            None,
            limits.Budget(allowed, max(length, header.length), progress, file.chunks[0].offset),
        )
    return samples_of(latent, header, sound, loaded), header.rate


def check_samples(number: int, most: int) -> None:
    """TooMuch for more samples than the caller allows."""
    if number > most:
        raise TooMuch(f"§3.3 {number} samples are more than the {most} that the caller allows (most_samples)")


def samples_of(
    latent: Tensor, header: Header, sound: SoundSettings, loaded: loading.Model | loading.Autoencoder
) -> np.ndarray:
    """The other way.  §4.6"""
    wave = loaded.decode(latent[:, :, 0])[:, : at_model(header.length, header.rate, sound)[0]]
    if header.mode == "mono":
        wave = wave.mean(axis=0, keepdims=True)
    return resampled(wave, sound.rate, header.rate, header.length).clip(-1, 1)
