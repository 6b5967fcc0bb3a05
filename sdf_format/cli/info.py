"""`sdf info`: what files say of themselves. No torch."""

from __future__ import annotations

import argparse
import io
import json
from typing import Any

from sdf_format import files, terminal
from sdf_format.cli import options


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("info", help="show header, chunks and schedule; needs no model")
    options.add_inputs(command)
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format.inspect import report

    several = terminal.Several()
    for name in args.files:
        line: dict[str, Any] = {"file": name, "valid": False}
        with several.each(name):
            try:
                with files.reading(name) as stream:
                    size = stream.seek(0, io.SEEK_END)
                    line |= report.describe(stream, size)
            except OSError as error:
                line["errors"] = [terminal.reason(error, name)]
                raise
        if args.json:
            print(json.dumps(line))
        elif "bytes" in line:
            print(report.as_text(terminal.shown(name), line))
        if not line["valid"]:
            several.status = terminal.FAILED
    return several.status
