"""Whole files: the worked example, prefix and precision, sizes, tables, compressed bodies, the command line."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SPEC
from pictures import opened, picture, psnr, saved
from PIL import Image
from test_spec import table

from sdf_format import codec
from sdf_format.cli import main as cli
from sdf_format.container import alpha, chunks, compression, metadata, parameters
from sdf_format.diffusion import schedule
from sdf_format.errors import BadFile, BadInput
from sdf_format.models import loading, tiny

clause = pytest.mark.clause


def annex_a() -> bytes:
    """The bytes of the specification's hex dump."""
    block = re.search(r"## Annex A.*?```\n(.*?)```", SPEC.read_text(), re.S)
    assert block
    return bytes.fromhex(re.sub(r"#.*", "", block[1]))


@clause("A", "3.3", "4.2.1", "5.2")
def test_the_worked_example_decodes_to_its_picture():
    data = annex_a()
    image = opened(data)
    image.verify()
    assert image.size == (24, 16)
    y, x = np.mgrid[:16, :24]
    original = np.stack([x * 10, y * 16, np.full_like(x, 96)], axis=2).astype(np.uint8)
    decoded, _ = codec.decode_bytes(data)
    assert psnr(Image.fromarray(decoded), Image.fromarray(original)) > 20


@clause("4.1")
def test_the_models_of_the_specification_are_those_of_the_code_and_of_the_package():
    rows = {int(r[0]): (r[1], r[5].strip("`")) for r in table(SPEC.read_text(), "4.1")}
    assert rows == {key: (spec.name, spec.sha256 or "§4.4") for key, spec in loading.MODELS.items()}
    for spec in (s for s in loading.MODELS.values() if not s.published):
        data = resources.files("sdf_format").joinpath(spec.weights).read_bytes()
        assert hashlib.sha256(data).hexdigest() == spec.sha256 and len(data) <= 24e6


@clause("5.1", "5.2", "4.2.2")
@pytest.mark.parametrize(
    ("number", "known"),
    [
        ("5.1", parameters.KINDS),
        ("5.2", parameters.CODERS),
        ("5.3", parameters.DENOISERS),
        ("4.3", {k: v["name"] for k, v in schedule.registry().items()}),
    ],
)
def test_tables_of_the_specification_are_those_of_the_code(number, known):
    lines = SPEC.read_text().split(f"Table {number}:")[1].splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if re.match(r"\| *\d+ *\|", line)]
    assert {int(r[0]): r[1] for r in rows[: len(known)]} == known


def test_default_overhead_is_at_most_40_bytes():
    for quality in (10, 50, 90):
        data = saved(picture(320, 240), quality=quality)
        payload = chunks.scan(io.BytesIO(data)).find(b"D")
        assert len(data) - payload.length <= 40


@clause("6.2", "9")
def test_another_precision_and_thread_count_reads_the_same_bits(monkeypatch):
    """float32 and one thread against bfloat16 and two: every displacement is equal, pixels differ within §9."""
    from sdf_format.coding.rcc import tree

    spec = loading.MODELS[1]
    data = resources.files("sdf_format").joinpath(spec.weights).read_bytes()
    seen: list[bytes] = []
    receive = tree.receive
    monkeypatch.setattr(tree, "receive", lambda *a: seen.append(receive(*a).numpy().tobytes()) or receive(*a))
    state = tiny.load_safetensors(data)
    results = []
    monkeypatch.setenv("SDF_THREADS", "1")
    monkeypatch.setitem(loading._loaded, (1, "cpu"), tiny.Tiny(state, "cpu", torch.float32))
    image = picture(192, 128)
    file = saved(image, target_bytes=900, device="cpu")
    for threads, dtype in ((1, torch.float32), (2, torch.bfloat16)):
        monkeypatch.setenv("SDF_THREADS", str(threads))
        monkeypatch.setitem(loading._loaded, (1, "cpu"), tiny.Tiny(state, "cpu", dtype))
        seen.clear()
        pixels, _ = codec.decode_bytes(file, device="cpu")
        results.append((list(seen), pixels.astype(float)))
    assert results[0][0] == results[1][0] and results[0][0]
    difference = np.abs(results[0][1] - results[1][1])
    assert np.sqrt((difference**2).mean()) <= 1.5 and difference.max() <= 40


