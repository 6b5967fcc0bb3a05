"""Files that commands are given: `-` and pipes as inputs; outputs that replace nothing by accident, and are whole."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from sdf_format import atomic
from sdf_format.errors import BadInput

STANDARD = "-"  # name of standard input and of standard output
ENDING = ".sdf"


@contextmanager
def reading(name: str) -> Iterator[BinaryIO]:
    """A file that can be sought: the one of this name, or all that standard input or a pipe has."""
    if name == STANDARD:
        if sys.stdin is None:
            raise BadInput("there is no standard input")
        yield io.BytesIO(sys.stdin.buffer.read())
        return
    with open(name, "rb") as stream:
        yield stream if stream.seekable() else io.BytesIO(stream.read())


def check_output(name: str, inputs: Sequence[str], force: bool) -> None:
    """Whether `name` may be written, before there is anything to write.

    force  whether it may be there already

    Raises BadInput for a terminal, for an input, and for what is there; OSError for a folder that is missing or takes
    no files.
    """
    if name == STANDARD:
        if sys.stdout is None or sys.stdout.isatty():
            raise BadInput("standard output is a terminal and this is no text: name a file, or a pipe behind it")
        return
    if any(same(name, other) for other in inputs if other != STANDARD):
        raise BadInput(f"{name} is an input, which is never written over: name another file")
    atomic.check(name)
    if not force:
        _check_free(name)


def put(name: str, data: bytes, force: bool) -> None:
    """Write a whole file, or to standard output. What fails leaves the file as it was."""
    if name == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if not force:
        _check_free(name)  # it may have come while the model ran
    try:
        atomic.write(name, data)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, name) from error
        raise


def is_special(name: str) -> bool:
    """Whether a name stands for a device, a pipe or something open: what is written there replaces nothing."""
    if name == STANDARD or os.path.abspath(name).startswith(atomic.STREAMS):
        return True
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check_free(name: str) -> None:
    if os.path.exists(name) and not is_special(name):
        raise BadInput(f"{name} is there already: --force replaces it")


def same(one: str, other: str) -> bool:
    """Whether two names stand for one file, by links too."""
    try:
        return os.path.samefile(one, other) and not is_special(one)
    except OSError:  # one of them is not there
        return os.path.abspath(one) == os.path.abspath(other)
