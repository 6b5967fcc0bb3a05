"""A busy server: `sdf bench load IMAGE [--sizes 64x64,768x512] [--clients 1,2,4,8] [--seconds 20]`.

So many clients decode one file again and again, as threads of one process and as processes: requests a second, the 95th
percentile of their latency, CPU seconds of a request. Side by side with plain settings: PyTorch as a program finds it
that imports it and sets nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sdf_format.errors import BadInput
from sdf_format.inspect.table import Table
from sdf_format.threads import PASSIVE

OURS, PLAIN = "ours", "plain"
THREADS, PROCESSES = "threads", "processes"
SERVER = "from sdf_format.bench import load; load.serve()"


@dataclass(frozen=True)
class Served:
    """What clients saw.

    rate: requests a second; latencies: of every request [s]; cpu: seconds of CPU, of all together
    """

    rate: float
    latencies: list[float]
    cpu: float


def serve() -> None:
    """A process of the benchmark: path, settings, threads, seconds as arguments; a line in begins, a line out tells."""
    path, settings, clients, seconds = sys.argv[1:]
    if settings == PLAIN:
        import torch  # noqa: F401  (before us, with its own way of waiting)

        from sdf_format import threads

        threads.own_threads = contextlib.nullcontext  # type: ignore[assignment]
    import pillow_plugin  # noqa: F401  (registers the format)

    data = Path(path).read_bytes()

    def request() -> float:
        start = time.perf_counter()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
        return time.perf_counter() - start

    def client(_: int) -> list[float]:
        taken, end = [request()], time.perf_counter() + float(seconds)
        while time.perf_counter() + taken[-1] / 2 < end:
            taken.append(request())
        return taken

    request()  # loads the model
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    with ThreadPoolExecutor(int(clients)) as pool:
        found = list(pool.map(client, range(int(clients))))
    print(json.dumps(dict(latencies=found, cpu=time.process_time() - before)), flush=True)


def measured(path: Path, clients: int, kind: str, settings: str, seconds: float) -> Served:
    """So many clients at once, for about so long; every one of them is answered once at least."""
    processes, each = (1, clients) if kind == THREADS else (clients, 1)
    environment = {name: value for name, value in os.environ.items() if name not in PASSIVE}
    arguments = [str(path), settings, str(each), str(seconds)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SERVER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for _ in range(processes)
        ]
        try:
            for child in children:
                if child.stdout.readline() != "ready\n":
                    raise BadInput(f"{path}: a process of the benchmark ended; its message is above")
            for child in children:
                child.stdin.write("go\n")
                child.stdin.flush()
            told = [json.loads(child.stdout.readline()) for child in children]
        except BaseException:
            for child in children:
                child.kill()
            raise
    own = [latencies for answer in told for latencies in answer["latencies"]]
    return Served(
        sum(len(latencies) / sum(latencies) for latencies in own),
        [latency for latencies in own for latency in latencies],
        sum(answer["cpu"] for answer in told),
    )


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted sizes such as 64x64")
    return width, height


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench load`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("--sizes", type=lambda t: [_size(x) for x in t.split(",")], default="64x64,768x512")
    parser.add_argument("--clients", type=lambda t: [int(x) for x in t.split(",")], default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row, about")
    parser.add_argument("--quality", type=int, default=50)
    args = parser.parse_args(arguments)

    import pillow_plugin  # noqa: F401  (registers the format)

    total = 4 * len(args.sizes) * len(args.clients)
    table = Table(
        "picture", "clients", "as", "settings", "requests/s", "times the first", "p95 s", "CPU s a request", total=total
    )
    with tempfile.TemporaryDirectory() as folder, Image.open(args.image) as image, table:
        for size in args.sizes:
            path = Path(folder) / f"{size[0]}x{size[1]}.sdf"
            image.convert("RGB").resize(size).save(path, quality=args.quality)
            for kind in (THREADS, PROCESSES):
                for settings in (OURS, PLAIN):
                    first = 0.0
                    for clients in args.clients:
                        served = measured(path, clients, kind, settings, args.seconds)
                        first = first or served.rate
                        table.add(
                            path.stem,
                            clients,
                            kind,
                            settings,
                            f"{served.rate:.3f}",
                            f"{served.rate / first:.2f}",
                            f"{np.percentile(served.latencies, 95):.3f}",
                            f"{served.cpu / len(served.latencies):.3f}",
                        )
