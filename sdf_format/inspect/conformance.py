"""`sdf conformance`: any decoder against the suite in spec/conformance (§9).

A decoder is a command that reads one file and writes one picture, or a sound. It exits with 0 if it did, and otherwise
with the status of the error's class; what it writes to stderr names the offset of the chunk that is wrong, as in
"offset 31".
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdf_format.container.chunks import HEADER_OFFSET
from sdf_format.container.header import SOUNDS
from sdf_format.errors import STATUS, BadInput, MissingModel
from sdf_format.inspect import table
from sdf_format.inspect.printable import printable

SUITE = Path(__file__).parents[2] / "spec" / "conformance"  # in a checkout
TIMEOUT = 300  # seconds a file
CLASS = {status: code for code, status in STATUS.items()}
OFFSET = re.compile(r"offset (\d+)")
LEVEL = 1e-3  # how far noise levels, which are not integers, may be from the manifest's

ENOUGH = 20  # pictures from which on the mean of all differences says something
TOGETHER = "all-pictures"  # name of the result that is about all of them
FULL, MINIMAL = "full", "minimal"  # profiles, §9.4

Decoder = Callable[[Path, Path], tuple[int, str]]  # (file, picture to write) -> exit status, stderr
Teller = Callable[[Path], dict[str, Any]]  # file -> its header, as `sdf info --json` has it


@dataclass(frozen=True)
class Result:
    """problems: none if the decoder did with this file what the manifest says; figures: [rms, peak, mean] of its
    picture's differences, of 255.
    """

    name: str
    clauses: list[str]
    problems: list[str]
    figures: list[float] | None = None


def command(template: str, timeout: float = TIMEOUT) -> Decoder:
    """A decoder from a command line with {in} and {out}."""
    parts = shlex.split(template)
    if not all(any(place in part for part in parts) for place in ("{in}", "{out}")):
        raise BadInput(f"decoder {template!r}: wanted a command with {{in}} and {{out}}")

    def decode(source: Path, target: Path) -> tuple[int, str]:
        try:
            done = subprocess.run(
                [p.replace("{in}", str(source)).replace("{out}", str(target)) for p in parts],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no answer in {timeout:g} s"
        except OSError as error:
            raise BadInput(f"decoder {parts[0]!r} does not start: {error}") from error
        return done.returncode, done.stderr

    return decode


def teller(template: str, timeout: float = TIMEOUT) -> Teller:
    """What prints a header as JSON, from a command line with {in}."""

    def tell(source: Path) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [p.replace("{in}", str(source)) for p in shlex.split(template)],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            return dict(json.loads(done.stdout))
        except (ValueError, OSError, subprocess.TimeoutExpired) as error:
            return {"error": str(error)}

    return tell


def manifest(suite: Path) -> dict[str, Any]:
    """BadInput if there is none."""
    try:
        return dict(json.loads((suite / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{suite} holds no suite ({error}); `--suite` names the folder spec/conformance of the sources"
        ) from error


@contextlib.contextmanager
def with_models(folder: Path) -> Iterator[None]:
    """Decoders find the suite's own weights there, ours and those that are started."""
    before = os.environ.get("SDF_MODEL_DIR")
    os.environ["SDF_MODEL_DIR"] = os.pathsep.join([str(folder), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["SDF_MODEL_DIR"]
        else:
            os.environ["SDF_MODEL_DIR"] = before


def judge(
    suite: Path,
    decode: Decoder,
    tell: Teller | None = None,
    only: str = "*",
    tolerance: str = "wide",
    profile: str = FULL,
) -> Iterator[Result]:
    """What a decoder makes of every file, and of all pictures together if there are many.

    tell       None leaves headers alone; only: pattern of names
    tolerance  a class of §9.1: "wide" or "strict"
    profile    FULL, or MINIMAL for a decoder that knows the embedded model and kind diffc alone (§9.4)
    """
    listed = manifest(suite)
    entries = [
        (entry, kind)
        for kind in ("accepted", "refused")
        for entry in listed[kind]
        if fnmatch.fnmatch(entry["name"], only)
    ]
    if not entries:
        raise BadInput(f"no file of the suite is called {only!r}")
    limits = {"alpha": listed["tolerance"]["alpha"], **listed["tolerance"][tolerance]}
    sums: list[tuple[float, int]] = []  # of every picture: sum of differences, samples
    with tempfile.TemporaryDirectory() as folder, with_models(suite / "models"):
        for entry, kind in entries:
            sound = entry.get("header", entry).get("mode") in SOUNDS
            target = Path(folder) / f"{entry['name']}.{'wav' if sound else 'png'}"
            source = suite / entry["file"]
            problems = _header_problems(entry["header"], tell(source)) if tell and kind == "accepted" else []
            figures = None
            if wanted := _refusal(entry, profile):
                problems += _refused(wanted, *decode(source, target), target.exists())
            else:
                status, said = decode(source, target)
                if status or not target.exists():
                    problems.append(
                        f"exit status {status}{'' if target.exists() else ', no picture'}: {said.strip()[-200:]}"
                    )
                else:
                    found, figures, samples = _compared(suite / entry["pixels"], target, limits)
                    problems += found
                    sums += [(figures[2] * samples, samples)] if figures else []
            yield Result(entry["name"], entry["clauses"], problems, figures)
    if len(sums) >= ENOUGH:
        mean = sum(total for total, _ in sums) / sum(samples for _, samples in sums)
        wrong = f"mean of all differences {mean:.3f}; at most {limits['mean']} either way is allowed"
        yield Result(TOGETHER, ["9.1"], [wrong] if abs(mean) > limits["mean"] else [])


def _refusal(entry: dict[str, Any], profile: str) -> dict[str, Any] | None:
    """How a file is to be refused, as an entry of the manifest's; None if it is to be decoded."""
    at_header = {"offset": HEADER_OFFSET, "about": entry["about"]}
    if profile == MINIMAL and "minimal" in entry:
        return {"error": entry["minimal"], **at_header}
    if "error" in entry:
        return entry
    return None if "pixels" in entry else {"error": MissingModel.code, **at_header}


def _refused(entry: dict[str, Any], status: int, said: str, wrote: bool) -> list[str]:
    """What is wrong with the answer to a file that must be refused."""
    if status == 0:
        return [f"accepted; it is {entry['error']}: {entry['about']}"]
    problems = ["refused, and a picture written"] if wrote else []
    if status != STATUS[entry["error"]]:
        problems.append(
            f"exit status {status} ({CLASS.get(status, 'of no class')}); wanted {STATUS[entry['error']]} "
            f"({entry['error']}): {said.strip()[-200:]}"
        )
    place = OFFSET.search(said)
    if place is None or int(place[1]) != entry["offset"]:
        problems.append(
            f"{place[0] if place else 'no offset'} in its message; wanted offset {entry['offset']}: "
            f"{said.strip()[-200:]}"
        )
    return problems


def _header_problems(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        f"header {name}: {found.get(name)!r}; wanted {value!r}"
        for name, value in wanted.items()
        if not holds(value, found.get(name))
    ]


def holds(wanted: Any, found: Any) -> bool:
    """Everything wanted is there; levels and the like may differ in their last digits."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(v, found.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(holds, wanted, found))
    if isinstance(wanted, float):
        return isinstance(found, (int, float)) and abs(wanted - found) <= LEVEL * max(1.0, abs(wanted))
    return bool(wanted == found)


def _compared(wanted: Path, found: Path, limits: dict[str, Any]) -> tuple[list[str], list[float] | None, int]:
    """Problems of a picture; root mean square, peak and mean of its differences; its samples without alpha."""
    from PIL import Image

    try:
        with Image.open(wanted) as image, Image.open(found) as other:
            if (image.mode, image.size) != (other.mode, other.size):
                return [f"a picture {other.mode} {other.size}; wanted {image.mode} {image.size}"], None, 0
            difference = np.atleast_3d(np.asarray(other, np.int64) - np.asarray(image, np.int64))
            alpha = image.mode.endswith("A")
    except OSError as error:
        return [f"its picture cannot be read: {error}"], None, 0
    problems = []
    if alpha and np.abs(difference[..., -1]).max() > limits["alpha"]:
        problems.append(f"alpha differs by up to {np.abs(difference[..., -1]).max()}; wanted {limits['alpha']}")
    colours = difference[..., :-1] if alpha else difference
    figures = [
        round(float(np.sqrt(np.mean(colours**2))), 3),
        float(np.abs(colours).max()),
        round(float(colours.mean()), 5),
    ]
    for name, value in zip(("rms", "peak"), figures):
        if value > limits[name]:
            problems.append(f"{name} difference {value:g}; at most {limits[name]} is allowed")
    return problems, figures, colours.size


def as_text(results: list[Result]) -> str:
    """The report for people."""
    rows: list[tuple[str, ...]] = []
    for result in results:
        figures = f"rms {result.figures[0]:g}, peak {result.figures[1]:g}" if result.figures else ""
        clauses = ", ".join(f"§{clause}" for clause in result.clauses)
        rows.append(("FAIL" if result.problems else "ok", result.name, clauses, figures))
    lines = []
    for line, result in zip(table.lines(rows), results, strict=True):
        lines += [line, *(f"       {printable(problem)}" for problem in result.problems)]
    files = [r for r in results if r.name != TOGETHER]
    failed = sum(bool(r.problems) for r in files)
    worst = [max((r.figures[k] for r in results if r.figures), default=0) for k in (0, 1)]
    lines.append(
        f"{len(files) - failed} of {len(files)} files passed; largest differences of pixels: rms {worst[0]:g}, "
        f"peak {worst[1]:g} of 255"
    )
    return "\n".join(lines)
