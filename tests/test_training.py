"""The commands that make the embedded model: what data preparation leaves out, and a run that resumes as if it had not
stopped.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture  # tests/pictures.py
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdf_format.errors import BadInput
from sdf_format.models import dct
from sdf_format.models.gated_net import Depthwise, GatedNet
from sdf_format.training import card, checkpoints, drawings, fit, pictures, plot, prepare, shards


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


SMALL = [
    "--widths",
    "16",
    "16",
    "16",
    "--depths",
    "1",
    "1",
    "1",
    "1",
    "1",
    "--batch",
    "4",
    "--crop",
    "64",
    "--drawings",
    "3",
    "--device",
    "cpu",
    "--no-compile",
]


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder of three photographs, one of them held out; one thread, so that sums come in one order."""
    (tmp_path / "data").mkdir()
    for seed in range(3):
        photograph(seed, 260).save(tmp_path / f"data/{seed}.png")
    for name, value in (("VALIDATION", 1), ("DRAWN_HELD", 1), ("HELD_SIDE", 64)):
        monkeypatch.setattr(fit, name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "data"
    torch.set_num_threads(threads)


def test_a_run_that_was_stopped_goes_on_as_it_would_have(photographs, tmp_path, monkeypatch):
    def command(run: str) -> list[str]:
        return ["--data", str(photographs), "--run", f"{tmp_path}/{run}", "--steps", "4", "--save-minutes", "0", *SMALL]

    fit.main(command("straight"))
    validate, calls = fit.validate, []

    def interrupted(*given):
        """The checkpoint is written before; this is Ctrl-C after the second one."""
        calls.append(given)
        if len(calls) == 3:  # every checkpoint is judged on photographs and on drawings
            raise KeyboardInterrupt
        return validate(*given)

    monkeypatch.setattr(fit, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit.main(command("stopped"))
    monkeypatch.setattr(fit, "validate", validate)
    assert checkpoints.load(tmp_path / "stopped", torch.device("cpu"))["step"] == 2
    fit.main(command("stopped"))
    a, b = (checkpoints.load(tmp_path / run, torch.device("cpu")) for run in ("straight", "stopped"))
    assert a["step"] == b["step"] == 4 and a["average"] == b["average"]
    for name, value in a["ema"].items():
        assert torch.equal(value, b["ema"][name]), name
    plot.main([f"{tmp_path}/straight/log.jsonl", "--out", f"{tmp_path}/log.svg"])
    assert "<svg" in (tmp_path / "log.svg").read_text()
    (photographs / "MANIFEST.json").write_text(json.dumps([{"source": "made", "licence": "CC0"}] * 3))
    written = tmp_path / "card.md"
    for _ in range(2):  # writing again changes nothing
        card.main(["--run", f"{tmp_path}/straight", "--data", str(photographs), f"{written}"])
        text = written.read_text()
        weights = (tmp_path / "straight/weights.safetensors").read_bytes()
        count = sum(p.numel() for p in GatedNet((16, 16, 16), (1, 1, 1, 1, 1)).parameters())
        assert f"{count:,} parameters" in text
        assert (
            hashlib.sha256(weights).hexdigest() in text
            and "| 3 | made | CC0 |" in text
            and text.count("## ") == 0
            and "steps 4" in text
        )
        assert text.count("| -5 |") == 1
    checkpoints.main([f"{tmp_path}/straight", "--out", f"{tmp_path}/taken.safetensors"])
    assert (tmp_path / "taken.safetensors").read_bytes() == weights
    written.write_text("no marks")
    with pytest.raises(SystemExit):
        card.main(["--run", f"{tmp_path}/straight", "--data", str(photographs), f"{written}"])
    assert written.read_text() == "no marks"


def test_a_run_of_minutes_from_shards_is_worth_its_start(photographs, tmp_path, capsys):
    """The rehearsal of docs/training.md, shorter."""
    shards.main(["--data", str(photographs), "--out", f"{tmp_path}/shards", "--megabytes", "0.12"])
    files = sorted((tmp_path / "shards").iterdir())
    assert len(files) >= 2 and all(f.stat().st_size <= 120_000 for f in files)
    from_shards = pictures.load_photographs(None, files)
    assert [i.tobytes() for i in from_shards] == [i.tobytes() for i in pictures.load_photographs(photographs)]
    fit.main(
        [
            "--shards",
            *map(str, files),
            "--run",
            f"{tmp_path}/run",
            "--minutes",
            "0.1",
            "--save-minutes",
            "0.03",
            "--rate",
            "0.01",
            *SMALL,
        ]
    )
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert len(rows) >= 2 and rows[-1]["step"] > rows[0]["step"]
    assert set(rows[-1]["at"]) == set(rows[-1]["drawings"]) == {"0.02", "0.05", "0.1", "0.2", "0.4", "0.8"}
    assert all(f.stat().st_size < 16e6 for f in (tmp_path / "run").iterdir())


def test_a_run_starts_from_weights(photographs, tmp_path):
    made = GatedNet((16, 16, 16), (1, 1, 1, 1, 1))
    checkpoints.export(made.state_dict(), tmp_path / "start.safetensors")
    common = ["--data", str(photographs), "--run", f"{tmp_path}/run", *SMALL]
    run = fit.Run(
        fit.parser().parse_args([*common, "--start", f"{tmp_path}/start.safetensors"]),
        pictures.load_photographs(photographs),
    )
    for name, value in made.state_dict().items():
        assert torch.equal(run.ema[name], value.bfloat16().float() if name != "variance" else value), name


def test_the_weights_in_training_know_more_than_the_wiener_filter():
    folder = Path(fit.__file__).parent / "runs" / "sdf-tiny-2"
    net = GatedNet()
    net.load_state_dict({k: v.float() for k, v in load_file(folder / "weights.safetensors").items()})
    rng = np.random.default_rng(1)
    shown = torch.from_numpy(np.stack([np.asarray(drawings.drawing(rng, 128)) for _ in range(4)]))
    clean = pictures.latents(shown, dct.matrix())
    level = torch.tensor([0.0, 2.0, 4.0, 6.0])
    error = fit.relative_error(net.eval(), clean, level, torch.Generator().manual_seed(0))
    untrained = GatedNet()
    untrained.variance.copy_(net.variance)
    wiener = fit.relative_error(untrained.eval(), clean, level, torch.Generator().manual_seed(0))
    assert (error < 0.6 * wiener).all()


def test_training_lowers_the_error(photographs, tmp_path):
    fit.main(
        [
            "--data",
            str(photographs),
            "--run",
            f"{tmp_path}/run",
            "--steps",
            "60",
            "--save-minutes",
            "9",
            "--rate",
            "0.02",
            *SMALL,
        ]
    )
    after = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    fit.main(
        [
            "--data",
            str(photographs),
            "--run",
            f"{tmp_path}/none",
            "--steps",
            "1",
            "--save-minutes",
            "9",
            "--rate",
            "1e-9",
            *SMALL,
        ]
    )
    before = json.loads((tmp_path / "none/log.jsonl").read_text().splitlines()[-1])
    assert np.mean(after["relative"]) < 0.97 * np.mean(before["relative"])


class OneDevice(TorchDispatchMode):
    """Refuses tensors of another device than meta, as a GPU would; numbers (no dimensions) may be anywhere."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, torch.Tensor) and value.ndim and value.device.type != "meta":
                raise RuntimeError(f"{function}: a tensor of shape {tuple(value.shape)} has stayed on {value.device}")
        return function(*args, **kwargs or {})


def test_a_step_touches_nothing_but_its_device(photographs, tmp_path, monkeypatch):
    args = fit.parser().parse_args(["--data", str(photographs), "--run", f"{tmp_path}/run", *SMALL])
    run = fit.Run(args, pictures.load_photographs(photographs))
    # The meta device has neither generators nor autocast.
    monkeypatch.setattr(fit, "seeded", lambda seed, device: None)
    monkeypatch.setattr(fit, "autocast", lambda device: nullcontext())
    run.device = torch.device("meta")
    run.matrix = run.matrix.to("meta")
    for held in (run.photographs, run.drawings):
        for name, value in held.__dict__.items():
            setattr(held, name, value.to("meta"))
    run.net = run.net.to("meta")
    run.optimisers = fit.optimisers(run.net, args.rate)
    run.ema = {k: v.detach().clone() for k, v in run.net.state_dict().items()}
    with OneDevice():
        loss = run.advance(0.0)
        assert loss.device.type == "meta" and {v.device.type for v in run.ema.values()} == {"meta"}
        run.matrix = torch.ones(192, 192)
        with pytest.raises(RuntimeError, match=r"\(192, 192\) has stayed on cpu"):
            run.advance(0.0)


def test_weak_channels_are_left_alone_until_their_turn():
    net = GatedNet((16, 16, 16), (1, 1, 1, 1, 1))
    net.variance.copy_(torch.linspace(0.001, 2, 192))
    level = torch.tensor([-1.0, 2.0])
    wanted = (level.double().exp()[:, None] - 0.3 / net.variance.double()).clamp(min=0)
    assert torch.allclose(net.precision(level).double(), wanted, rtol=1e-4, atol=1e-5)
    assert (net.precision(level) == 0).sum(dim=1).tolist()[0] > (net.precision(level) == 0).sum(dim=1).tolist()[1] > 0


def test_an_untrained_network_is_the_wiener_filter():
    net = GatedNet((16, 16, 16), (1, 1, 1, 1, 1)).eval()
    net.variance.copy_(torch.linspace(0.01, 3, 192))
    clean, level = torch.randn(2, 5, 6, 192), torch.tensor([0.5, 3.0])
    t = net.precision(level)[:, None, None, :]
    total = t * clean + t.sqrt() * torch.randn_like(clean)
    assert torch.allclose(net(total, level), net.variance * total / (net.variance * t + 1), atol=1e-6)


def test_shifted_products_are_the_depthwise_convolution():
    for kernel in (3, 5):
        layer = Depthwise(8, kernel)
        x = torch.randn(2, 6, 7, 8)
        assert torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-6)


def test_crops_are_pixels_of_the_pictures():
    images = [picture(70, 50, 1), picture(40, 90, 2)]
    held = pictures.Pictures(images, torch.device("cpu"))
    crops = held.crops(64, 32, torch.Generator().manual_seed(3)).numpy()
    found = set()
    for crop in crops:
        for number, image in enumerate(np.asarray(i) for i in images):
            for mirrored in (False, True):
                own = crop[:, ::-1] if mirrored else crop
                windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32, 3))[:, :, 0]
                if (windows == own).all(axis=(2, 3, 4)).any():
                    found.add((number, mirrored))
                    break
    assert found == {(0, False), (0, True), (1, False), (1, True)}


def test_levels_are_drawn_from_the_middle_more_often():
    drawn = torch.cat([fit.draw_levels(16, torch.Generator().manual_seed(i), torch.device("cpu")) for i in range(200)])
    low, high = fit.MIDDLE
    inside = ((drawn >= low) & (drawn <= high)).double().mean()
    whole = fit.LEVELS[1] - fit.LEVELS[0]
    assert abs(inside - (fit.MIDDLE_SHARE + (1 - fit.MIDDLE_SHARE) * (high - low) / whole)) < 0.02
    assert fit.LEVELS[0] <= drawn.min() < fit.LEVELS[0] + 0.2 and fit.LEVELS[1] - 0.2 < drawn.max() <= fit.LEVELS[1]


def test_drawings_are_of_every_kind_and_the_same_for_a_seed():
    for draw, _ in drawings.KINDS:
        one, two = (draw(np.random.default_rng(5), 96) for _ in range(2))
        assert one.size == (96, 96) and one.mode == "RGB" and one.tobytes() == two.tobytes()


def test_checkpoints_travel_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PART", 1000)
    state = {"step": 7, "net": {"weight": torch.randn(40, 30)}}
    for step in (6, 7):
        checkpoints.save({**state, "step": step}, tmp_path)
    parts = sorted(tmp_path.glob("checkpoint-*"))
    assert len(parts) > 4 and all(p.stat().st_size <= 1000 and p.name.startswith("checkpoint-7.") for p in parts)
    again = checkpoints.load(tmp_path, torch.device("cpu"))
    assert again["step"] == 7 and torch.equal(again["net"]["weight"], state["net"]["weight"])
    parts[1].write_bytes(bytes(1000))
    with pytest.raises(BadInput, match="damaged"):
        checkpoints.load(tmp_path, torch.device("cpu"))
    parts[1].unlink()
    with pytest.raises(BadInput, match=r"lacks checkpoint-7\.001"):
        checkpoints.load(tmp_path, torch.device("cpu"))


def test_a_photograph_that_fits_no_shard_is_an_error():
    sizes = [5, 1, 1, 1, 3, 2]
    dealt = shards.deal(sizes, 5)
    assert sorted(i for shard in dealt for i in shard) == list(range(6)) and all(
        sum(sizes[i] for i in shard) <= 5 for shard in dealt
    )
    with pytest.raises(ValueError, match="6 bytes"):
        shards.deal([6, 1], 5)
