"""`sdf conformance`: the suite's verdict on a command, or on `sdf decode` in this process."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from sdf_format import terminal
from sdf_format.cli import decode, options
from sdf_format.errors import SdfError


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("conformance", help="judge a decoder by the files of spec/conformance")
    command.add_argument(
        "--decoder", metavar="CMD", help='as in "mydecoder {in} {out}", which writes a PNG; default: sdf decode'
    )
    command.add_argument(
        "--info",
        metavar="CMD",
        help='as in "mydecoder --header {in}", which prints JSON as sdf info --json does; '
        "default with --decoder: headers are not compared",
    )
    command.add_argument(
        "--suite", type=Path, metavar="DIR", help="folder of the suite; default: the one in the sources"
    )
    command.add_argument(
        "--strict", action="store_true", help="the tolerance of networks in float32; default: that of bfloat16"
    )
    command.add_argument(
        "--profile",
        choices=("full", "minimal"),
        default="full",
        help="minimal: a decoder of the embedded model and kind diffc alone, which refuses the rest",
    )
    command.add_argument("--only", default="*", metavar="PATTERN", help="names of files, as in 'alpha-*'")
    command.add_argument("--timeout", type=options.positive, default=300, help="seconds a file; default 300")
    command.add_argument("--json", action="store_true", help="the report as JSON")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format.inspect import conformance

    decoder = conformance.command(args.decoder, args.timeout) if args.decoder else own_decoder
    own = None if args.decoder else own_teller
    teller = conformance.teller(args.info, args.timeout) if args.info else own
    suite, tolerance = args.suite or conformance.SUITE, "strict" if args.strict else "wide"
    results = list(conformance.judge(suite, decoder, teller, args.only, tolerance, args.profile))
    print(json.dumps([vars(r) for r in results]) if args.json else conformance.as_text(results))
    return SdfError.status if any(r.problems for r in results) else 0


def own_decoder(source: Path, target: Path) -> tuple[int, str]:
    """`sdf decode`, in this process."""
    parser = argparse.ArgumentParser()
    decode.add(parser.add_subparsers())
    args = parser.parse_args(["decode", str(source), str(target)])
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = terminal.guarded("sdf decode", lambda: decode.run(args))
    return status, said.getvalue()


def own_teller(source: Path) -> dict[str, Any]:
    """`sdf info`, in this process."""
    from sdf_format.inspect import report

    with source.open("rb") as stream:
        try:
            return report.describe(stream, source.stat().st_size)
        except SdfError as error:
            return {"error": str(error)}
