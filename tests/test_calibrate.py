"""The schedule optimiser: its graph against closed forms and brute force, its measurements against interruptions."""

from __future__ import annotations

import json
import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from pictures import picture
from pipelines import save

from sdf_format.cli import main as cli
from sdf_format.coding.rcc import trellis
from sdf_format.diffusion import fit, schedule
from sdf_format.errors import BadInput
from sdf_format.training import calibrate

SETTINGS = {"model": "white"}


def capacity(bits: int, dimensions: int) -> float:
    return trellis.capacity(bits, 14, dimensions)


class White:
    """16 independent unit normals a cell of 8 pixels, and their exact posterior mean: the error is 1 / (1 + t) a
    value.
    """

    def __init__(self, calls: float = math.inf):
        self.calls = calls

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        seed = int(pixels.sum())
        return torch.randn(
            1, 16, pixels.shape[0] // 8, pixels.shape[1] // 8, generator=torch.Generator().manual_seed(seed)
        )

    def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return y / (1 + sigma * sigma)


def white(cells: int) -> fit.MmseCurve:
    levels = np.arange(calibrate.LOWEST, 6.01, calibrate.SPACING)
    return fit.MmseCurve(16 * cells, 16.0 * cells, levels.tolist(), (16 * cells / (1 + np.exp(levels))).tolist())


@pytest.fixture
def folder(tmp_path):
    for seed in range(4):
        picture(96 + 64 * (seed > 0), 128, seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def measured(folder, model, side=128, progress=lambda *_: None, settings=SETTINGS):
    return calibrate.measure_all(
        calibrate.photographs(folder, 10), side, model, 2.0, folder / "store.jsonl", settings, progress
    )


# --- the graph


@pytest.mark.clause("7.1")
def test_a_step_costs_what_the_coder_asks_for_its_kl():
    curve = white(1024)
    bits = calibrate.spent(curve, np.array([-np.inf, -1.0, 0.0]), np.array([-2.0, 0.0, 0.5]), capacity)
    kl = [
        8 * 1024 / math.log(2) * rise * error
        for rise, error in [(math.exp(-2), 1), (1 - math.exp(-1), 1 / (1 + math.exp(-1))), (math.exp(0.5) - 1, 0.5)]
    ]
    assert [capacity(round(float(b)), 16 * 1024) for b in bits] == pytest.approx(kl, rel=0.01)
    # more than a bit a value
    assert np.isinf(calibrate.spent(curve, np.array([-np.inf]), np.array([6.0]), capacity))
    assert calibrate.ideal(curve, 2.0) == pytest.approx(8 * 1024 * math.log2(1 + math.exp(2)), rel=0.01)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, None])
def test_the_path_is_the_cheapest_there_is(steps):
    rng = np.random.default_rng(steps or 0)
    cost = np.where(np.triu(np.ones((7, 7)), 1) > 0, rng.random((7, 7)) + 0.2, np.inf)
    ways = [(0, *middle, 6) for n in range(6) for middle in combinations(range(1, 6), n) if steps in (None, n + 1)]
    best = min(ways, key=lambda way: sum(cost[a, b] for a, b in pairwise(way)))
    assert calibrate.shortest(cost, steps) == list(best)


def test_a_path_that_no_coder_can_carry_is_refused():
    with pytest.raises(BadInput, match="allow more steps"):
        calibrate.optimise([white(64)], 6.0, 2, capacity)


def test_more_steps_cost_less_until_the_coder_asks_too_much():
    curves = [white(256)]
    cost = {
        n: calibrate.needs(curves, calibrate.optimise(curves, 0.0, n, capacity), capacity).sum()
        for n in (3, 6, 12, None, 100)
    }
    assert cost[3] > cost[6] > cost[12] > cost[None] < cost[100]
    even = np.linspace(-5, 0, 6)
    assert cost[6] < calibrate.needs(curves, even, capacity).sum()
    levels = calibrate.optimise(curves, 0.0, 6, capacity)
    assert len(levels) == 6 and (np.diff(levels) > 0).all() and levels[-1] == 0


# --- tables


