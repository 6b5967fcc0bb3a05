"""How to tell a decoder the bits of every step: `sdf bench tables IMAGE... --photographs DIR [--bpp 0.025,0.05,0.1]`.

The paper's fixed tables (A.6: mean, half, double, min, max of what the photographs of DIR need), the mean times one
gain for each picture, the law, and levels and bits of its own for each picture. Each pays for its bytes of the header.
Posterior mean, equal bytes; the last columns say how many more bytes than the law a row takes for its PSNR and its
MS-SSIM.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image
from torch import Tensor

from sdf_format import codec
from sdf_format.bench import metrics
from sdf_format.bench.remembering import Remembering
from sdf_format.coding.rcc import trellis
from sdf_format.container import parameters
from sdf_format.diffusion import fit, schedule
from sdf_format.inspect.table import Table
from sdf_format.models import loading, registry
from sdf_format.payloads import diffc
from sdf_format.training import calibrate

FRAME = 34  # bytes of a default file that are neither schedule nor payload
LAW = "law"
Plan = tuple[Sequence[float], Sequence[int]]  # levels [nat] and bits of the steps


@dataclass(frozen=True)
class Sending:
    """One picture under one budget.

    limit: payload bits, before the schedule has taken its own; cells: latent positions
    """

    curve: fit.MmseCurve
    limit: int
    cells: int
    capacity: fit.Capacity

    def ideal(self, bits: int) -> Plan:
        """What the law is fitted to."""
        granted = schedule.law_bits(fit.step_count(bits), bits)
        return fit.ideal_levels(self.curve, granted, self.capacity), granted


Strategy = Callable[[Sending], tuple[Plan, int]]  # -> plan and the schedule's bytes in the header


def law(sending: Sending) -> tuple[Plan, int]:
    """The law fitted to the picture (§4.2.1)."""
    size = schedule.Law.sizeof()
    bits = sending.limit - 8 * size
    levels, granted = sending.ideal(bits)
    plan = schedule.expand(schedule.LAW, fit.fit(levels, granted), bits, sending.cells)
    return (plan.levels, plan.bits), size


def own(counted: bool) -> Strategy:
    """Levels and bits as they suit the picture best; not counted: as if the decoder knew them."""

    def strategy(sending: Sending) -> tuple[Plan, int]:
        size = 0
        for _ in range(3):  # the bytes of the schedule leave less for the steps
            plan = sending.ideal(sending.limit - 8 * size)
            size = len(schedule.Inline.build(inline(plan))) if counted else 0
        return plan, size

    return strategy


def table(entry: dict, gained: bool) -> Strategy:
    """A registered table, as it is or times the gain that suits the picture."""

    def strategy(sending: Sending) -> tuple[Plan, int]:
        gain = schedule.REGISTERED_GAIN
        if gained:
            levels = fit.table_up_to(entry, sending.ideal(sending.limit)[0][-1])
            standard = schedule.granted_bits(entry, gain, sending.cells)[: len(levels)]
            gain = round(gain * fit.table_gain(sending.curve, levels, tuple(standard), sending.capacity))
        size = len(schedule.Registered.build(dict(table=1, gain=gain)))
        most = sum(schedule.granted_bits(entry, gain, sending.cells))
        plan = schedule.take(entry, gain, min(sending.limit - 8 * size, most), sending.cells)
        return (plan.levels, plan.bits), size

    return strategy


def inline(plan: Plan) -> dict:
    """A plan in the integers of §4.2.3; levels that it would make equal rise by the least."""
    marks: list[int] = []
    for level in plan[0]:
        mark = round(max(level, -schedule.LEVEL_LIMIT) * schedule.INLINE_LEVEL)
        marks.append(max(mark, marks[-1] + 1) if marks else mark)
    return dict(steps=len(marks), first=marks[0], rises=np.diff(marks).tolist(), bits=list(plan[1]))


def decoded(latent: Tensor, plan: Plan, loaded: loading.Model, state_bits: int) -> tuple[np.ndarray, int]:
    """Pixels after sending by a plan, and the payload's bytes."""
    size = -(-sum(plan[1]) // 8)
    fields = parameters.Diffc(
        schedule.INLINE, inline(plan), coder=(parameters.TRELLIS, state_bits - parameters.CODER_FIRST)
    )
    once = Remembering()(loaded)
    payload, _ = diffc.encode(latent, fields, size, once, lambda *_: None)
    return loaded.decode(
        diffc.decode(payload, size, latent.shape, fields, (parameters.MEAN, 1), once, lambda *_: None)
    ), size


def more_bytes(own_points: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]]) -> float:
    """Mean excess of (bytes, quality) points over a reference curve's bytes at equal quality: 0.1 is 10 % more; nan for
    a single point.

    The logarithm of the bytes is linear in quality between the reference's points, and beyond them as in the nearest
    interval.
    """
    quality, size = zip(*sorted((q, math.log(b)) for b, q in reference))
    if len(quality) < 2:
        return math.nan
    excess = []
    for spent, reached in own_points:
        i = min(max(int(np.searchsorted(quality, reached)), 1), len(quality) - 1)
        slope = (size[i] - size[i - 1]) / (quality[i] - quality[i - 1])
        excess.append(math.log(spent) - (size[i] + slope * (reached - quality[i])))
    return math.expm1(fmean(excess))


