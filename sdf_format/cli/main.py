"""The command `sdf`: its parser and its subcommands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from sdf_format import __version__, terminal
from sdf_format.cli import bench, calibrate, conformance, decode, dump, encode, info, thumbnail, verify, view
from sdf_format.inspect.printable import printable

COMMANDS = (encode, decode, view, thumbnail, info, dump, verify, conformance, bench, calibrate)
WRONG_USAGE = 2


class Parser(argparse.ArgumentParser):
    """Errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {printable(message)}; `{self.prog} --help` lists the options\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line. Making it imports no torch, no NumPy and no Pillow."""
    top = Parser(
        prog="sdf",
        description="SDF image files: what a diffusion model cannot guess, and nothing else.",
        epilog="Exit codes: 0 done; 1 a bad file or request; 2 wrong usage; 3 unsupported; 4 the model is missing; "
        "5 truncated; 130 interrupted. Of several files, the ones that can be done are done, and the code is 1.",
    )
    top.add_argument("--version", action="version", version=f"sdf {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, `sys.argv` if none is given.  Result: the exit status"""
    with terminal.session("sdf"):
        args = parser().parse_args(arguments)
    return terminal.guarded(f"sdf {args.command}", lambda: int(args.run(args)))


if __name__ == "__main__":
    sys.exit(main())
