"""Sound through kind lowbit: `sdf bench sound DIR [--model FOLDER] [--bits 1,2,4,8] [--seconds 7.47]`.

Whole files, from samples to samples. "model" is what the autoencoder makes of the exact latent: SNR and log-spectral
distance (LSD) to it say what the bits cost; those to the original say what model and bits cost together. Without
--model the autoencoder has Stable Audio's geometry, a narrow decoder and random weights: bytes and what the bits cost
mean something then, distances to the original do not.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdf_format import codec, sound, sound_file
from sdf_format.container import chunks, parameters
from sdf_format.errors import BadInput
from sdf_format.inspect.table import Table
from sdf_format.models import loading
from sdf_format.payloads import lowbit
from sdf_format.progress import no_progress

STABLE_AUDIO = dict(
    encoder_hidden_size=128,
    downsampling_ratios=[2, 4, 4, 8, 8],
    channel_multiples=[1, 1, 1, 1, 1],
    decoder_channels=8,
    decoder_input_channels=64,
    audio_channels=2,
    sampling_rate=44100,
)
# 161 positions, as in the published figures: 1.9 kB at 1 bit, 3.2 kB at 2 bits, from 41.2 kB of floats
SECONDS = 7.47
WINDOW, HOP = 2048, 512  # of the spectra, in samples
FLOOR = 1e-10  # of their power: -100 dB of full scale


def snr(reference: np.ndarray, found: np.ndarray) -> float:
    """Power of (channels, n) over that of the difference [dB]."""
    return float(10 * np.log10(np.square(reference).sum() / max(np.square(reference - found).sum(), 1e-30)))


def log_spectral_distance(reference: np.ndarray, found: np.ndarray) -> float:
    """Root mean square over frequencies of the difference of two power spectra in dB, averaged over frames and channels
    [dB].
    """
    difference = _spectra(reference) - _spectra(found)
    return float(np.sqrt(np.square(difference).mean(axis=-1)).mean())


def _spectra(samples: np.ndarray) -> np.ndarray:
    """(channels, frames, frequencies) in dB of full scale, by Hann windows."""
    window = np.hanning(WINDOW)
    samples = np.pad(samples, ((0, 0), (0, max(0, WINDOW - samples.shape[1]))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW, axis=1)[:, ::HOP]
    return 10 * np.log10(np.square(np.abs(np.fft.rfft(frames * window)) / (window.sum() / 2)) + FLOOR)


def random_autoencoder(folder: Path, **settings) -> Path:
    """An AutoencoderOobleck with random weights, saved.

    Without biases, and with weights that keep the variance: or all that comes out is constant.
    """
    import diffusers
    import torch

    torch.manual_seed(0)
    net = diffusers.AutoencoderOobleck(**STABLE_AUDIO | settings)
    with torch.no_grad():
        for name, weights in net.named_parameters():
            if name.endswith("bias"):
                weights.zero_()
            elif name.endswith(("weight_g", "weight.original0")):
                weights.mul_(3**0.5)  # of torch's uniform weights, whose variance is 1 / (3 inputs)
    net.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Row:
    """One clip at one number of bits; distances in dB, (SNR, LSD) each; the latent's without the channels' means."""

    clip: str
    seconds: float
    positions: int
    bits: int
    size: int
    latent_snr: float
    to_model: tuple[float, float]
    to_original: tuple[float, float]


def rows(clips: Sequence[Path], folder: str, bits: Sequence[int], seconds: float, device: str) -> Iterator[Row]:
    """Every clip at every number of bits.  seconds: of each clip, at most"""
    found = loading.find(folder)
    own = found.spec.sound
    if own is None:
        raise BadInput(f"{folder} is a model of pictures")
    loaded = loading.load(found, device)
    for clip in clips:
        samples, rate = sound_file.read(clip)
        samples = samples[:, : round(seconds * rate)]
        blank = sound.blank_header(samples, rate, found)
        exact = sound.latent_of(samples, rate, own, loaded)
        plain = sound.samples_of(exact, blank, own, loaded)
        for count in bits:
            data = codec.assemble(
                blank,
                (),
                None,
                found,
                device,
                codec.KINDS[parameters.LOWBIT],
                lowbit.EncodeOptions(bits=count),
                lambda _: exact,
                no_progress,
            ).data
            file = chunks.scan(io.BytesIO(data))
            payload = chunks.read(io.BytesIO(data), file.find(chunks.DATA_CHUNK))
            latent = lowbit.decode(
                payload,
                len(payload),
                tuple(exact.shape),
                parameters.parse(file.header),
                loaded,
                found.spec,
                None,
                None,
                no_progress,
            )
            back, _ = sound.decode(io.BytesIO(data), file, device=device)
            yield Row(
                clip.name,
                samples.shape[1] / rate,
                exact.shape[3],
                count,
                len(data),
                snr(*((x - exact.mean(dim=3, keepdim=True)).numpy() for x in (exact, latent))),
                (snr(plain, back), log_spectral_distance(plain, back)),
                (snr(samples, back), log_spectral_distance(samples, back)),
            )


HEADERS = (
    "clip",
    "seconds",
    "positions",
    "bits",
    "bytes",
    "bits a second",
    "SNR of the latent",
    "SNR, LSD to the model",
    "SNR, LSD to the original",
)


def cells(r: Row) -> tuple[object, ...]:
    """A row as HEADERS say."""
    pairs = [f"{snr:.2f}, {lsd:.2f}" for snr, lsd in (r.to_model, r.to_original)]
    rate = f"{8 * r.size / r.seconds:.0f}"
    return (r.clip, f"{r.seconds:.2f}", r.positions, r.bits, r.size, rate, f"{r.latent_snr:.2f}", *pairs)


def main(arguments: Sequence[str]) -> None:
    """`sdf bench sound`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench sound", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+", metavar="DIR", help="folders of sound files, or files")
    parser.add_argument(
        "--model", help="folder of an AutoencoderOobleck; default: random weights, Stable Audio's geometry"
    )
    parser.add_argument("--bits", default="1,2,4,8", help="a value of the latent")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="of each clip, from its beginning; default 161 positions of Stable Audio's latent",
    )
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    clips = [
        f for c in args.clips for f in (sorted(p for p in c.iterdir() if sound_file.is_sound(p)) if c.is_dir() else [c])
    ]
    if not clips:
        raise BadInput(f"no sound files in {', '.join(map(str, args.clips))}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.model or str(random_autoencoder(Path(scratch) / "vae"))
        bits = [int(b) for b in args.bits.split(",")]
        with Table(*HEADERS, total=len(clips) * len(bits)) as table:
            for row in rows(clips, folder, bits, args.seconds, args.device):
                table.add(*cells(row))
