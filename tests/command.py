"""The command `sdf` in this process, as a shell sees it: its exit status and the bytes of both streams."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass

from sdf_format.cli.main import main


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Done:
    """status: what a shell has in `$?`; data, said: what went to standard output and standard error."""

    status: int
    data: bytes
    said: str

    @property
    def text(self) -> str:
        return self.data.decode()


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]


def sdf(
    *arguments: str | os.PathLike[str], stdin: bytes = b"", encoding: str = "utf-8", terminal: bool = False
) -> Done:
    """Run `sdf ARGUMENTS`.  encoding: of both output streams; terminal: whether both say that they are one"""
    before = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    kind = Terminal if terminal else io.TextIOWrapper
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    sys.stdout, sys.stderr = kind(out, encoding=encoding), kind(err, encoding=encoding)
    try:
        try:
            status = main([os.fspath(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.detach()  # or the buffers would be closed with it
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    return Done(status, out.getvalue(), err.getvalue().decode(encoding))
