"""`sdf bench tables`: its rows keep to their budget, and its comparison at equal quality is exact on known curves."""

from __future__ import annotations

import json
import math

import pytest
import torch
from pictures import picture

from sdf_format.bench import tables
from sdf_format.bench.remembering import Remembering
from sdf_format.cli import main as cli
from sdf_format.coding.rcc import trellis
from sdf_format.diffusion import fit, schedule
from sdf_format.training import calibrate

CELLS = 1024


def capacity(bits: int, dimensions: int) -> float:
    return trellis.capacity(bits, 14, dimensions)


def curve(scale: float) -> fit.MmseCurve:
    levels = [calibrate.LOWEST + i / 2 for i in range(30)]
    return fit.MmseCurve(64 * CELLS, scale * CELLS, levels, [scale * CELLS / (1 + math.exp(x)) for x in levels])


@pytest.mark.clause("4.2")
@pytest.mark.parametrize("bits", [2000, 20000])
def test_every_row_spends_its_budget_and_no_more(bits):
    chosen = tables.strategies([curve(4), curve(16)], 30, 4.0, CELLS, capacity)
    assert len(chosen) == 9
    sending = tables.Sending(curve(8), bits, CELLS, capacity)
    for name, strategy in chosen.items():
        (levels, granted), size = strategy(sending)
        spent = sum(granted) + 8 * size
        assert spent <= bits and (spent > bits - 100 or name in ("fixed, min", "fixed, half")), name
        plan = schedule.expand(schedule.INLINE, tables.inline((levels, granted)), -(-sum(granted) // 8) * 8, CELLS)
        assert plan.bits == tuple(granted) and plan.levels == pytest.approx(levels, abs=0.1)
        assert size <= 4 or name == "own, inline"


def test_bytes_at_equal_quality_come_from_the_references_curve():
    reference = [(1000, 20.0), (2000, 22.0), (4000, 23.0)]
    assert tables.more_bytes(reference, reference) == pytest.approx(0)
    assert tables.more_bytes([(2000, 21.0)], reference) == pytest.approx(math.sqrt(2) - 1)
    assert tables.more_bytes([(8000, 24.0), (250, 16.0)], reference) == pytest.approx(0)
    assert tables.more_bytes([(1100, 20.0), (2200, 22.0)], reference) == pytest.approx(0.1)
    assert math.isnan(tables.more_bytes([(1000, 20.0)], reference[:1]))


def test_a_remembered_prediction_is_the_models():
    class Counting:
        calls = 0

        def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
            self.calls += 1
            return y * sigma

    inner = Counting()
    once = Remembering()(inner)
    y = torch.ones(3)
    assert all(torch.equal(once.predict(y, sigma), y * sigma) for sigma in (1.0, 2.0, 1.0, 2.0)) and inner.calls == 2
    assert torch.equal(once.predict(2 * y, 1.0), 2 * y) and inner.calls == 3 and once.saved >= 0


def test_the_command_prints_its_rows(tmp_path, capsys):
    (tmp_path / "photographs").mkdir()
    for seed in (1, 2):
        picture(80, 64, seed).save(tmp_path / "photographs" / f"{seed}.png")
    picture(64, 64, 3).save(tmp_path / "mine.png")
    assert (
        cli.main(
            [
                "bench",
                "tables",
                str(tmp_path / "mine.png"),
                "--photographs",
                str(tmp_path / "photographs"),
                "--size",
                "64",
                "--bpp",
                "0.7",
                "--steps",
                "12",
                "--end",
                "4",
                "--json",
            ]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [r["table"] for r in rows][:2] == ["law", "fixed, mean"] and len(rows) == 9
    # one budget makes no curve; too small for five scales
    assert rows[0]["more_bytes_at_psnr"] is None and rows[0]["ms_ssim"] is None
    assert all(0 < r["bytes"] <= 0.7 * 64 * 64 / 8 and r["psnr"] > 12 for r in rows)
