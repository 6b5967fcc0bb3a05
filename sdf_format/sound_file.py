"""Sound files of other formats, by libsndfile: WAV, FLAC, Ogg, MP3 and what else it knows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sdf_format.errors import BadInput, Unsupported

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is one of these."""
    return os.fspath(path).lower().endswith(ENDINGS)


def _library() -> Any:
    try:
        import soundfile  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:  # OSError: there is no libsndfile
        raise Unsupported(f"sound files need the package soundfile: pip install sdf-format[sound] ({error})") from error
    return soundfile


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """(channels, n) float32, full scale 1, and the rate [Hz]. BadInput for what is no sound."""
    library = _library()
    try:
        samples, rate = library.read(path, dtype="float32", always_2d=True)
    except library.LibsndfileError as error:
        raise BadInput(f"{path}: {error}") from error
    return samples.T, rate


def write(path: str | os.PathLike[str], samples: np.ndarray, rate: int) -> None:
    """(channels, n), in the format that the name's ending says, WAV and FLAC with 16 bits a sample."""
    library = _library()
    try:
        library.write(path, samples.T, rate)
    except (library.LibsndfileError, TypeError, ValueError) as error:  # TypeError: an ending that says no format
        raise BadInput(f"{path} cannot be written: {error}") from error
