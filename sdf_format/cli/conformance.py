"""`sdf conformance`: the suite's verdict on a command, or on `sdf decode` in this process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdf_format.errors import SdfError
from sdf_format.inspect import report
from sdf_format.inspect.conformance import Decoder, as_text, command, judge, teller


def in_process(main: Callable[[list[str]], int]) -> Decoder:
    """`sdf decode`, in this process.  main: the command line's"""

    def decode(source: Path, target: Path) -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            status = main(["decode", str(source), str(target)])
        return status, said.getvalue()

    return decode


def own_teller(source: Path) -> dict[str, Any]:
    """`sdf info`, in this process."""
    with source.open("rb") as stream:
        try:
            return report.describe(stream, source.stat().st_size)
        except SdfError as error:
            return {"error": str(error)}


def run(
    own: Decoder, suite: Path, decoder: str | None, info: str | None, only: str, as_json: bool, timeout: float
) -> int:
    """The sub-command.  own: judged if `decoder` names no other; result: exit status, 0 if every file passed"""
    decode = command(decoder, timeout) if decoder else own
    tell = teller(info, timeout) if info else None if decoder else own_teller
    results = list(judge(suite, decode, tell, only))
    if as_json:
        print(json.dumps([vars(r) for r in results]))
    else:
        print(as_text(results))
    return SdfError.status if any(r.problems for r in results) else 0
