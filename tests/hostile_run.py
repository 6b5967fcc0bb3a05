"""What an operation on a hostile file costs: each in a child of a process that has imported everything.

`python tests/hostile_run.py FILE` reads a JSON list of (path, operation) and writes one JSON object a line: outcome,
message, CPU seconds, and MB above what the child began with. FILE is any good one, which warms everything up. Linux
only: a child's own peak of memory comes from /proc.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401  (their import is nobody's cost)

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format import codec, sound  # noqa: F401
from sdf_format.cli.main import main as cli

SPACE = 3 << 30  # bytes of address space above the parent's that a child gets
PATIENCE = 25  # seconds of CPU


def opened(path: str) -> Image.Image:
    return Image.open(path, formats=["SDF"])


def unlimited(path: str) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None
    return opened(path)


def small(image: Image.Image) -> None:
    image.thumbnail((128, 128))


def command(*arguments: str) -> None:
    """The command line in this process; its refusal as an error."""
    out, wrong = Counting(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(wrong):
        status = cli(arguments)
    if out.size > 64 << 20:
        raise AssertionError(f"{out.size} characters written")
    if status:
        raise OSError(f"exit {status}: {wrong.getvalue().splitlines()[:1]}")


class Counting(io.StringIO):
    """Standard output that forgets what it is told."""

    size = 0

    def write(self, text: str) -> int:
        self.size += len(text)
        return len(text)


OPERATIONS: dict[str, Callable[[str], Any]] = {
    "open": opened,
    "info": lambda path: opened(path).info,
    "exif": lambda path: dict(opened(path).getexif()),
    "verify": lambda path: opened(path).verify(),
    "load": lambda path: opened(path).load(),
    "thumbnail": lambda path: small(opened(path)),
    "preview": lambda path: opened(path).preview,
    "load unlimited": lambda path: unlimited(path).load(),
    "thumbnail unlimited": lambda path: small(unlimited(path)),
    "verify unlimited": lambda path: unlimited(path).verify(),
    "sdf verify": lambda path: command("verify", path),
    "sdf info": lambda path: command("info", path),
    "sdf info --json": lambda path: command("info", "--json", path),
    "sdf dump": lambda path: command("dump", path),
    "sdf decode": lambda path: command("decode", path, f"{path}.png"),
    "sdf decode sound": lambda path: command("decode", path, f"{path}.wav"),
    "sdf decode --to": lambda path: command("decode", "--to", f"{path}.d", path, path),
    "sdf thumbnail": lambda path: command("thumbnail", path, f"{path}.png"),
    "decode": lambda path: codec.decode_bytes(Path(path).read_bytes()),
}


def memory(name: str) -> int:
    """Bytes, of /proc/self/status."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) << 10


def measured(path: str, operation: str) -> dict[str, Any]:
    """In the child.  A MemoryError is an outcome as others are."""
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE + 1))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, start = memory("VmRSS"), time.process_time()
    outcome, message = "ok", ""
    try:
        OPERATIONS[operation](path)
    except BaseException as error:
        outcome, message = type(error).__name__, str(error)[:300]
    return dict(
        outcome=outcome, message=message, cpu=time.process_time() - start, mb=max(0, memory("VmHWM") - before) / 1e6
    )


def in_child(path: str, operation: str) -> dict[str, Any]:
    """killed where the child did not come back: out of CPU seconds, or worse."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiving)
        with open(sending, "w") as stream:
            json.dump(measured(path, operation), stream)
        os._exit(0)
    os.close(sending)
    with open(receiving) as stream:
        said = stream.read()
    _, status, usage = os.wait4(child, 0)
    return (
        json.loads(said)
        if said
        else dict(outcome=f"killed {status}", message="", cpu=usage.ru_utime + usage.ru_stime, mb=0.0)
    )


def main() -> None:
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # A first picture of every kind: what imports and first calls cost is not the file's.
    warm = sys.argv[1]
    for operation in ("load", "info", "exif", "verify", "sdf info", "sdf info --json", "sdf dump", "sdf verify"):
        OPERATIONS[operation](warm)
    for path, operation in json.load(sys.stdin):
        print(json.dumps({"path": path, "operation": operation, **in_child(path, operation)}), flush=True)


if __name__ == "__main__":
    main()
