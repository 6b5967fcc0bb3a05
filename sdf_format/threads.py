"""How many cores one coding uses, and how its threads wait for each other.

PyTorch computes with the threads of an OpenMP runtime. At the end of each of thousands of short loops they wait for the
slowest by spinning. Where several processes share the cores, the slowest does not run because others spin, and all of
them get slower by a factor: eight times, for two threads of GCC's runtime on one core. Waiting asleep costs 4 %.

How many threads a loop takes is a setting of each thread in OpenMP. So it is set for the caller's while it codes, and
as it was found afterwards; PyTorch's own setting, which is for the whole program, is neither read nor changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sdf_format.errors import BadInput

VARIABLE = "SDF_THREADS"
MOST = 1024
# What has threads of the runtimes of GCC and of Intel and LLVM wait asleep. Read once, when a runtime is loaded.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
MOST_PARKED = 32  # threads: what `_park` may take

_inside = threading.local()
_lock = threading.Lock()
_runtimes: list[Any] | None = None  # threadpoolctl's controllers of the OpenMP runtimes in this process
_passive = False  # PyTorch was loaded with PASSIVE, or spinning was ended otherwise
_broken = False  # a child of a process that had such threads


def available(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: those that it may run on, and what its control groups' quotas allow,
    rounded up.

    root  where /proc and /sys are
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *map(math.ceil, (float(MOST), *_quotas(root)))))


def _quotas(root: Path) -> Iterator[float]:
    """Cores by the quotas of the control groups that the process is in, and of those around them; version 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = root / "sys/fs/cgroup"
        for base in (group / "cpu", group / controllers) if controllers else (group,):
            own = base / path.lstrip("/")
            # In a container the path may be the host's, and what is mounted is the container's own group.
            for folder in dict.fromkeys([own, *own.parents, base]):
                if folder == base or base in folder.parents:
                    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                        yield _quota(folder, bool(controllers))


def _quota(folder: Path, first: bool) -> float:
    """Of one group; inf without one.  first: of version 1"""
    if first:
        said = [(folder / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    else:
        said = (folder / "cpu.max").read_text().split()
    if said[0] == "max":
        return float(MOST)
    cores = float(said[0]) / float(said[1])
    return cores if cores > 0 else float(MOST)  # -1: no limit


def count(root: Path = Path("/")) -> int:
    """Threads that one coding uses: what SDF_THREADS says, otherwise `available`, and no more than OMP_NUM_THREADS.

    BadInput for an SDF_THREADS that is no whole number from 1 to MOST.
    """
    said = os.environ.get(VARIABLE)
    if said:
        if not (said.strip().isdecimal() and 1 <= int(said) <= MOST):
            raise BadInput(f"{VARIABLE} {said!r}: wanted a whole number from 1 to {MOST}, or nothing for all cores")
        return int(said)
    most = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(available(root), int(most) if most.isdecimal() and int(most) > 0 else MOST)


def load_torch() -> None:
    """Import PyTorch; where nobody has yet, and nobody has said otherwise, with threads that wait asleep. The
    environment is afterwards as before.
    """
    global _passive
    if "torch" in sys.modules or any(name in os.environ for name in PASSIVE):
        import torch

        return
    os.environ.update(PASSIVE)
    try:
        import torch  # noqa: F401

        _passive = True
    finally:
        for name in PASSIVE:
            os.environ.pop(name, None)


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """`count` threads for what this thread computes until the block ends, and none that spins. BadInput: as `count`.

    Another block inside changes nothing.
    """
    if getattr(_inside, "now", False):
        yield
        return
    wanted = 1 if _broken else count()
    load_torch()
    import torch

    torch.get_num_threads()  # PyTorch gives a thread that is new to it the program's setting, once: now
    with contextlib.ExitStack() as stack:
        _end_spinning(wanted, stack)
        for runtime in _openmp():
            stack.callback(runtime.set_num_threads, runtime.get_num_threads())
            runtime.set_num_threads(wanted)
        if (mkl := _mkl()) is not None:
            stack.callback(mkl, mkl(wanted))
        _inside.now = True
        stack.callback(setattr, _inside, "now", False)
        yield


def _openmp() -> list[Any]:
    global _runtimes
    with _lock:
        if _runtimes is None:
            from threadpoolctl import ThreadpoolController

            _runtimes = ThreadpoolController().select(user_api="openmp").lib_controllers
        return _runtimes


@functools.lru_cache(maxsize=1)
def _mkl() -> Callable[[int], int] | None:
    """Sets the threads of MKL in the calling thread and gives what they were; None where PyTorch has no MKL."""
    import torch

    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        return ctypes.CDLL(str(path)).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None


def _end_spinning(wanted: int, stack: contextlib.ExitStack) -> None:
    """For runtimes that somebody else has loaded.  wanted: threads; stack: what is to be done at the end"""
    global _passive
    if wanted == 1 or _passive:
        return
    for runtime in _openmp():
        if hasattr(runtime.dynlib, "kmp_set_blocktime"):  # Intel's and LLVM's: of the calling thread
            stack.callback(runtime.dynlib.kmp_set_blocktime, runtime.dynlib.kmp_get_blocktime())
            runtime.dynlib.kmp_set_blocktime(0)
        elif runtime.prefix == "libgomp" and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
            with _lock:
                if not _passive:
                    _park(runtime)
                    _passive = True


def _park(runtime: Any) -> None:
    """Have GCC's runtime give up spinning: it does after a thousandth of the time where it has more threads than there
    are cores (its manual, GOMP_SPINCOUNT). So a thread of ours has a team of one more than cores, which sleeps.
    """
    cores = runtime.dynlib.omp_get_num_procs()
    if cores + 1 > MOST_PARKED:
        return
    ready = threading.Event()

    def sleep() -> None:
        import torch

        torch.get_num_threads()
        runtime.set_num_threads(cores + 1)
        torch.zeros(1 << 16 << cores.bit_length(), dtype=torch.uint8, device="cpu").add_(1)  # in all threads
        ready.set()
        threading.Event().wait()

    threading.Thread(target=sleep, name="sdf-format-parked", daemon=True).start()
    ready.wait(10)


def _after_fork() -> None:
    """A child: threads of OpenMP are not in it, but waited for, so that no loop may take more than its own."""
    global _lock, _broken, _inside
    _lock, _inside = threading.Lock(), threading.local()
    _broken = _broken or "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
