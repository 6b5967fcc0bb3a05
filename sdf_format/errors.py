"""Errors, sorted by who can mend them (§8). All are OSErrors, as Pillow's callers expect.

A message says where (clause, chunk, byte offset), what was found, what was wanted, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sdf_format.tables import table

STATUS = {row["name"]: row["status"] for row in table("errors")["classes"]}  # §8.1


def with_extra(name: str) -> str:
    """What to do where a package is missing that an extra of this distribution brings."""
    return f'install SDF with its extra {name}: pip install "PATH[{name}]", PATH being its sources or its wheel'


class SdfError(OSError):
    """Anything this package reports about a file, a model or a request.

    code    its class in §8, as the conformance suite spells it; status: what the command line exits with
    offset  of the chunk that it is about (§9), or None
    """

    code = "error"
    status = 1
    offset: int | None = None


class BadFile(SdfError):
    """The file breaks a rule of the specification: whoever wrote or carried it has to mend it."""

    code = "bad"
    status = STATUS[code]


class Truncated(BadFile):
    """The file ends too early. What is there may still decode to a coarser picture."""

    code = "truncated"
    status = STATUS[code]


class Trailing(BadFile):
    """Other bytes follow the file, which may be whole itself."""


class Unsupported(SdfError):
    """A valid file, as far as can be told, that this decoder or this installation cannot decode."""

    code = "unsupported"
    status = STATUS[code]


class TooMuch(Unsupported):
    """The file asks for more pixels or more work than the caller allows: a limit to be raised, if the file is to be
    trusted.
    """


class IsSound(Unsupported):
    """The file holds sound, and a picture was asked for."""


class MissingModel(Unsupported):
    """The weights that the file names are not to be had here, or are not the ones it was made with."""

    code = "missing-model"
    status = STATUS[code]


class BadInput(SdfError, ValueError):
    """The caller asked for something impossible: a parameter, a mode, a size."""

    code = "input"


@contextmanager
def error_context(offset: int) -> Iterator[None]:
    """Errors from inside are about the chunk at `offset`, unless they say otherwise."""
    try:
        yield
    except SdfError as error:
        if error.offset is None and not isinstance(error, BadInput):
            error.offset = offset
            if not re.search(r"offset \d", str(error)):
                error.args = (f"{error} (chunk at offset {offset})",)
        raise