@clause("4.3")
def test_tiles_give_what_the_whole_picture_gives(monkeypatch):
    data = resources.files("sdf_format").joinpath(loading.MODELS[1].weights).read_bytes()
    net = tiny.Tiny(tiny.load_safetensors(data), "cpu", torch.float32)
    y = torch.randn(1, 192, 20, 76, generator=torch.Generator().manual_seed(0))
    whole = net.predict(y, 0.7)
    monkeypatch.setattr(tiny, "WHOLE", 0)
    monkeypatch.setattr(tiny, "TILE", 8)
    assert torch.allclose(net.predict(y, 0.7), whole, atol=2e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (17, 3), (16, 16), (33, 31)])
def test_odd_sizes(size):
    image = Image.new("RGB", size, (200, 60, 30))
    again = opened(saved(image, quality=60))
    assert again.size == size and psnr(again, image) > 20


def test_a_long_strip_goes_through_tiles():
    image = picture(3200, 40)
    again = opened(saved(image, target_bytes=2500))
    assert again.size == image.size and psnr(again, image) > 17


@clause("4.2.2")
def test_a_registered_table_with_one_gain():
    image = picture(160, 128)
    data = saved(image, target_bytes=1500, table=1)
    header = parameters.parse(chunks.scan(io.BytesIO(data)).header)
    assert header.form == schedule.REGISTERED and 0.97 * 1500 <= len(data) <= 1500
    assert psnr(opened(data), image) > 18


@clause("4.2.3")
def test_a_schedule_written_inline_decodes_like_the_law_it_spells_out():
    image = picture(96, 64)
    file = saved(image, target_bytes=500)
    found = chunks.scan(io.BytesIO(file))
    fields = parameters.parse(found.header)
    payload = chunks.read(io.BytesIO(file), found.find(b"D"))
    plan = schedule.expand(fields.form, fields.schedule, 8 * len(payload), 8 * 12)
    marks = [round(level * schedule.INLINE_LEVEL) for level in plan.levels]
    inline = dict(
        steps=len(marks), first=marks[0], rises=[b - a for a, b in itertools.pairwise(marks)], bits=list(plan.bits)
    )
    import dataclasses

    body = parameters.build(dataclasses.replace(fields, form=schedule.INLINE, schedule=inline))
    again = chunks.build(dataclasses.replace(found.header, parameters=body), payload)
    a, b = (codec.decode_bytes(d)[0].astype(float) for d in (file, again))
    assert np.sqrt(((a - b) ** 2).mean()) < 6  # levels are rounded to 1/64 nat, bits are the same


@clause("5.2")
def test_an_extension_is_ignored():
    import dataclasses

    file = saved(picture(), target_bytes=400)
    found = chunks.scan(io.BytesIO(file))
    fields = dataclasses.replace(parameters.parse(found.header), extension=b"tomorrow")
    header = dataclasses.replace(found.header, parameters=parameters.build(fields))
    again = chunks.build(header, chunks.read(io.BytesIO(file), found.find(b"D")))
    assert (codec.decode_bytes(again)[0] == codec.decode_bytes(file)[0]).all()