@pytest.mark.clause("4.2.2")
def test_tables_scale_with_the_number_of_cells():
    """One schedule, one table of bits a cell: sizes differ by what a step costs whatever its size, a few bits."""
    levels = calibrate.optimise([white(1024)], 2.0, 12, capacity)
    per_cell = {
        cells: calibrate.needs([white(cells)], levels, capacity)[0] / cells for cells in (256, 1024, 4096, 16384)
    }
    for cells in (256, 1024, 4096):
        beyond = (per_cell[cells] - per_cell[16384]) * cells
        assert beyond.min() >= 0 and beyond.max() < 0.02 * per_cell[cells].max() * cells + 8
    assert per_cell[1024].sum() == pytest.approx(per_cell[16384].sum(), rel=0.02)
    counts = [len(calibrate.optimise([white(cells)], 2.0, None, capacity)) for cells in (64, 512, 4096)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


@pytest.mark.clause("4.2.2")
def test_measured_tables_scale_too(folder):
    for size in (128, 256):
        picture(size, size, 9).save(folder / f"size-{size}.png")
    tables = []
    for side in (128, 256):
        (curve,) = calibrate.measure_all(
            [folder / f"size-{side}.png"], side, White(), 1.0, folder / "sizes.jsonl", SETTINGS, lambda *_: None
        )
        levels = np.arange(-4.0, 1.1, 0.5)
        tables.append(calibrate.entry("white", levels, calibrate.needs([curve], levels, capacity)[0], (side // 8) ** 2))
    small, large = (np.array(t["bits"]) for t in tables)
    assert small.sum() == pytest.approx(large.sum(), rel=0.1) and (small >= 0.9 * large).all()


def test_strategies_are_the_papers():
    bits = np.array([[1.0, 10.0], [3.0, 20.0]])
    found = {name: rule(bits).tolist() for name, rule in calibrate.STRATEGIES.items()}
    assert found == {"mean": [2, 15], "half": [1, 7.5], "double": [4, 30], "min": [1, 10], "max": [3, 20]}


# --- measurements


def test_an_interrupted_run_goes_on_where_it_stopped(folder):
    whole = measured(folder, White())
    assert len(whole) == 3  # one picture is too small
    each = len(whole[0].levels)
    (folder / "store.jsonl").unlink()
    with pytest.raises(KeyboardInterrupt):
        measured(folder, White(each + 3))
    with (folder / "store.jsonl").open("a") as stream:
        stream.write('{"file": "1.p')  # a line that the interruption cut off
    assert measured(folder, White(2 * each)) == whole
    seen = []
    assert measured(folder, White(0), progress=lambda *at: seen.append(at)) == whole
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_measurements_of_something_else_are_not_used(folder):
    measured(folder, White())
    with pytest.raises(BadInput, match="remove it"):
        measured(folder, White(), settings={"model": "other"})
    with pytest.raises(BadInput, match="512x512"):
        measured(folder, White(), side=512)


# --- the command


@pytest.mark.clause("4.2.2")
def test_the_command_writes_entries_of_the_registry(folder, capsys, monkeypatch):
    out = folder / "made.json"
    assert (
        cli.main(
            [
                "calibrate",
                "--images",
                str(folder),
                "--out",
                str(out),
                "--steps",
                "5,unlimited",
                "--size",
                "64,96",
                "--end",
                "1",
                "--count",
                "2",
            ]
        )
        == 0
    )
    made = {int(k): v for k, v in json.loads(out.read_text()).items()}
    assert list(made) == [max(schedule.registry()) + 1 + i for i in range(4)]
    assert len(capsys.readouterr().out.splitlines()) == 5
    for entry in made.values():
        assert entry["name"].startswith(f"sdf-tiny-1, {len(entry['levels'])} steps, ")
    monkeypatch.setattr(schedule, "registry", lambda: made)
    for number, entry in made.items():
        total = 8 * (sum(entry["bits"]) * 64 // 1024 // 8)
        plan = schedule.expand(schedule.REGISTERED, dict(table=number, gain=66), total, 64)
        # its bits are rounded down
        assert sum(plan.bits) == total and plan.levels[-1] == pytest.approx(1, abs=0.2)


@pytest.mark.clause("4.4")
def test_a_model_of_another_kind_is_calibrated_too(folder):
    """Its weights are random, so it predicts nothing and every bit counts: low levels only."""
    model = save("epsilon", folder / "tiny-pipeline")
    assert (
        cli.main(
            [
                "calibrate",
                "--model",
                str(model),
                "--images",
                str(folder),
                "--out",
                str(folder / "made.json"),
                "--steps",
                "4",
                "--size",
                "64",
                "--end",
                "-3",
                "--count",
                "1",
            ]
        )
        == 0
    )
    (made,) = json.loads((folder / "made.json").read_text()).values()
    assert made["name"] == "unregistered (tiny-pipeline), 4 steps, 64x64" and made["levels"][-1] == -3 * 1024


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "100"], "multiples of 16"),
        (["--end", "14"], "end 14.0"),
        (["--table", "mode"], "table 'mode'"),
        (["--steps", "0"], "steps"),
        (["--images", "nowhere"], "nowhere"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(folder, capsys, options, message):
    arguments = [
        "calibrate",
        "--images",
        str(folder),
        "--out",
        str(folder / "made.json"),
        "--steps",
        "5",
        "--size",
        "64",
        "--count",
        "1",
    ]
    assert cli.main([*arguments, *options]) == 1
    assert message in capsys.readouterr().err
