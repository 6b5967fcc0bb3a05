"""Bytes to typed fields by a Construct struct, strictly: all of them, in their one spelling (§3.2)."""

from __future__ import annotations

from construct import Construct, ConstructError, Container

from sdf_format.errors import BadFile

MAX_INTEGER = 2**32 - 1  # §2, either sign


def parse(struct: Construct, data: bytes, where: str) -> Container:
    """`data` read by `struct`, completely and in its one canonical spelling; otherwise BadFile.  §3.2, "integers".

    No integer in the result exceeds MAX_INTEGER, so arithmetic on it and messages about it cannot fail.
    """
    try:
        fields = struct.parse(data)
        again = struct.build(fields)
    except (ConstructError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadFile(f"{where}: cannot be read: {(str(error) or repr(error)).splitlines()[-1]}") from error
    if again != data:
        raise BadFile(f"{where}: {len(data)} bytes where the same fields take {len(again)}; not the canonical form")
    if _largest(fields) > MAX_INTEGER:
        raise BadFile(f"{where}: an integer is over {MAX_INTEGER}")
    return fields


def _largest(value: object) -> int:
    """The largest magnitude among the integers of a parsed struct."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, (dict, list)):
        return max((_largest(v) for v in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0
