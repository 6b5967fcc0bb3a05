"""What the environment may ask for speed and memory changes no bit that decides anything (§9): offloading, compiling, other precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import opened, picture, saved
from pipelines import CHANNELS, KINDS, save

from sdf_format import model
from sdf_format.errors import BadInput
from sdf_format.models import stable

clause = pytest.mark.clause
RMS, PEAK = 1.5, 40         # §9


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("speed")
    return {kind: save(kind, base / kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(model, "_loaded", {})
    monkeypatch.setattr(model, "_folders", [])


def predicted(folder: Path, sigma: float = 1.0) -> torch.Tensor:
    y = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    return stable.load(model.find(folder).checkpoint, "cpu").predict(y, sigma)


@clause("4.4")
@pytest.mark.parametrize("kind", KINDS)
def test_offloaded_layers_give_the_same(kind, folders, monkeypatch):
    """On a CPU the layers come from where they are, through the same hooks; streams are CUDA's alone."""
    want = predicted(folders[kind], 0.2)
    monkeypatch.setenv("SDF_OFFLOAD", "1")
    assert torch.equal(predicted(folders[kind], 0.2), want)


@clause("4.4", "9")
def test_a_compiled_network_reads_what_another_wrote(folders, monkeypatch):
    """Traced by Dynamo, without a C++ compiler."""
    folder = folders["epsilon"]
    data = saved(picture(24, 24), model=str(folder), target_bytes=140, steps=2, denoiser=("flow", 1), device="cpu")
    want = np.asarray(opened(data), float)
    monkeypatch.setattr(model, "_loaded", {})
    monkeypatch.setenv("SDF_COMPILE", "eager")
    assert model.load(model.find(folder), "cpu").net._compiled_call_impl is not None
    difference = np.asarray(opened(data), float) - want
    assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK


@pytest.mark.parametrize("offload, mode", [("", "reduce-overhead"), ("1", "default")])
def test_cuda_graphs_are_for_layers_that_stay(offload, mode, monkeypatch):
    """What a network is asked on a CUDA device, which need not be there to be asked."""
    heard = {}

    class Net(torch.nn.Module):
        device = torch.device("cpu")

        def to(self, *where, **how):
            heard.setdefault("to", []).append(where or how)

        def compile(self, **how):
            heard["compile"] = how

        def enable_group_offload(self, **how):
            heard["offload"] = how

    monkeypatch.setenv("SDF_OFFLOAD", offload)
    monkeypatch.setenv("SDF_COMPILE", "1")
    stable.prepared(Net(), torch.device("cuda"))
    assert heard["compile"] == {"mode": mode} and {"memory_format": torch.channels_last} in heard["to"]
    assert ("offload" in heard) == bool(offload) and ((torch.device("cuda"),) in heard["to"]) != bool(offload)
    assert not offload or heard["offload"]["use_stream"] and heard["offload"]["onload_device"] == torch.device("cuda")


def test_an_answer_outlives_the_next(folders):
    """CUDA graphs write every answer into the same memory."""
    made = stable.load(model.find(folders["epsilon"]).checkpoint, "cpu")
    for prediction in ("epsilon", "v_prediction", "sample"):
        object.__setattr__(made.settings, "prediction", prediction)
        place = torch.empty(1, CHANNELS, 16, 16)
        made.forward = lambda net, z, *_: place.copy_(z)
        y = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
        first = made.predict(y, 1.0)
        kept = first.clone()
        made.predict(-y, 1.0)
        assert torch.equal(first, kept)


@clause("9", "4.4")
def test_another_precision_reads_the_same_file(folders, monkeypatch):
    """Random networks carry rounding far, so only a coarse picture is compared; the bits lie where they lay."""
    data = saved(picture(40, 24), model=str(folders["v_prediction"]), target_bytes=140, denoiser=("mean", 1), device="cpu")
    want = np.asarray(opened(data), float)
    monkeypatch.setattr(model, "_loaded", {})
    monkeypatch.setenv("SDF_DTYPE", "bfloat16")
    assert model.load(model.find(folders["v_prediction"]), "cpu").net.dtype == torch.bfloat16
    difference = np.asarray(opened(data), float) - want
    assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK


@pytest.mark.parametrize("name, value, message", [("SDF_COMPILE", "fast", "wanted 1, or a backend"), ("SDF_DTYPE", "half-ish", "not a dtype"),
                                                  ("SDF_BATCH", "0", "whole number from 1")])
def test_an_environment_that_makes_no_sense_says_so(name, value, message, folders, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=message):
        predicted(folders["epsilon"])