@clause("6.2")
def test_surplus_bits_must_be_zero():
    file = saved(picture(), target_bytes=400)
    found = chunks.scan(io.BytesIO(file))
    payload = chunks.read(io.BytesIO(file), found.find(b"D"))
    import dataclasses

    bits = 8 * len(payload) - 3
    inline = dict(steps=2, first=-64, rises=[64], bits=[bits // 2, bits - bits // 2])
    body = parameters.build(parameters.Diffc(schedule.INLINE, inline))
    header = dataclasses.replace(found.header, parameters=body)
    codec.decode_bytes(chunks.build(header, payload[:-1] + bytes([payload[-1] & 0xF8])))
    with pytest.raises(BadFile, match="not zero"):
        codec.decode_bytes(chunks.build(header, payload[:-1] + bytes([payload[-1] | 1])))


@clause("3.4")
def test_a_metadata_body_is_bounded_before_it_is_decompressed():
    bomb = compression.compress(bytes(compression.METADATA_LIMIT + 1))
    assert len(bomb) < 2000
    with pytest.raises(BadFile, match="more than"):
        compression.unpack(b"\x01" + bomb, "test")
    assert compression.unpack(compression.pack(bytes(compression.METADATA_LIMIT)), "test") == bytes(
        compression.METADATA_LIMIT
    )
    with pytest.raises(BadInput):
        metadata.build(exif=bytes(compression.METADATA_LIMIT + 1))


@clause("3.4")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x02x",
        b"\x01",
        b"\x01junk",
        b"\x01" + compression.compress(b"x" * 999)[:-1],
        b"\x01" + compression.compress(b"x" * 999) + b"!",
    ],
)
def test_damaged_metadata_bodies(body):
    with pytest.raises(BadFile):
        compression.unpack(body, "test")


@clause("3.5")
def test_damaged_alpha_planes():
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    body = alpha.encode(plane)
    assert (alpha.decode(body, 3, 4) == plane).all()
    for bad in (b"", b"\x09" + body[1:], body[:-1], body + b"!"):
        with pytest.raises(BadFile):
            alpha.decode(bad, 3, 4)
    with pytest.raises(BadFile):
        alpha.decode(body, 4, 4)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdf_format.cli", *arguments], capture_output=True, text=True, env={**os.environ}
    )


def test_command_line_end_to_end(tmp_path, capsys):
    source, file, back = (str(tmp_path / n) for n in ("a.png", "a.sdf", "b.png"))
    picture().save(source)
    assert cli.main(["encode", source, file, "--target-bytes", "500"]) == 0
    assert os.path.getsize(file) <= 500
    assert cli.main(["decode", file, back, "--denoiser", "mean"]) == 0
    assert psnr(Image.open(back), picture()) > 18
    assert cli.main(["verify", file]) == 0
    capsys.readouterr()
    assert cli.main(["info", "--json", file]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["valid"]
        and [c["type"] for c in facts["chunks"]] == ["H", "D"]
        and all(c["crc"] == "ok" for c in facts["chunks"])
    )
    assert sum(s["bits"] for s in facts["schedule"]) == 8 * facts["chunks"][1]["length"]
    data = bytearray(Path(file).read_bytes())
    data[-9] ^= 4
    Path(file).write_bytes(data)
    assert cli.main(["verify", file]) == 1 and cli.main(["info", file]) == 1
    assert cli.main(["decode", file, back, "--force"]) == 1
    assert cli.main(["encode", source, file, "--force", "--quality", "500"]) == 1


def test_info_and_verify_need_no_torch_and_show_no_traceback(tmp_path):
    path = tmp_path / "a.sdf"
    path.write_bytes(annex_a())
    code = (
        "import sys\nfrom sdf_format.cli import main as cli\n"
        f"assert cli.main(['info', {str(path)!r}]) == 0 and cli.main(['verify', {str(path)!r}]) == 0\n"
        "assert not {'torch', 'numpy', 'diffusers'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    path.write_bytes(b"not a picture")
    for command in ("info", "verify", "decode"):
        result = run(command, str(path), *(["x.png"] if command == "decode" else []))
        assert result.returncode == 1 and "Traceback" not in result.stderr
    assert run("--help").returncode == 0
