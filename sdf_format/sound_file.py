"""Sound files of other formats, by libsndfile: WAV, FLAC, Ogg, MP3 and what else it knows."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np

from sdf_format.errors import BadInput, Unsupported, with_extra

# Endings, and libsndfile's names of their formats.
FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".caf": "CAF",
    ".w64": "W64",
    ".rf64": "RF64",
}
ENDINGS = tuple(FORMATS)
CODINGS = {".opus": "OPUS"}  # where the format alone does not say it
FRONT = 16  # bytes of a file that tell whether it is sound
SIGNATURES = (
    b"fLaC",
    b"OggS",
    b"ID3",
    b"\xff\xfb",
    b"\xff\xf3",
    b"\xff\xf2",
    b".snd",
    b"caff",
    b"RF64",
    b"riff\x2e\x91\xcf\x11",
)


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is one of these."""
    return os.fspath(path).lower().endswith(ENDINGS)


def has_signature(front: bytes) -> bool:
    """Whether the first FRONT bytes of a file say that it is one of these."""
    return front.startswith(SIGNATURES) or (front[:4], front[8:12]) in (
        (b"RIFF", b"WAVE"),
        (b"FORM", b"AIFF"),
        (b"FORM", b"AIFC"),
    )


def _library() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: there is no libsndfile
        raise Unsupported(f"sound files need the package soundfile: {with_extra('sound')} ({error})") from error
    return soundfile


def read(
    source: str | os.PathLike[str] | BinaryIO, name: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, int]:
    """(channels, n) float32, full scale 1, and the rate [Hz]. BadInput for what is no sound.

    source  a path, or a file that can be sought; name: of it, for messages
    """
    library = _library()
    try:
        samples, rate = library.read(source, dtype="float32", always_2d=True)
    except library.LibsndfileError as error:
        raise BadInput(f"{source if name is None else name}: {error}") from error
    return samples.T, rate


def build(samples: np.ndarray, rate: int, name: str) -> bytes:
    """The file that holds (channels, n) float32, in the format that the ending of `name` says.

    WAV and FLAC have 16 bits a sample. BadInput for what the format does not hold.
    """
    library = _library()
    ending = os.path.splitext(name)[1].lower()
    buffer = io.BytesIO()
    try:
        library.write(buffer, samples.T, rate, CODINGS.get(ending), format=FORMATS[ending])
    except (library.LibsndfileError, TypeError, ValueError) as error:
        raise BadInput(f"{name} cannot be written: {error}") from error
    return buffer.getvalue()
