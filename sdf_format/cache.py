"""What is dear to make and may be thrown away, kept on disk: compiled kernels, hashes of large weights. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from pathlib import Path

HASH = 32  # bytes in front of what is kept: the SHA-256 of the rest


def folder() -> Path | None:
    """SDF_CACHE, or the user's cache folder as the platform has it; None for a user without a home."""
    if own := os.environ.get("SDF_CACHE"):
        return Path(own)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "sdf-format"


def place(*names: str) -> Path | None:
    """A file below the folder, or None if there is none."""
    base = folder()
    return None if base is None else base.joinpath(*names)


def read(path: Path | None) -> bytes | None:
    """What `keep` wrote, or None if there is nothing sound."""
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[HASH:] if hashlib.sha256(data[HASH:]).digest() == data[:HASH] else None


def keep(path: Path | None, data: bytes) -> None:
    """Whole or not at all; where nothing can be written, the next process makes it again."""
    if path is None:
        return
    own = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(hashlib.sha256(data).digest() + data)
        own.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            own.unlink()
