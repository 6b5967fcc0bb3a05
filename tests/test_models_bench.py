"""`sdf bench models`: the published shapes, and the benchmark itself on networks small enough for a test."""

from __future__ import annotations

import pytest
import standins
import torch
from command import cells

from sdf_format.bench import models
from sdf_format.errors import BadInput
from sdf_format.models import loading

PARAMETERS = {  # of the published networks; of SD 3.5 medium no exact number was found
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "flux1-dev": 11_901_408_320,
    "z-image-turbo": 6_154_908_736,
    "flux2-klein-base": 3_875_544_576,
}
REFINER = 2_259_526_660
SMALL = dict(
    block_out_channels=(8,) * 4,
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)


def parameters(name: str, config: dict) -> int:
    pipeline = loading.MODELS[loading.by_name(name)].published.settings.pipeline
    return sum(p.numel() for p in models.network(pipeline, config, torch.device("meta")).parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_are_the_published_ones(name):
    assert parameters(name, models.NETWORKS[name]) == PARAMETERS[name]


def test_the_refiner_too():
    assert (
        list(models.REFINERS)
        == [s.name for s in loading.MODELS.values() if s.published and s.published.refiner]
        == ["sdxl"]
    )
    assert parameters("sdxl", models.REFINERS["sdxl"]) == REFINER


def test_every_registered_model_is_measured(monkeypatch, capsys):
    """With the stand-ins' networks in the place of the published ones."""

    def config(net: torch.nn.Module) -> dict:
        return {k: v for k, v in net.config.items() if not k.startswith("_")}

    assert list(models.NETWORKS) == standins.NAMES
    monkeypatch.setattr(models, "NETWORKS", {name: config(standins.network(name)) for name in standins.NAMES})
    monkeypatch.setattr(models, "REFINERS", {"sdxl": config(standins.refiner())})
    monkeypatch.setattr(models, "AUTOENCODER", SMALL)
    models.main(
        [
            "--names",
            ",".join(standins.NAMES),
            "--size",
            "96x160",
            "--runs",
            "1",
            "--steps",
            "3",
            "--denoise",
            "2",
            "--batch",
            "2",
            "--device",
            "cpu",
        ]
    )
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows[:-3]] == standins.NAMES and sum("published, A40" in row[0] for row in rows) == 3
    for name, _, predict, refine, encode, decode, gigabytes in rows[:-3]:
        assert 0 < float(predict) < float(encode) and float(decode) > 0 and float(gigabytes) > 0
        assert (predict == refine) != (name == "sdxl")
    with pytest.raises(BadInput, match="wanted one of sd15"):
        models.main(["--names", "sdf-tiny-1", "--device", "cpu"])


def test_an_encoder_asks_as_often_as_the_benchmark_says():
    """A prediction for every step but the first, and those that the plan is made from."""
    from test_models_laws import ideal

    from sdf_format.payloads import diffc_encoder

    made, calls = ideal("epsilon"), []
    predict = made.predict
    made.predict = lambda y, sigma: calls.append(sigma) or predict(y, sigma)
    latent = torch.randn(1, 4, 64, 96, generator=torch.Generator().manual_seed(0))
    _, _, steps = diffc_encoder.encode(
        latent, made, loading.MODELS[2], diffc_encoder.EncodeOptions(), lambda fields: 1000, lambda *_: None
    )
    assert len(calls) == len(steps) - 1 + models.MEASURED


def test_large_pictures_are_measured_at_the_size_that_a_model_was_trained_at():
    from test_models_laws import ideal

    from sdf_format.diffusion import fit

    latent, made, seen = torch.zeros(1, 4, 300, 280), ideal("flow"), []
    predict = made.predict
    made.predict = lambda y, sigma: seen.append(tuple(y.shape[2:])) or predict(y, sigma)
    fit.measure_mmse(latent, made, lambda curve: True)
    conditioned = made.conditioned("", 1.0)
    assert seen == [(128, 128)] * fit.WINDOWS and conditioned.window == made.window == 128
