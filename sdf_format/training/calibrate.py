"""Schedules and tables of bits for registration (§4.2.2), by DiffC's algorithm 3: `sdf calibrate`.

The KL of a step of picture x from precision t_i to t_j is D[x, i, j] = (t_j - t_i) E[x, i] / (2 ln 2) bits, with E the
squared error of the model's prediction at t_i (§7.1): one measured curve for a picture gives D for all pairs. What a
coder spends on that KL is the price of an edge, and the schedule the cheapest path from nothing to the last level.

Tables scale with the number of cells: E of a crop is the sum over its cells, so D, and the bits that pay for it, are
proportional to them; only the few bits that a step costs whatever its size are not, and let larger pictures afford more
steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdf_format import atomic
from sdf_format.diffusion import fit
from sdf_format.diffusion.fit import Capacity, MmseCurve
from sdf_format.diffusion.schedule import REGISTERED_BITS, REGISTERED_LEVEL, registry
from sdf_format.errors import BadInput
from sdf_format.models import loading

LOWEST, SPACING = -8.0, 0.5  # nat: where measuring starts, and between measurements
GRID = 1 / 16  # nat: between the levels that a schedule may choose from
MOST_STEPS = 255  # of an "unlimited" schedule
REPORT = ("size", "steps", "pictures", "bits a cell", "over the ideal KL")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# The paper's tables (A.6): from the bits that each picture needs for each step, (pictures, steps), to what all are
# granted.
STRATEGIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda bits: bits.mean(axis=0),
    "half": lambda bits: bits.mean(axis=0) / 2,
    "double": lambda bits: bits.mean(axis=0) * 2,
    "min": lambda bits: bits.min(axis=0),
    "max": lambda bits: bits.max(axis=0),
}


def crop(image: Image.Image, side: int) -> np.ndarray | None:
    """(side, side, 3) uint8 from the middle, or None of a picture that is too small."""
    if min(image.size) < side:
        return None
    left, top = ((extent - side) // 2 for extent in image.size)
    return np.array(image.convert("RGB").crop((left, top, left + side, top + side)))


def photographs(folder: Path, count: int) -> list[Path]:
    """At most `count` pictures of a folder, evenly spread over their names."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return [files[i * len(files) // count] for i in range(count)] if count < len(files) else files


def measure_all(
    files: Iterable[Path],
    side: int,
    loaded: loading.Model,
    end: float,
    store: Path,
    settings: dict[str, Any],
    progress: Callable[[int, int], None],
) -> list[MmseCurve]:
    """The curve of every picture that is large enough, from LOWEST to `end` [nat].

    store     file of JSON lines to which each curve is added as soon as it is there: what it holds is not measured
              again
    settings  what its curves depend on besides picture, side and end, kept in its first line; BadInput if those differ
    """
    known = _read(store, settings)
    files, curves = list(files), []
    for number, file in enumerate(files):
        progress(number, len(files))
        key = (file.name, side)
        curve = known.get(key)
        if key not in known or (curve is not None and curve.levels[-1] < end):
            with Image.open(file) as image:
                pixels = crop(image, side)
            curve = known[key] = (
                None
                if pixels is None
                else fit.measure_mmse(
                    loaded.encode(pixels), loaded, lambda curve: curve.levels[-1] >= end, LOWEST, SPACING
                )
            )
            with store.open("a") as stream:
                stream.write(json.dumps({"file": file.name, "side": side, "curve": curve and vars(curve)}) + "\n")
        if curve is not None:
            curves.append(curve)
    progress(len(files), len(files))
    if not curves:
        raise BadInput(f"none of {len(files)} pictures has {side}x{side} pixels")
    return curves


def _read(store: Path, settings: dict[str, Any]) -> dict[tuple[str, int], MmseCurve | None]:
    """What a store holds, made anew if it is not there; a last line that an interruption cut off is dropped."""
    lines = store.read_text().split("\n") if store.exists() else []
    if len(lines) < 2:
        atomic.write(store, (json.dumps(settings) + "\n").encode())
        return {}
    if json.loads(lines[0]) != settings:
        raise BadInput(
            f"{store} holds measurements of {lines[0]}, not of {json.dumps(settings)}; remove it, or write elsewhere"
        )
    if lines[-1]:
        atomic.write(store, ("\n".join(lines[:-1]) + "\n").encode())
    rows = [json.loads(line) for line in lines[1:-1]]
    return {(row["file"], row["side"]): row["curve"] and MmseCurve(**row["curve"]) for row in rows}


