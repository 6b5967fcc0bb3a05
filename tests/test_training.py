"""The commands that make the embedded model: what data preparation leaves out, and a run that resumes as if it had not
stopped.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image, ImageOps

from sdf_format.models.tiny_net import TinyNet
from sdf_format.training import card, fit, plot, prepare


def photograph(seed: int, side: int = 300) -> Image.Image:
    """Like `picture`, its hash unlike that of other seeds."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        (side + 40, side), Image.Resampling.BICUBIC
    )
    return Image.blend(coarse, picture(side + 40, side, seed), 0.3)


def test_preparation_leaves_out_what_should_not_be_trained_on(tmp_path, capsys):
    for name in ("a", "b", "kodak"):
        (tmp_path / name).mkdir()
    one, two = photograph(1), photograph(2, 700)
    one.save(tmp_path / "a/0.png")
    one.resize((680, 600)).save(tmp_path / "a/1 again larger.jpg")
    ImageOps.mirror(one).save(tmp_path / "a/2 mirrored.png")
    two.save(tmp_path / "b/0.png")
    photograph(3, 200).save(tmp_path / "b/1 small.png")
    photograph(4).convert("L").save(tmp_path / "b/2 grey.png")
    Image.new("RGB", (400, 400), (90, 60, 20)).save(tmp_path / "b/3 flat.png")
    cut_out = Image.new("RGB", (400, 400), "white")
    cut_out.paste(photograph(5).resize((200, 200)), (100, 100))
    cut_out.save(tmp_path / "b/4 cut out.png")
    (tmp_path / "b/5 broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    photograph(6).save(tmp_path / "b/6 of the evaluation set.jpg", quality=60)
    photograph(6).save(tmp_path / "kodak/0.png")
    command = [
        "--source",
        f"{tmp_path}/a=CC0",
        "--source",
        f"{tmp_path}/b=CC-BY",
        "--avoid",
        f"{tmp_path}/kodak",
        "--out",
    ]
    prepare.main([*command, f"{tmp_path}/out"])
    assert (
        "2 photographs taken; left out: 1 cut-out, 2 duplicate, 1 evaluation, 1 flat, 1 grey, 1 small, 1 unreadable"
        in capsys.readouterr().out
    )
    rows = json.loads((tmp_path / "out/MANIFEST.json").read_text())
    assert [(r["source"], r["path"], r["licence"]) for r in rows] == [("a", "0.png", "CC0"), ("b", "0.png", "CC-BY")]
    assert (
        [Image.open(tmp_path / "out" / r["file"]).size for r in rows]
        == [(340, 300), (541, 512)]
        == [(r["width"], r["height"]) for r in rows]
    )
    prepare.main([*command, f"{tmp_path}/twice"])
    for file in (tmp_path / "out").iterdir():
        assert (tmp_path / "twice" / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(SystemExit):
        prepare.main([*command, f"{tmp_path}/out"])  # never into a folder with files


def test_a_run_that_was_stopped_goes_on_as_it_would_have(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for seed in range(3):
        photograph(seed, 260).save(tmp_path / f"data/{seed}.png")
    monkeypatch.setattr(fit, "VALIDATION", 1)
    monkeypatch.setattr(fit, "TinyNet", lambda: TinyNet(outer=16, inner=16, embedding=8))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:

        def command(run: str) -> list[str]:
            return [
                "--data",
                f"{tmp_path}/data",
                "--run",
                f"{tmp_path}/{run}",
                "--steps",
                "4",
                "--batch",
                "2",
                "--crop",
                "32",
                "--save-minutes",
                "0",
                "--device",
                "cpu",
            ]

        fit.main(command("straight"))
        validate, calls = fit.validate, []

        def interrupted(*given):
            """The checkpoint is written before; this is Ctrl-C after the second one."""
            calls.append(given)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return validate(*given)

        monkeypatch.setattr(fit, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit.main(command("stopped"))
        monkeypatch.setattr(fit, "validate", validate)
        fit.main(command("stopped"))
    finally:
        torch.set_num_threads(threads)
    a, b = (torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("straight", "stopped"))
    assert a["step"] == b["step"] == 4 and a["average"] == b["average"]
    for name, value in a["ema"].items():
        assert torch.equal(value, b["ema"][name]), name
    plot.main([f"{tmp_path}/straight/log.jsonl", "--out", f"{tmp_path}/log.svg"])
    assert "<svg" in (tmp_path / "log.svg").read_text()
    (tmp_path / "data/MANIFEST.json").write_text(json.dumps([{"source": "made", "licence": "CC0"}] * 3))
    written = tmp_path / "card.md"
    for _ in range(2):  # writing again changes nothing
        card.main(["--run", f"{tmp_path}/straight", "--data", f"{tmp_path}/data", f"{written}"])
        text = written.read_text()
        weights = (tmp_path / "straight/weights.safetensors").read_bytes()
        assert f"{sum(p.numel() for p in TinyNet(outer=16, inner=16, embedding=8).parameters()):,} parameters" in text
        assert (
            hashlib.sha256(weights).hexdigest() in text
            and "| 3 | made | CC0 |" in text
            and text.count("## ") == 0
            and "steps 4" in text
        )
        assert text.count("| 20 |") == 1
    written.write_text("no marks")
    with pytest.raises(SystemExit):
        card.main(["--run", f"{tmp_path}/straight", "--data", f"{tmp_path}/data", f"{written}"])
    assert written.read_text() == "no marks"