def strategies(
    curves: Sequence[fit.MmseCurve], steps: int, end: float, cells: int, capacity: fit.Capacity
) -> dict[str, Strategy]:
    """The rows.  curves: of the photographs that the tables are made from, of `cells` each"""
    levels = calibrate.optimise(curves, end, steps, capacity)
    needs = calibrate.needs(curves, levels, capacity)
    needs = needs[np.isfinite(needs).all(axis=1)]  # a picture that no such step can carry has no say
    tables = {name: calibrate.entry(name, levels, rule(needs), cells) for name, rule in calibrate.STRATEGIES.items()}
    fixed = {f"fixed, {name}": table(entry, False) for name, entry in tables.items()}
    return {
        LAW: law,
        **fixed,
        "mean times a gain": table(tables["mean"], True),
        "own, inline": own(True),
        "own, free of charge": own(False),
    }


# picture -> bytes of the schedule, of the file, PSNR [dB], MS-SSIM (or nan) at every budget
Points = dict[Path, list[tuple[float, ...]]]


def _row(name: str, found: Points, reference: Points) -> dict[str, str | float | None]:
    """Means over pictures and budgets; None where a picture is too small to say."""
    means = [fmean(p[k] for points in found.values() for p in points) for k in range(4)]
    more = [
        fmean(
            more_bytes([(p[1], p[k]) for p in points], [(p[1], p[k]) for p in reference[path]])
            for path, points in found.items()
        )
        for k in (2, 3)
    ]
    columns = ("schedule_bytes", "bytes", "psnr", "ms_ssim", "more_bytes_at_psnr", "more_bytes_at_ms_ssim")
    return {"table": name, **{c: None if math.isnan(v) else round(v, 4) for c, v in zip(columns, (*means, *more))}}


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench tables`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder to make the tables from; none of them among the images"
    )
    parser.add_argument("--bpp", default="0.025,0.05,0.1")
    parser.add_argument("--steps", type=int, default=50, help="of the registered tables")
    parser.add_argument("--end", type=float, default=6.0, help="their last log-SNR, in nat")
    parser.add_argument("--count", type=int, default=24, help="photographs")
    parser.add_argument("--size", type=int, default=256, help="side of the photographs' crops")
    parser.add_argument("--state-bits", type=int, default=14)
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    args = parser.parse_args(arguments)
    spec = registry.MODELS[loading.by_name(codec.DEFAULT_MODEL)]
    loaded = loading.load(loading.by_name(codec.DEFAULT_MODEL), codec.pick_device())

    def capacity(bits: int, dimensions: int) -> float:
        return trellis.capacity(bits, args.state_bits, dimensions)

    with tempfile.TemporaryDirectory() as folder:
        curves = calibrate.measure_all(
            calibrate.photographs(args.photographs, args.count),
            args.size,
            loaded,
            args.end,
            Path(folder) / "curves.jsonl",
            {},
            lambda *_: None,
        )
    chosen = strategies(curves, args.steps, args.end, (args.size // spec.cell) ** 2, capacity)
    points: dict[str, Points] = {name: {} for name in chosen}
    for path in args.images:
        image = Image.open(path).convert("RGB")
        width, height = (n // spec.multiple * spec.multiple for n in image.size)
        image = image.crop((0, 0, width, height))
        latent = loaded.encode(np.array(image))
        curve = fit.measure_mmse(latent, loaded, lambda c: c.levels[-1] >= args.end)
        for bpp in map(float, args.bpp.split(",")):
            limit = 8 * (int(bpp * width * height / 8) - FRAME)
            for name, strategy in chosen.items():
                plan, side = strategy(Sending(curve, limit, latent.shape[2] * latent.shape[3], capacity))
                pixels, payload = decoded(latent, plan, loaded, args.state_bits)
                picture = Image.fromarray(pixels)
                likeness = metrics.psnr(image, picture), metrics.ms_ssim(image, picture) or math.nan
                points[name].setdefault(path, []).append((side, FRAME + side + payload, *likeness))
    rows = [_row(name, found, points[LAW]) for name, found in points.items()]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    forms = ("", ".1f", ".0f", ".2f", ".4f", "+.1%", "+.1%")
    headers = ("bytes of schedule", "bytes", "PSNR", "MS-SSIM", "bytes at equal PSNR", "at equal MS-SSIM")
    with Table("table", *headers) as table:
        for row in rows:
            table.add(*(f"{v:{form}}" if v is not None else "" for v, form in zip(row.values(), forms)))