def prices(capacity: Capacity, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """(KL, bits), both increasing: what a coder spends [bit] to deliver a step's KL [bit], between the points
    linearly.
    """
    count = round(20 * math.log(dimensions)) + 1
    bits = np.unique(np.append(0, np.geomspace(1, dimensions, count).round()))
    kl = np.maximum.accumulate([capacity(int(b), dimensions) for b in bits])
    rising = np.append(True, np.diff(kl) > 0)  # a second walk costs before it gains
    return kl[rising], bits[rising]


def spent(curve: MmseCurve, here: np.ndarray, there: np.ndarray, capacity: Capacity) -> np.ndarray:
    """Bits of the steps from levels `here` (-inf: nothing) to `there` [nat]; infinite where no step can carry so
    much.
    """
    error = np.where(here == -np.inf, curve.energy, np.exp(np.interp(here, curve.levels, np.log(curve.errors))))
    wanted = (np.exp(there) - np.exp(here)) * error / (2 * math.log(2))
    kl, bits = prices(capacity, curve.dimensions)
    return np.interp(wanted, kl, bits, right=np.inf)


def edges(curves: Sequence[MmseCurve], levels: np.ndarray, capacity: Capacity) -> np.ndarray:
    """(n, n) mean bits of a step from level i to level j [nat]; infinite for steps that do not rise."""
    here, there = levels[:, None], levels[None, :]
    with np.errstate(invalid="ignore"):
        rising = there > here
    total = np.zeros((len(levels), len(levels)))
    for curve in curves:
        total += spent(curve, np.broadcast_to(here, total.shape), np.where(rising, there, here), capacity)
    return np.where(rising, total / len(curves), np.inf)


def shortest(cost: np.ndarray, steps: int | None) -> list[int]:
    """Nodes 0 .. n - 1 of the cheapest path of exactly `steps` edges, or of at most MOST_STEPS where that is None.

    cost: (n, n)
    """
    nodes = len(cost)
    best = np.full(nodes, np.inf)
    best[0] = 0
    arrivals, before = [], []
    for _ in range(steps or min(MOST_STEPS, nodes - 1)):
        passing = best[:, None] + cost
        before.append(passing.argmin(axis=0))
        best = passing.min(axis=0)
        arrivals.append(best[-1])
    count = steps or int(np.argmin(arrivals)) + 1
    if not np.isfinite(arrivals[count - 1]):
        raise BadInput(
            f"no schedule of {count} steps ends there: the coder's steps carry too little; allow more steps, or end "
            "lower"
        )
    path = [nodes - 1]
    for step in range(count - 1, -1, -1):
        path.append(int(before[step][path[-1]]))
    return path[::-1]


def optimise(curves: Sequence[MmseCurve], end: float, steps: int | None, capacity: Capacity) -> np.ndarray:
    """Levels [nat] at the ends of the steps that cost the fewest bits on average, the last of them `end`."""
    grid = np.append(-np.inf, np.arange(round((end - LOWEST) / GRID), -1, -1) * -GRID + end)
    return grid[shortest(edges(curves, grid, capacity), steps)[1:]]


def needs(curves: Sequence[MmseCurve], levels: np.ndarray, capacity: Capacity) -> np.ndarray:
    """(pictures, steps) bits that each picture needs for each step."""
    before = np.append(-np.inf, levels[:-1])
    return np.stack([spent(curve, before, levels, capacity) for curve in curves])


def entry(name: str, levels: np.ndarray, bits: np.ndarray, cells: int) -> dict[str, Any]:
    """In the form of table 4.3.  bits: of each step, for a picture of `cells`"""
    return {
        "name": name,
        "levels": [round(x * REGISTERED_LEVEL) for x in levels.tolist()],
        "bits": [max(1, round(b * REGISTERED_BITS / cells)) for b in bits.tolist()],
    }


def ideal(curve: MmseCurve, end: float) -> float:
    """KL [bit] of infinitely many steps up to a level [nat]."""
    levels = np.arange(LOWEST, end + GRID / 2, GRID)
    errors = np.exp(np.interp(levels, curve.levels, np.log(curve.errors)))
    precision = np.exp(levels)
    return float((curve.energy * precision[0] + np.trapezoid(errors, precision)) / (2 * math.log(2)))


def calibrate(
    name: str,
    loaded: loading.Model,
    folder: Path,
    out: Path,
    *,
    steps: Sequence[int | None],
    sides: Sequence[int],
    end: float,
    count: int,
    table: str,
    capacity: Capacity,
    progress: Callable[[int, int], None],
) -> list[tuple[object, ...]]:
    """Write one entry of table 4.3 for each size and number of steps; the rows of a report come back, as REPORT says.

    name      of the model, in table 4.1, or its folder; loaded: that model
    out       file for the entries, as in `spec/tables/schedules.json`, numbered from the first id that is free.
              Measurements go to a file beside it: a second run, after an interruption or with other steps, does not
              repeat them.
    steps     numbers of steps, None for as many as pay; sides: of the crops [pixel]
    table     one of STRATEGIES
    """
    found = loading.find(name)
    spec = found.spec
    for side in sides:
        if side < 1 or side % spec.multiple:
            raise BadInput(f"size {side}: {name} takes multiples of {spec.multiple} pixels")
    if table not in STRATEGIES:
        raise BadInput(f"table {table!r} is unknown here; known: {', '.join(STRATEGIES)}")
    if any(n is not None and not 1 <= n <= MOST_STEPS for n in steps):
        raise BadInput(f"numbers of steps {steps}: wanted 1..{MOST_STEPS}, or unlimited")
    if not LOWEST < end <= fit.HIGHEST:
        raise BadInput(f"end {end} is outside {LOWEST}..{fit.HIGHEST} nat")
    settings = {"model": name, "sha256": found.sha256.hex(), "lowest": LOWEST, "spacing": SPACING}
    entries: dict[str, dict[str, Any]] = {}
    report: list[tuple[object, ...]] = []
    files = photographs(folder, count)
    first = max(registry(), default=0) + 1
    for place, side in enumerate(sides):
        curves = measure_all(
            files,
            side,
            loaded,
            end,
            out.with_suffix(".curves.jsonl"),
            settings,
            lambda done, total: progress(place * total + done, len(sides) * total),
        )
        cells = (side // spec.cell) ** 2
        least = float(np.mean([ideal(curve, end) for curve in curves]))
        for wanted in steps:
            levels = optimise(curves, end, wanted, capacity)
            each = needs(curves, levels, capacity)
            entries[str(first + len(entries))] = entry(
                f"{spec.name}, {len(levels)} steps, {side}x{side}", levels, STRATEGIES[table](each), cells
            )
            total = float(each.mean(axis=0).sum())
            over = f"{total / least - 1:.1%}"
            report.append((f"{side}x{side}", len(levels), len(curves), f"{total / cells:.3f}", over))
    atomic.write(out, (json.dumps(entries, indent=1) + "\n").encode())
    return report
