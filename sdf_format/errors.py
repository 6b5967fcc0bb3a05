"""Errors, sorted by who can mend them (§8). All are OSErrors, as Pillow's callers expect.

A message says where (clause, chunk, byte offset), what was found, what was wanted, and what to do.
"""


class SdfError(OSError):
    """Anything this package reports about a file, a model or a request."""


class BadFile(SdfError):
    """The file breaks a rule of the specification: whoever wrote or carried it has to mend it."""


class Truncated(BadFile):
    """The file ends too early. What is there may still decode to a coarser picture."""


class Unsupported(SdfError):
    """A valid file, as far as can be told, that this decoder or this installation cannot decode."""


class MissingModel(Unsupported):
    """The weights that the file names are not to be had here, or are not the ones it was made with."""


class BadInput(SdfError, ValueError):
    """The caller asked for something impossible: a parameter, a mode, a size."""
