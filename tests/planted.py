"""The decoder of the text with a mistake in it: a string replaced in the text, in its network or in its command."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import second_decoder
import second_network
from spec_text import TEXT

SOURCES = {"network": Path(second_network.__file__), "decoder": Path(second_decoder.__file__)}


def blocks() -> str:
    """All Python of the text."""
    return "\n".join(re.findall(r"```python\n(.*?)```", TEXT.read_text("utf-8"), flags=re.S))


def replaced(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times"
    return source.replace(old, new)


def mistaken_text(old: str, new: str) -> dict[str, Any]:
    """The names of the text's programs, one of them wrong."""
    names: dict[str, Any] = {}
    exec(replaced(blocks(), old, new), names)
    return names


def mistaken(where: str, old: str, new: str) -> types.ModuleType:
    """tests/second_network.py or tests/second_decoder.py, wrong."""
    module = types.ModuleType(f"mistaken_{where}")
    module.__file__ = str(SOURCES[where])
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(replaced(SOURCES[where].read_text("utf-8"), old, new), vars(module))
    return module


def decode(data: bytes, where: str, old: str, new: str) -> Any:
    """Pixels of a file by a decoder with that mistake."""
    if where == "text":
        return second_decoder.decode(data, text=mistaken_text(old, new))
    if where == "network":
        return second_decoder.decode(data, network=mistaken("network", old, new))
    return mistaken("decoder", old, new).decode(data)
