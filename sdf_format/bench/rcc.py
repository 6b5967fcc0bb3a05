"""Reverse channel coders on the same vectors: `sdf bench rcc [--json]`.

For every coder: bits spent, KL that the mean shift which arrived is worth, overhead of the first over the second,
milliseconds a bit for the sender, device. Rows marked "published" are others' figures.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from sdf_format.bench import reference
from sdf_format.coding.rcc import gpu, pfr, tree, trellis
from sdf_format.inspect.table import Table
from sdf_format.payloads.diffc_encoder import TREE_WORDS

PUBLISHED = (
    ("public code's kernel (DiffC, A40)", "16-bit chunks", 3.0 / 16),
    ("MIRACLE", "16-bit chunks", 140.0 / 16),
)
Send = Callable[[Tensor, int], tuple[Tensor, float, float]]  # (shift, number) -> received, bits, sender's seconds


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def coders(bits: int, state_bits: Sequence[int]) -> Iterator[tuple[str, str, str, Send]]:
    """(name, parameters, device, sender) of every row."""

    def simulated(rule: Callable[[Tensor, torch.Generator], tuple[Tensor, float]]) -> Send:
        def send(shift: Tensor, number: int) -> tuple[Tensor, float, float]:
            (z, spent), seconds = _timed(lambda: rule(shift, torch.Generator().manual_seed(number)))
            return z, spent, seconds

        return send

    def ours(coder: object, parameter: int, granted: int, device: str = "cpu") -> Send:
        def send(shift: Tensor, number: int) -> tuple[Tensor, float, float]:
            there = shift.to(device)
            if device != "cpu" and number == 0:
                coder.send(there, granted, parameter, number, 0)  # its kernels are compiled
            sent, seconds = _timed(lambda: coder.send(there, granted, parameter, number, 0))
            return coder.receive(sent, shift.numel(), parameter, number, 0).cpu(), granted, seconds

        return send

    yield (
        "public rule",
        "14 bits of KL, 2^16, Zipf; simulated",
        "cpu",
        simulated(lambda m, g: reference.public_rule(m, bits, g)),
    )
    for width in (12, 16):
        yield (
            "block arg-max",
            f"2^{width}; simulated",
            "cpu",
            simulated(lambda m, g, w=width: reference.block_argmax(m, bits, w, g)),
        )
    for chunk in (12, 14, 16):
        yield "pfr", f"K={chunk}", "cpu", ours(pfr, chunk, bits)
    for state in state_bits:
        yield "trellis", f"L={state}", "cpu", ours(trellis, state, bits)
    for kept in (256, 1024, 4096, 1 << 14, 1 << 16):
        yield "tree", f"K={TREE_WORDS}, {kept} walks kept", "cpu", ours(_Keeping(kept), TREE_WORDS, bits)
    twin, device = gpu.on_device(trellis, torch.device("cuda") if torch.cuda.is_available() else None)
    if device.type == "cuda":
        for state in state_bits:
            yield "trellis", f"L={state}", torch.cuda.get_device_name(), ours(twin, state, bits, "cuda")


class _Keeping:
    """The tree coder whose sender keeps so many walks."""

    receive = staticmethod(tree.receive)

    def __init__(self, kept: int):
        self.kept = kept

    def send(self, shift: Tensor, bits: int, word_bits: int, seed: int, step: int) -> np.ndarray:
        return tree.send(shift, bits, word_bits, seed, step, keep=self.kept)


def measure(send: Send, shifts: list[Tensor]) -> tuple[float, float, float]:
    """(bits, KL delivered [bit], milliseconds a bit): means over the shifts."""
    spent = seconds = along = 0.0
    for number, shift in enumerate(shifts):
        z, bits, took = send(shift, number)
        spent, seconds = spent + bits, seconds + took
        along += float(shift.double() @ z.double()) / float(shift.double().norm())
    count = len(shifts)
    return spent / count, (along / count) ** 2 / (2 * math.log(2)), 1000 * seconds / spent


HEADERS = ("coder", "parameters", "bits", "KL delivered", "overhead", "ms per bit", "device")


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench rcc`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench rcc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bits", type=int, default=1008, help="KL of every shift, and bits granted to coders of fixed rate"
    )
    parser.add_argument("--dimensions", type=int, default=98304)
    parser.add_argument("--count", type=int, default=16, help="vectors")
    parser.add_argument("--states", default="8,9,10,11,12,13,14,15,16,17,18", help="L of the trellis rows")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    args = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(0)
    shifts = [
        m * math.sqrt(2 * math.log(2) * args.bits) / m.norm()
        for m in (torch.randn(args.dimensions, generator=generator) for _ in range(args.count))
    ]
    rows: list[dict[str, object]] = []
    with Table(*HEADERS) if not args.json else nullcontext() as table:
        for name, parameters, device, send in coders(args.bits, [int(x) for x in args.states.split(",")]):
            bits, delivered, milliseconds = measure(send, shifts)
            rows.append(
                dict(
                    coder=name,
                    params=parameters,
                    bits=round(bits, 2),
                    kl_delivered_bits=round(delivered, 2),
                    overhead=round(bits / delivered - 1, 4),
                    ms_per_bit=round(milliseconds, 5),
                    device=device,
                )
            )
            if table:
                over = f"{bits / delivered - 1:.1%}"
                table.add(name, parameters, f"{bits:.1f}", f"{delivered:.1f}", over, f"{milliseconds:.4f}", device)
        for name, parameters, milliseconds in PUBLISHED:
            rows.append(
                dict(
                    coder=name,
                    params=parameters,
                    bits=None,
                    kl_delivered_bits=None,
                    overhead=None,
                    ms_per_bit=milliseconds,
                    device="published",
                )
            )
            if table:
                table.add(name, parameters, "", "", "", f"{milliseconds:.4f}", "published")
    if args.json:
        print(json.dumps(rows, indent=1))
