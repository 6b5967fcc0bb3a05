"""Prompts through tiny text encoders of every family (§4.4, §5.2, §7.2), held against what diffusers' own pipelines
tell their networks.
"""

from __future__ import annotations

import io
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from pictures import opened, picture, saved
from pipelines import KINDS, add_text, save

from sdf_format.container import chunks, parameters
from sdf_format.errors import MissingModel
from sdf_format.models import checkpoint, laws, loading
from sdf_format.models.stable import Stable

clause = pytest.mark.clause
PROMPT, GUIDANCE = "a fox", 3.0
S = 0.7  # a flow's time


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("conditioned")
    return {kind: add_text(save(kind, base / kind), kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def loaded(folder: Path) -> Stable:
    return loading.load(loading.find(folder), "cpu")


def heard(net: torch.nn.Module, work) -> dict:
    """The arguments of the first call of a network that `work` makes, by name."""
    import inspect

    calls = []

    def note(module, args, kwargs):
        calls.append(inspect.signature(module.forward).bind(*args, **kwargs).arguments)

    handle = net.register_forward_pre_hook(note, with_kwargs=True)
    try:
        work()
    finally:
        handle.remove()
    return calls[0]


def same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    one, other = (torch.atleast_1d(torch.as_tensor(x).float()) for x in (one, other))
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4, rtol=1e-4)


TOLD = (
    "sample",
    "hidden_states",
    "x",
    "timestep",
    "t",
    "encoder_hidden_states",
    "added_cond_kwargs",
    "pooled_projections",
    "guidance",
    "img_ids",
    "txt_ids",
    "cap_feats",
)


@clause("4.4", "7.2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_hears_what_diffusers_own_pipeline_says(kind, folders):
    """Latent, time, text, sizes and guidance of one call, ours against diffusers': packing, scaling and signs
    included.
    """
    pipe = diffusers.DiffusionPipeline.from_pretrained(folders[kind])
    pipe.set_progress_bar_config(disable=True)
    ours = loaded(folders[kind])
    rows, columns, cell = 16, 20, ours.settings.cell
    w = torch.randn(1, 4, rows, columns, generator=torch.Generator().manual_seed(0))
    options = dict(prompt=PROMPT, height=rows * cell, width=columns * cell, output_type="latent")
    if ours.law is not None:
        theirs = heard(pipe.unet, lambda: pipe(**options, latents=w, num_inference_steps=2, guidance_scale=1.0))
        sigma = ours.law.sigma(float(theirs["timestep"]))
        y = theirs["sample"] * (1 + sigma * sigma) ** 0.5
    else:
        sent = pipe._pack_latents(w, 1, 4, rows, columns) if kind == "flux" else w
        # Z-Image's own 0 is the prompt as it stands
        guidance = GUIDANCE if kind == "flux" else 0.0 if kind == "z_image" else 1.0
        theirs = heard(
            pipe.transformer,
            lambda: pipe(**options, latents=sent, sigmas=[S], num_inference_steps=1, guidance_scale=guidance),
        )
        sigma = laws.sigma_of_flow(S)
        y = w * (1 + sigma)
    conditioned = ours.conditioned(PROMPT, GUIDANCE if kind == "flux" else 1.0)
    mine = heard(ours.net, lambda: conditioned.predict(y, sigma))
    compared = [name for name in TOLD if theirs.get(name) is not None]
    assert len(compared) >= 3
    for name in compared:
        assert same(mine[name], theirs[name]), name


@clause("4.4")
def test_a_refiner_hears_what_diffusers_own_pipeline_says(folders):
    pipe = diffusers.DiffusionPipeline.from_pretrained(folders["sdxl"] / "refiner")
    pipe.set_progress_bar_config(disable=True)
    ours = loaded(folders["sdxl"])
    theirs = heard(
        pipe.unet,
        lambda: pipe(
            PROMPT,
            image=torch.zeros(1, 4, 16, 16),
            strength=0.1,
            num_inference_steps=10,
            guidance_scale=1.0,
            original_size=(32, 32),
            target_size=(32, 32),
            output_type="latent",
        ),
    )
    sigma = ours.law.sigma(float(theirs["timestep"]))
    assert sigma < ours.law.sigma(200)
    mine = heard(
        ours.refiner,
        lambda: ours.conditioned(PROMPT, 1.0).predict(theirs["sample"] * (1 + sigma * sigma) ** 0.5, sigma),
    )
    for name in ("sample", "timestep", "encoder_hidden_states", "added_cond_kwargs"):
        assert same(mine[name], theirs[name]), name
    assert float(mine["added_cond_kwargs"]["time_ids"][0, -1]) == 6.0


@clause("5.2", "7.2", "4.4")
@pytest.mark.parametrize("kind", ["sdxl", "flux", "sd3", "z_image", "flux2"])
def test_prompt_and_guidance_go_through_a_file(kind, folders):
    """Kept in the header, heard by both networks, blended as §7.2 says; with other words another picture."""
    folder = str(folders[kind])
    options = dict(model=folder, target_bytes=220, device="cpu", denoiser=("flow", 2))
    data = saved(picture(40, 24), **options, prompt=PROMPT, guidance=(1.5, GUIDANCE))
    header = chunks.scan(io.BytesIO(data)).header
    assert parameters.parse(header).conditioning == parameters.Conditioning(PROMPT, 1.5, GUIDANCE)
    first = np.asarray(opened(data))
    assert (first == np.asarray(opened(data))).all()
    assert saved(picture(40, 24), **options, prompt=PROMPT, guidance=(1.5, GUIDANCE)) == data
    assert saved(picture(40, 24), **options, prompt="zzzz", guidance=(1.5, GUIDANCE)) != data
    ours = loaded(folders[kind])
    cell = ours.settings.multiple // ours.settings.cell
    y = torch.randn(1, 4, 8 * cell, 8 * cell, generator=torch.Generator().manual_seed(0))
    for sigma in (2.0, 0.2):  # the latter is the refiner's
        conditioned, more, empty = (
            ours.conditioned(p, g).predict(y, sigma) for p, g in ((PROMPT, 1.0), (PROMPT, GUIDANCE), ("", 1.0))
        )
        assert not torch.equal(conditioned, empty)
        if kind == "flux":  # guidance is an input of the network
            assert not torch.allclose(more, conditioned, atol=1e-6)
        else:
            assert torch.allclose(more, empty + GUIDANCE * (conditioned - empty), atol=1e-4)


@clause("4.4")
def test_text_encoders_are_loaded_once_for_all_prompts(folders, monkeypatch):
    ours = loaded(folders["epsilon"])
    count = []
    load = diffusers.StableDiffusionPipeline.from_pretrained
    monkeypatch.setattr(
        diffusers.StableDiffusionPipeline, "from_pretrained", lambda *a, **k: count.append(1) or load(*a, **k)
    )
    y = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    asked = [(ours.conditioned(prompt, 3.0), y, 1.0) for prompt in ("a", "b", "c")]
    together = ours.together(asked)
    assert len(count) == 1
    assert (
        all(
            torch.allclose(a, conditioned.predict(y, 1.0), atol=1e-4) for a, (conditioned, _, _) in zip(together, asked)
        )
        and len(count) == 1
    )
    from sdf_format.models import stable

    monkeypatch.setattr(stable, "PROMPTS_KEPT", 2)
    ours.conditioned("d", 1.0).predict(y, 1.0)
    assert len(ours._conditioned) == 2


@clause("4.4")
def test_text_encoders_count_in_the_hash_and_damaged_ones_are_missing(folders, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(folders["sd3"], folder)
    before = loading.find(folder).sha256
    assert {"text_encoder", "text_encoder_2", "text_encoder_3"} <= set(checkpoint.Checkpoint(folder).parts())
    weights = folder / "text_encoder_3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3f")
    assert loading.find(folder).sha256 != before
    (folder / "tokenizer_3" / "tokenizer.json").write_text("{")
    with pytest.raises(MissingModel, match="text encoders in .*copy do not load"):
        loaded(folder).predict(torch.zeros(1, 4, 16, 16), 1.0)


@clause("4.4")
def test_sd3_without_its_t5(folders, tmp_path):
    """As people with little memory have it: T5's place is taken by zeros."""
    import json
    import shutil

    folder = tmp_path / "light"
    shutil.copytree(folders["sd3"], folder)
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps(index | dict(text_encoder_3=[None, None], tokenizer_3=[None, None]))
    )
    assert opened(saved(picture(40, 24), model=str(folder), target_bytes=200, prompt=PROMPT, device="cpu")).load()
