"""What callers give, checked: numbers of any library are numbers, everything else is refused. `BadInput` throughout."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from sdf_format.errors import BadInput


def plain(value: Any) -> Any:
    """A scalar of NumPy or PyTorch, or an array of no dimension, as Python's own number; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def whole(name: str, value: Any, least: float, most: float = math.inf) -> int:
    """A whole number of least..most. Truth values are none, nor are floats."""
    found = plain(value)
    if isinstance(found, numbers.Integral) and not isinstance(found, bool) and least <= int(found) <= most:
        return int(found)
    raise BadInput(f"{name} {value!r} is outside {_range(least, most)}, whole numbers")


def number(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """A finite number of least..most; whole ones stay whole. Truth values are none."""
    found = plain(value)
    if isinstance(found, numbers.Real) and not isinstance(found, bool):
        exact = int(found) if isinstance(found, numbers.Integral) else float(found)
        if least <= exact <= most and exact < math.inf:
            return exact
    raise BadInput(f"{name} {value!r} is outside {_range(least, most)}")


def truth(name: str, value: Any) -> bool:
    """True or False."""
    if isinstance(found := plain(value), bool):
        return found
    raise BadInput(f"{name} {value!r}: wanted True or False")


def text(name: str, value: Any) -> str:
    """A string that UTF-8 can hold."""
    try:
        if isinstance(value, str) and value.encode() is not None:
            return value
    except UnicodeEncodeError as error:
        raise BadInput(f"{name}: a string with half a character in it, {error.object[error.start]!r}") from error
    raise BadInput(f"{name} {value!r:.100}: wanted a string, not {type(value).__name__}")


def octets(name: str, value: Any) -> bytes:
    """The bytes of any buffer."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise BadInput(f"{name} {value!r:.100}: wanted bytes, not {type(value).__name__}")


def callback(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if callable(value):
        return value
    raise BadInput(f"{name} {value!r}: wanted a function, not {type(value).__name__}")


def _range(least: float, most: float) -> str:
    return f"{least}..{most}" if most < math.inf else f"{least} and more"


def keep(made: object, name: str, check: Callable[..., Any], *limits: float) -> None:
    """Check a field of a frozen dataclass, unless it is None as by default, and keep it as Python's own number."""
    value = getattr(made, name)
    if value is not None or getattr(type(made), name) is not None:
        object.__setattr__(made, name, check(name, value, *limits))
