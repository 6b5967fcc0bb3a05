"""Types of options: what cannot be is said by the parser, before anything runs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from sdf_format.files import STANDARD

DEVICE = "torch device; default: SDF_DEVICE, or the fastest there is"
FORCE = "replace files that are there already; an input never"


def number(text: str) -> float:
    """A number that is one."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def pixels(text: str) -> int:
    """The longer side of a preview."""
    try:
        return count(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of pixels; for the default of 256 write --preview behind the names of files, "
            "otherwise --preview=PIXELS"
        ) from None


def ending(text: str) -> str:
    """A file name's ending, with or without its dot: without."""
    return text[1:] if text.startswith(".") else text


def several(kind: Callable[[str], object]) -> Callable[[str], list[object]]:
    """A list separated by commas."""

    def values(text: str) -> list[object]:
        return [kind(part) for part in text.split(",")]

    values.__name__ = f"list of {kind.__name__}"
    return values


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Files to look at."""
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"SDF files; {STANDARD} for standard input")


def add_force(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--force", action="store_true", help=FORCE)


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--device", help=DEVICE)
