"""Prompts and guidance, kept in the file and heard by the model (§5.2, §7.2); the ancestral denoiser."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from pictures import opened, picture, saved
from pipelines import add_text, save

from sdf_format import codec
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header
from sdf_format.diffusion import schedule, walk
from sdf_format.errors import BadFile, BadInput, MissingModel, Unsupported
from sdf_format.inspect import report
from sdf_format.models import loading

clause = pytest.mark.clause


@clause("5.2")
@pytest.mark.parametrize(
    "conditioning",
    [
        parameters.Conditioning(),
        parameters.Conditioning("a red fox, evening light"),
        parameters.Conditioning("ä" * 500, 0, 31.875),
        parameters.Conditioning("", 3.5, 1.25),
    ],
)
def test_conditioning_is_written_and_read(conditioning):
    fields = parameters.Diffc(
        schedule.LAW, dict(steps=1, end=0, slope=1, bend=0), conditioning=conditioning, extension=b"x"
    )
    header = Header(1, 1, "RGB", parameters.DIFFC, 1, b"....", parameters.build(fields))
    assert parameters.parse(header) == fields
    if conditioning == parameters.Conditioning():
        assert header.parameters[0] & 0x40 == 0


@clause("5.2")
def test_conditioning_has_limits():
    law = dict(steps=1, end=0, slope=1, bend=0)
    for conditioning in (
        ("x" * 8193,),
        ("", 32),
        ("", 1, -1),
    ):
        with pytest.raises(BadInput):
            parameters.build(parameters.Diffc(schedule.LAW, law, conditioning=parameters.Conditioning(*conditioning)))
    good = parameters.build(parameters.Diffc(schedule.LAW, law, conditioning=parameters.Conditioning("fox")))
    assert good.endswith(b"\x08\x08\x04\x00fox")
    for bad in (good[:-3] + b"\xff\xfe\xfd", good[:-4] + b"\x07fox"):
        with pytest.raises(BadFile):
            parameters.parse(Header(1, 1, "RGB", parameters.DIFFC, 1, b"....", bad))


@clause("5.2", "7.2")
def test_a_prompt_is_heard_and_kept(tmp_path):
    folder = str(add_text(save("epsilon", tmp_path / "conditioned")))
    image = picture(40, 24)
    options = dict(
        model=folder, target_bytes=200, device="cpu", denoiser=("flow", 2), prompt="a fox", guidance=(1.0, 6.1)
    )
    data = saved(image, **options)
    header = chunks.scan(io.BytesIO(data)).header
    assert parameters.parse(header).conditioning == parameters.Conditioning("a fox", 1.0, 6.125)
    assert report.describe(io.BytesIO(data), len(data))["prompt"] == "a fox"
    stable = loading.load(loading.find(folder), "cpu")
    y = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    conditioned, more, empty = (
        stable.conditioned(p, g).predict(y, 1.0) for p, g in (("a fox", 1.0), ("a fox", 3.0), ("", 1.0))
    )
    assert not torch.equal(conditioned, empty)
    assert torch.allclose(more, empty + 3 * (conditioned - empty), atol=1e-4)
    assert torch.equal(empty, stable.predict(y, 1.0))
    fields = parameters.parse(header)
    parts = chunks.scan(io.BytesIO(data))
    deaf = dataclasses.replace(
        header, parameters=parameters.build(dataclasses.replace(fields, conditioning=parameters.Conditioning()))
    )
    other = codec.decode_bytes(chunks.build(deaf, chunks.read(io.BytesIO(data), parts.find(b"D"))), device="cpu")[0]
    assert (np.asarray(opened(data)) == np.asarray(opened(data))).all() and (np.asarray(opened(data)) != other).any()


def test_a_model_without_words_says_so(tmp_path):
    with pytest.raises(Unsupported, match="takes none"):
        saved(picture(16, 16), target_bytes=100, prompt="a fox")
    with pytest.raises(MissingModel, match="no text encoder"):
        saved(
            picture(40, 24),
            model=str(save("epsilon", tmp_path / "mute")),
            target_bytes=200,
            prompt="a fox",
            device="cpu",
        )


def test_a_caption_on_request(tmp_path, monkeypatch):
    """A tiny random BLIP: words of its vocabulary, the same every time; without its weights an error that says how to
    get them.
    """
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    from sdf_format.models import captions

    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(captions, "REPOSITORY", "nobody/blip-tiny")
    with pytest.raises(MissingModel, match="about 1 GB.*SDF_DOWNLOAD"):
        captions.caption(picture(40, 24))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox", "hill", "sky"]
    text = dict(
        vocab_size=len(words),
        hidden_size=16,
        encoder_hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=2,
        sep_token_id=3,
        pad_token_id=0,
    )
    vision = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    torch.manual_seed(0)
    folder = tmp_path / "blip-tiny"
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(
        folder
    )
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    BertTokenizer(str(vocabulary)).save_pretrained(folder)
    first = captions.caption(picture(40, 24))
    assert first == captions.caption(picture(40, 24)) and isinstance(first, str)


@clause("7.2")
def test_ancestral_sampling_of_a_gaussian_source():
    """A sample of the posterior has the source's spread, with an error twice the least."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 4, 64, 64, generator=generator)
    y = clean + torch.randn(clean.shape, generator=generator)
    found = walk.ancestral(
        y, 1.0, 60, lambda y, s: y / (1 + s * s), lambda step: torch.randn(y.shape, generator=generator)
    )
    assert float(found.std()) == pytest.approx(1, abs=0.03)
    assert float((found - clean).square().mean()) == pytest.approx(1.0, abs=0.06)
    assert math.isclose(
        float(walk.ancestral(y, 1.0, 1, lambda y, s: y / 2, lambda step: y).sum()), float((y / 2).sum())
    )


@clause("7.2", "6.1.1")
def test_ancestral_decodes_the_same_every_time():
    data = saved(picture(48, 32), target_bytes=200, denoiser=("ancestral", 4))
    first = np.asarray(opened(data))
    assert (first == np.asarray(opened(data))).all()
    assert (first != codec.decode_bytes(data, denoiser=(parameters.FLOW, 4))[0]).any()
