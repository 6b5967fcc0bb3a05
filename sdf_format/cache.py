"""What is dear to make and may be thrown away, kept on disk: compiled kernels, hashes of large weights. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from pathlib import Path

HASH = 32  # bytes in front of what is kept: the SHA-256 of the rest


def folder() -> Path:
    """SDF_CACHE, or the user's cache folder as the platform has it."""
    if own := os.environ.get("SDF_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sdf-format"


def read(path: Path) -> bytes | None:
    """What `keep` wrote, or None if there is nothing sound."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[HASH:] if hashlib.sha256(data[HASH:]).digest() == data[:HASH] else None


def keep(path: Path, data: bytes) -> None:
    """Whole or not at all; where nothing can be written, the next process makes it again."""
    own = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(hashlib.sha256(data).digest() + data)
        own.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            own.unlink()
