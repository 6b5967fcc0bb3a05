"""`sdf calibrate`: schedules and tables of bits for a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdf_format import files, terminal
from sdf_format.cli import options
from sdf_format.inspect import table

UNLIMITED = "unlimited"


def _steps(text: str) -> int | None:
    return None if text == UNLIMITED else int(text)


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("calibrate", help="make schedules and tables of bits for a model (table 4.3)")
    command.add_argument("--model", default="sdf-tiny-1", help="of table 4.1, or the folder of a pipeline of diffusers")
    command.add_argument(
        "--images", type=Path, required=True, help="folder of photographs, none of them used for evaluation"
    )
    command.add_argument("--out", type=Path, required=True, help="JSON file to write; measurements are kept beside it")
    options.add_force(command)
    command.add_argument(
        "--steps",
        type=options.several(_steps),
        default=f"10,20,50,{UNLIMITED}",
        help="schedules to make, default %(default)s",
    )
    command.add_argument(
        "--size",
        type=options.several(int),
        default="256",
        help="sides of the crops, in pixels, default %(default)s",
    )
    command.add_argument("--end", type=options.number, default=6.0, help="log-SNR of the last step, in nat")
    command.add_argument("--count", type=options.count, default=32, help="photographs")
    command.add_argument(
        "--table", default="mean", help="what pictures are granted: mean, half, double, min or max of what these need"
    )
    command.add_argument("--state-bits", type=int, default=14, help="L of the trellis that the bits are for")
    options.add_device(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format.codec import pick_device
    from sdf_format.coding.rcc import trellis
    from sdf_format.models import loading
    from sdf_format.training.calibrate import REPORT, calibrate

    files.check_output(str(args.out), [str(args.images)], args.force)
    with terminal.progress("measuring") as progress:
        rows = calibrate(
            args.model,
            loading.load(loading.find(args.model), pick_device(args.device)),
            args.images,
            args.out,
            steps=args.steps,
            sides=args.size,
            end=args.end,
            count=args.count,
            table=args.table,
            capacity=lambda bits, dimensions: trellis.capacity(bits, args.state_bits, dimensions),
            progress=progress,
        )
    print("\n".join(table.lines(rows, REPORT)))
    return 0
