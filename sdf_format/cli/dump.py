"""`sdf dump`: every byte of files, annotated. No torch."""

from __future__ import annotations

import argparse
import io
from typing import Any

from sdf_format import files, terminal
from sdf_format.cli import options


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("dump", help="show every byte, annotated with fields and clauses; damaged files too")
    options.add_inputs(command)
    command.add_argument("--all", action="store_true", help="all of long fields too, not only their first 256 bytes")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format.inspect import dump

    several = terminal.Several()
    for name in args.files:
        text = None
        with several.each(name), files.reading(name) as stream:
            text = dump.as_text(dump.rows(stream, stream.seek(0, io.SEEK_END) if args.all else dump.SHOWN))
        if text is not None:
            if len(args.files) > 1:
                print(f"{terminal.shown(name)}:")
            print(text)
    return several.status
