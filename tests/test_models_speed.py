"""What the environment may ask for speed and memory changes no bit that decides anything (§9): offloading, compiling,
other precisions.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from pictures import opened, picture, saved
from pipelines import CHANNELS, KINDS, add_text, save

from sdf_format import batch
from sdf_format.errors import BadInput, Unsupported
from sdf_format.models import loading, prompts, stable

clause = pytest.mark.clause
RMS, PEAK = 1.5, 40  # §9


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("speed")
    return {kind: save(kind, base / kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "_folders", [])


def predicted(folder: Path, sigma: float = 1.0) -> torch.Tensor:
    y = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    return stable.load(loading.find(folder).checkpoint, "cpu").predict(y, sigma)


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
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setenv("SDF_COMPILE", "eager")
    assert loading.load(loading.find(folder), "cpu").net._compiled_call_impl is not None
    difference = np.asarray(opened(data), float) - want
    assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK


@pytest.mark.parametrize(("offload", "mode"), [("", "reduce-overhead"), ("1", "default")])
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
    assert not offload or (heard["offload"]["use_stream"] and heard["offload"]["onload_device"] == torch.device("cuda"))


def test_an_answer_outlives_the_next(folders):
    """CUDA graphs write every answer into the same memory."""
    made = stable.load(loading.find(folders["epsilon"]).checkpoint, "cpu")
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
    data = saved(
        picture(40, 24), model=str(folders["v_prediction"]), target_bytes=140, denoiser=("mean", 1), device="cpu"
    )
    want = np.asarray(opened(data), float)
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setenv("SDF_DTYPE", "bfloat16")
    assert loading.load(loading.find(folders["v_prediction"]), "cpu").net.dtype == torch.bfloat16
    difference = np.asarray(opened(data), float) - want
    assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK


def test_a_full_device_makes_room_for_the_next_model(folders, monkeypatch):
    """Models are kept once loaded, but not at the cost of another."""
    first = loading.load(loading.find(folders["epsilon"]), "cpu")
    made, space = loading._made, [0]

    def short(found, device):
        if space[0] == 0 or loading._loaded:
            space[0] += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return made(found, device)

    monkeypatch.setattr(loading, "_made", short)
    assert loading.load(loading.find(folders["sd3"]), "cpu") is not first and len(loading._loaded) == 1 and space == [1]
    loading._loaded.clear()
    space[0] = 0
    with pytest.raises(Unsupported, match="does not fit into the memory of cpu; SDF_OFFLOAD=1"):
        loading.load(loading.find(folders["sd3"]), "cpu")


@clause("5.2")
def test_threads_with_new_prompts_wait_for_each_other(tmp_path, monkeypatch):
    """Text encoders are large: one thread loads them, whatever the number of prompts; and what is no longer kept is
    made again.
    """
    folder = add_text(save("epsilon", tmp_path / "conditioned"))
    made = stable.load(loading.find(folder).checkpoint, "cpu")
    monkeypatch.setattr(stable, "PROMPTS_KEPT", 1)
    embed, busy, most = prompts.embed, [0], [0]

    def watched(*arguments):
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        try:
            return embed(*arguments)
        finally:
            busy[0] -= 1

    monkeypatch.setattr(prompts, "embed", watched)
    y = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda word: made.conditioned(word, 2.0).predict(y, 1.0), "abab"))
    assert (
        most == [1]
        and torch.equal(found[0], found[2])
        and torch.equal(found[1], found[3])
        and not torch.equal(found[0], found[1])
    )


def test_what_a_network_is_told_goes_to_its_device():
    meta = torch.device("meta")
    conditioned = prompts.to_device(
        dict(a=torch.zeros(2), b=dict(c=torch.zeros(1)), d=[torch.zeros(3)], sized=(8, False)), meta
    )
    assert [conditioned["a"].device, conditioned["b"]["c"].device, conditioned["d"][0].device] == [
        meta
    ] * 3 and conditioned["sized"] == (8, False)


def test_text_encoders_that_do_not_fit_say_what_to_do(tmp_path, monkeypatch):
    folder = add_text(save("epsilon", tmp_path / "conditioned"))
    made = stable.load(loading.find(folder).checkpoint, "cpu")
    monkeypatch.setattr(
        diffusers.StableDiffusionPipeline,
        "to",
        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")),
    )
    with pytest.raises(
        Unsupported, match="text encoders in .* do not fit into the memory of cpu; SDF_OFFLOAD=1 runs them on the CPU"
    ):
        made.predict(torch.zeros(1, CHANNELS, 16, 16), 1.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SDF_COMPILE", "fast", "wanted 1, or a backend"),
        ("SDF_DTYPE", "half-ish", "not a dtype"),
        ("SDF_BATCH", "0", "whole number from 1"),
    ],
)
def test_an_environment_that_makes_no_sense_says_so(name, value, message, folders, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=message):
        predicted(folders["epsilon"])


# --- on a GPU: `pytest -m gpu`


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(
    "asked",
    [{}, {"SDF_OFFLOAD": "1"}, {"SDF_COMPILE": "1"}, {"SDF_OFFLOAD": "1", "SDF_COMPILE": "1"}],
    ids=["plain", "offloaded", "compiled", "both"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_reads_what_a_cpu_wrote(kind, asked, folders, monkeypatch):
    """In float32, twice, so that CUDA graphs are replayed; alone and together."""
    monkeypatch.setenv("SDF_DTYPE", "float32")
    data = saved(
        picture(40, 24), model=str(folders[kind]), target_bytes=140, steps=3, denoiser=("flow", 2), device="cpu"
    )
    want = np.asarray(opened(data), float)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        for pixels, _ in batch.decode_many([io.BytesIO(data)] * 2, device="cuda"):
            difference = np.asarray(pixels, float) - want
            assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK
