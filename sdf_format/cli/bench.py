"""`sdf bench`: the benchmarks, each with options of its own."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from sdf_format.bench import BENCHES


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser(
        "bench",
        help="run a benchmark",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:8} {what}" for name, what in BENCHES.items()),
    )
    command.add_argument("name", choices=BENCHES)
    command.add_argument("arguments", nargs=argparse.REMAINDER, help="`sdf bench NAME --help` lists them")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import_module(f"sdf_format.bench.{args.name}").main(args.arguments)
    return 0
