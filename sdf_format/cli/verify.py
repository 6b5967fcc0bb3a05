"""`sdf verify`: every byte and every rule that needs no model. No torch."""

from __future__ import annotations

import argparse
from typing import Any

from sdf_format import files, terminal
from sdf_format.cli import options


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("verify", help="check every byte; exit code 0 if all files are sound, 1 if not")
    options.add_inputs(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format.container import chunks
    from sdf_format.inspect import validate

    several = terminal.Several()
    for name in args.files:
        sound = False
        with several.each(name), files.reading(name) as stream:
            validate.check(stream, chunks.scan(stream))
            sound = True
        if sound:
            print(f"{terminal.shown(name)}: ok")
    return several.status
