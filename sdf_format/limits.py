"""What a file may cost (§8.1): pixels, work, memory, seconds. One place for a library's caller and a server's operator.

A caller's own numbers count first, then the environment's, then the defaults below. `inf` is no limit.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdf_format.errors import BadInput, SdfError, TooMuch, error_context
from sdf_format.progress import Progress

MOST_PIXELS = 2 * (1024**3 // 4 // 3)  # what Pillow, too, refuses unless it is told otherwise: 178,956,970
MOST_WORK = 1 << 29  # pixels times model calls: a quarter of an hour of one core of 2024 with the embedded model
MOST_SECONDS = 600.0  # of the clock
SHARE = 0.5  # of the memory that is free
LEAST_CALL = 1 << 13  # pixels that a model call counts as at least: what it costs whatever its size
VARIABLES = {
    "most_pixels": "SDF_MOST_PIXELS",
    "most_work": "SDF_MOST_WORK",
    "most_memory": "SDF_MOST_MEMORY",
    "most_seconds": "SDF_MOST_SECONDS",
}
UNLIMITED = 1 << 50  # what control groups say where they have no limit is above this [byte]
# What PyTorch and others raise as RuntimeError where memory is short.
SHORT = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory", "bad_alloc")


@dataclass(frozen=True)
class Limits:
    """Numbers above 0, or inf.

    pixels   width times height
    work     pixels, as padded for the model, times model calls, each of at least LEAST_CALL pixels
    memory   bytes beside the model's weights, by an estimate from the header
    seconds  of the clock, from the beginning of decoding; looked at between model calls
    """

    pixels: float = MOST_PIXELS
    work: float = MOST_WORK
    memory: float = math.inf
    seconds: float = MOST_SECONDS


def resolved(
    most_pixels: float | None = None,
    most_work: float | None = None,
    most_memory: float | None = None,
    most_seconds: float | None = None,
    free: Callable[[], float] | None = None,
) -> Limits:
    """The limits that count: given numbers, for those that are None the environment's, else the defaults.

    free  bytes of which SHARE is the default of memory; None: `free_memory`. BadInput for what is no limit.
    """
    given = dict(most_pixels=most_pixels, most_work=most_work, most_memory=most_memory, most_seconds=most_seconds)
    found: dict[str, float] = {}
    for name, value in given.items():
        most = from_environment(name) if value is None else number(value, name)
        if most is not None:
            found[name.removeprefix("most_")] = most
    if "memory" not in found:
        found["memory"] = SHARE * (free or free_memory)()
    return Limits(**found)


def from_environment(name: str) -> float | None:
    """What the environment says of most_pixels and so on, or None. BadInput for what is no limit."""
    variable = VARIABLES[name]
    said = os.environ.get(variable)
    if not said:
        return None
    try:
        return number(float(said), variable)
    except ValueError as error:
        raise BadInput(f"{variable} {said!r}: wanted a number above 0, or inf for no limit") from error


def number(value: object, name: str) -> float:
    """NumPy's numbers are numbers; True is none."""
    try:
        found = float(value) if not isinstance(value, (bool, str, bytes)) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not found > 0:
        raise BadInput(f"{name} {value!r}: wanted a number above 0, or inf for no limit")
    return found


class Budget:
    """The limits of one file while it is decoded, as a progress that kinds call.

    progress  the caller's own, called with what it was not called with before; offset: of chunk H
    """

    def __init__(self, limits: Limits, pixels: int, progress: Progress, offset: int):
        self.limits, self.pixels, self.progress, self.offset = limits, max(pixels, LEAST_CALL), progress, offset
        self.start = time.monotonic()
        self.said: tuple[int, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        """As progress; TooMuch for what is more than is allowed.

        Kinds tell their number of model calls before the first.
        """
        self.afford(total)
        if time.monotonic() - self.start > self.limits.seconds:
            with error_context(self.offset):
                raise TooMuch(
                    f"§8.1 decoding takes more than the {self.limits.seconds:g} seconds that are allowed "
                    f"(most_seconds, {VARIABLES['most_seconds']}); raise the limit if you trust the file"
                )
        if (done, total) != self.said:
            self.said = done, total
            self.progress(done, total)

    def afford(self, calls: int) -> None:
        """TooMuch for so many model calls."""
        work = calls * self.pixels
        if work > self.limits.work:
            with error_context(self.offset):
                raise TooMuch(
                    f"§8.1 {calls} model calls for {self.pixels} pixels are {work}, more than the "
                    f"{self.limits.work:.0f} that are allowed (most_work, {VARIABLES['most_work']}); raise the "
                    "limit if you trust the file"
                )


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """TooMuch for a picture of more pixels than are allowed."""
    if width * height > limits.pixels:
        raise TooMuch(
            f"§3.3 {width}x{height} pixels are more than the {limits.pixels:.0f} that are allowed (most_pixels, "
            f"{VARIABLES['most_pixels']}); raise the limit if you trust the file"
        )


def check_memory(needed: int, limits: Limits, what: str) -> None:
    """TooMuch for what takes more bytes than are allowed.  what: of the file, for the message"""
    if needed > limits.memory:
        raise TooMuch(
            f"§8.1 {what} would take about {needed / 1e6:.0f} MB of memory, more than the "
            f"{limits.memory / 1e6:.0f} MB that are allowed (most_memory, {VARIABLES['most_memory']}; half of what is "
            "free unless set)"
        )


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Memory that runs out inside, as Python, NumPy and PyTorch report it, as TooMuch.  what: is being done"""
    try:
        yield
    except SdfError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _short(error):
            raise
        said = str(error).splitlines()
        raise TooMuch(
            f"§8.1 memory ran out {what}{': ' + said[0][:200] if said else ''}; free some, or lower most_memory "
            f"({VARIABLES['most_memory']}) to have such files refused before they start"
        ) from error


def _short(error: RuntimeError) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error).lower() for words in SHORT)


def free_memory(root: Path = Path("/")) -> float:
    """Bytes that this process may still take: of the machine, of its control groups, of its own address space.

    root  where /proc and /sys are
    """
    return max(0.0, min(_of_machine(), *_of_groups(root), _of_process()))


def _of_machine() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.virtual_memory().available)


def _of_process() -> float:
    """What RLIMIT_AS leaves, which is how batch systems bound their jobs."""
    if sys.platform == "win32":
        return math.inf
    import resource

    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else float(limit - psutil.Process().memory_info().vms)


def _of_groups(root: Path) -> list[float]:
    """What the control groups that the process is in, and those around them, leave; version 1 and 2.

    [inf] where there are none.
    """
    left = [math.inf]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return left
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            base, limit, used, idle = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used, idle = (
                root / "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        own = base / path.lstrip("/")
        # In a container the path may be the host's, and what is mounted is the container's own group.
        for folder in dict.fromkeys([own, *own.parents, base]):
            if folder == base or base in folder.parents:
                left.append(_of_group(folder, limit, used, idle))
    return left


def _of_group(folder: Path, limit: str, used: str, idle: str) -> float:
    """idle: what of its use is cached files, which give way"""
    try:
        most = float((folder / limit).read_text())  # "max" is no number
        taken = float((folder / used).read_text())
    except (OSError, ValueError):
        return math.inf
    if most >= UNLIMITED:
        return math.inf
    try:
        cached = dict(x.split() for x in (folder / "memory.stat").read_text().splitlines()).get(idle, "0")
    except (OSError, ValueError):
        cached = "0"
    return most - taken + float(cached)
