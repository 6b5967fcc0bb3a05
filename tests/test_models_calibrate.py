"""A schedule made for a model of diffusers: measured, interrupted, taken up again, registered, and used in a file
(§4.2.2, §4.4).
"""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from pictures import opened, picture, saved
from pipelines import add_text, save

from sdf_format.cli import main as cli
from sdf_format.container import chunks, parameters
from sdf_format.diffusion import schedule
from sdf_format.models import loading
from sdf_format.models.stable import Stable

clause = pytest.mark.clause


@clause("4.2.2", "4.4")
def test_a_model_gets_its_own_schedule(tmp_path, monkeypatch, capsys):
    folder, images, out = save("sd3", tmp_path / "model"), tmp_path / "images", tmp_path / "made.json"
    images.mkdir()
    for seed in range(3):
        picture(40, 40, seed).save(images / f"{seed}.png")
    calls, allowed = [], [5]
    together = Stable.together

    def counted(self, asked):
        if len(calls) == allowed[0]:
            raise KeyboardInterrupt
        calls.append(1)
        return together(self, asked)

    monkeypatch.setattr(Stable, "together", counted)
    command = [
        "calibrate",
        "--model",
        str(folder),
        "--images",
        str(images),
        "--out",
        str(out),
        "--steps",
        "4",
        "--size",
        "32",
        "--end",
        "-3",
        "--device",
        "cpu",
    ]
    assert cli.main([*command, "--count", "1"]) == 130
    assert not out.exists()
    allowed[0] = 10**6
    assert cli.main([*command, "--count", "1"]) == 0
    first, each = out.read_text(), len(calls) - 5
    calls.clear()
    assert cli.main([*command, "--count", "1"]) == 1 and "--force" in capsys.readouterr().err
    command.append("--force")
    assert cli.main([*command, "--count", "1"]) == 0 and out.read_text() == first and not calls
    assert cli.main([*command, "--count", "3"]) == 0 and len(calls) == 2 * each
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["32x32", "4", "3"]
    ((number, entry),) = json.loads(out.read_text()).items()
    known = schedule.registry() | {int(number): entry}
    monkeypatch.setattr(schedule, "registry", lambda: known)
    data = saved(
        picture(40, 24), model=str(folder), table=int(number), target_bytes=200, denoiser=("flow", 1), device="cpu"
    )
    fields = parameters.parse(chunks.scan(io.BytesIO(data)).header)
    assert (fields.form, fields.schedule["table"]) == (schedule.REGISTERED, int(number))
    assert np.asarray(opened(data)).shape == (24, 40, 3)


@clause("5.2")
def test_the_command_takes_guidance_for_coding_and_for_denoising(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "_folders", [])
    folder = add_text(save("epsilon", tmp_path / "conditioned"))
    picture(40, 24).save(tmp_path / "a.png")
    command = [
        "encode",
        str(tmp_path / "a.png"),
        str(tmp_path / "a.sdf"),
        "--model",
        str(folder),
        "--target-bytes",
        "200",
        "--device",
        "cpu",
        "--force",
        "--prompt",
        "a fox",
        "--steps",
        "2",
        "--guidance",
    ]
    for given, kept in ((["1.5"], (1.5, 1.5)), (["1", "4"], (1.0, 4.0))):
        assert cli.main([*command, *given]) == 0
        with open(tmp_path / "a.sdf", "rb") as stream:
            assert parameters.parse(chunks.scan(stream).header).conditioning == parameters.Conditioning("a fox", *kept)
    assert cli.main([*command, "1", "2", "3"]) == 1 and "3 numbers of guidance" in capsys.readouterr().err
