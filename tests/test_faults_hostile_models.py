"""Folders of models that are not what they seem (§4.4): code, configurations, missing parts; downloads unasked."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import standins
from hub_server import hub
from packaging.requirements import Requirement
from pictures import opened, picture, saved
from pipelines import autoencoder, save
from safetensors.torch import load_file, save_file

from sdf_format.container import chunks
from sdf_format.errors import MissingModel
from sdf_format.models import checkpoint, loading

clause = pytest.mark.clause
CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('ran')\nclass Evil:\n    pass\n"
OPTIONS = dict(target_bytes=200, steps=2, denoiser=("flow", 1), device="cpu")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    """A pipeline with text encoder and tokenizer."""
    from pipelines import add_text

    return add_text(save("epsilon", tmp_path_factory.mktemp("hostile") / "told"), "epsilon")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


# --- code


@clause("4.4")
@pytest.mark.parametrize(
    "part", ["text_encoder", "tokenizer", "scheduler", "unet", "vae", "safety_checker", "feature_extractor", "other"]
)
@pytest.mark.parametrize(
    "named",
    [
        ["evil", "Evil"],
        ["os", "path"],
        ["diffusers", "Evil"],
        ["transformers", "pipeline"],
        ["diffusers", ["Evil"]],
        "evil.Evil",
        ["evil"],
        {"a": 1},
    ],
)
def test_an_index_names_known_classes_alone(part, named, told, tmp_path):
    """Before anything of it is handed to diffusers, which of some versions runs files that the index names."""
    folder = copied(told, tmp_path / "evil")
    (folder / part).mkdir(exist_ok=True)
    (folder / part / "evil.py").write_text(CODE)
    change(folder / "model_index.json", **{part: named})
    with pytest.raises(MissingModel, match=f"model_index.json.*{part}"):
        loading.find(folder)
    with pytest.raises(MissingModel):
        saved(picture(24, 24), model=str(folder), prompt="a fox", **OPTIONS)
    assert not list(folder.rglob("ran"))


@clause("4.4")
@pytest.mark.parametrize("name", [["pipeline", "Evil"], None, 5, {}])
def test_a_class_that_is_no_name_is_no_pipeline(name, told, tmp_path, monkeypatch):
    folder = copied(told, tmp_path / "evil")
    change(folder / "model_index.json", _class_name=name)
    with pytest.raises(MissingModel):
        loading.find(folder)
    # It is no obstacle to files of other folders beside it.
    good = copied(told, tmp_path / "good")
    data = saved(picture(24, 24), model=str(good), **OPTIONS)
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    assert opened(data).load()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vae/config.json", '{"_class_name": "AutoencoderKL", "block_out_channels": 5}'),
        ("vae/config.json", '{"_class_name": "AutoencoderKL", "latent_channels": "many"}'),
        ("vae/config.json", '{"_class_name": "AutoencoderKL", "scaling_factor": [1]}'),
        ("unet/config.json", '{"block_out_channels": {"a": 1}, "sample_size": [64, 64]}'),
        ("unet/config.json", "[" * 100_000),
        ("scheduler/scheduler_config.json", '{"beta_schedule": ["linear"]}'),
        (
            "model_index.json",
            '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "x": [[[[]]]]}',
        ),
        ("model_index.json", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
    ],
)
def test_configurations_of_any_content_are_a_missing_model(file, text, told, tmp_path):
    folder = copied(told, tmp_path / "odd")
    (folder / file).write_text(text)
    with pytest.raises(MissingModel):
        loading.find(folder)


@pytest.mark.parametrize(
    "text",
    [
        '{"_class_name": "AutoencoderKL", "block_out_channels": 5}',
        '{"_class_name": ["AutoencoderKL"]}',
        '{"_class_name": "AutoencoderOobleck", "downsampling_ratios": 3}',
        '{"_class_name": "AutoencoderOobleck", "downsampling_ratios": [0]}',
        '{"_class_name": "AutoencoderTiny", "num_encoder_blocks": 1e9}',
        "[" * 100_000,
    ],
)
def test_configurations_of_autoencoders_of_any_content(text, told, tmp_path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "config.json").write_text(text)
    with pytest.raises((MissingModel, ValueError)):
        loading.find(tmp_path / "alone")


def test_diffusers_is_of_a_version_that_runs_no_code_of_folders():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    wanted = [Requirement(x) for x in re.findall(r'"(diffusers[<>=~!][^"]*)"', text)]
    assert wanted and all(not r.specifier.contains("0.37.1") and r.specifier.contains("0.38.0") for r in wanted)


# --- configurations


@clause("4.4.4")
@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("unet/config.json", dict(act_fn="gelu")),
        ("vae/config.json", dict(norm_num_groups=2)),
        ("vae/config.json", dict(act_fn="relu")),
        ("text_encoder/config.json", dict(hidden_act="relu")),
        ("tokenizer/vocab.json", {"a": 5, "b": 0}),
        ("tokenizer/tokenizer_config.json", dict(model_max_length=3)),
    ],
)
def test_another_configuration_is_another_model(file, values, told, tmp_path, monkeypatch):
    """The same weights with another arithmetic are an error, not another picture."""
    folder = copied(told, tmp_path / "model")
    data = saved(picture(24, 24), model=str(folder), **OPTIONS)
    before = loading.find(folder).sha256
    change(folder / file, **values)
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    assert loading.find(folder).sha256 != before
    with pytest.raises(MissingModel, match="SHA-256"):
        opened(data).load()


@clause("4.4.4", "4.5")
def test_the_configuration_of_an_autoencoder_alone_counts_too(tmp_path):
    autoencoder().save_pretrained(tmp_path / "alone")
    before = loading.find(tmp_path / "alone").sha256
    change(tmp_path / "alone" / "config.json", act_fn="relu")
    assert loading.find(tmp_path / "alone").sha256 != before


@clause("4.4.4")
def test_files_from_before_configurations_counted_find_their_model(told, tmp_path, monkeypatch):
    """Their hash is of weights and settings alone."""
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    folder = copied(told, tmp_path / "model")
    data = saved(picture(24, 24), model=str(folder), **OPTIONS)
    found = loading.find(folder)
    older = found.checkpoint.sha256(whole=False)
    assert older != found.sha256
    pixels = np.asarray(opened(data))
    file = chunks.scan(io.BytesIO(data))
    import dataclasses

    again = chunks.build(
        dataclasses.replace(file.header, weights=older), chunks.read(io.BytesIO(data), file.find(b"D"))
    )
    monkeypatch.setattr(loading, "_folders", [])
    assert (np.asarray(opened(again)) == pixels).all()


@clause("4.4.4")
def test_the_hash_is_of_the_lines_that_the_specification_has(told):
    import hashlib

    def sha(name: str) -> str:
        return hashlib.sha256((told / name).read_bytes()).hexdigest()

    weights = {
        "unet": "unet/diffusion_pytorch_model.safetensors",
        "vae": "vae/diffusion_pytorch_model.safetensors",
        "text_encoder": "text_encoder/model.safetensors",
    }
    lines = [f"{part} {sha(file)}\n" for part, file in weights.items()]
    lines += [f"{part}/config.json {sha(f'{part}/config.json')}\n" for part in weights]
    lines += [f"tokenizer/{f.name} {sha(f'tokenizer/{f.name}')}\n" for f in (told / "tokenizer").iterdir()]
    settings = json.dumps(checkpoint.asdict(checkpoint.settings_of(told)), sort_keys=True, separators=(",", ":")) + "\n"
    assert loading.find(told).sha256 == hashlib.sha256("".join([*sorted(lines), settings]).encode()).digest()


# --- parts that are missing


def without(file: Path, word: str) -> None:
    """The safetensors file without the first tensor of that name, or renamed."""
    state = load_file(file)
    name = next(n for n in state if word in n)
    state[f"other.{name}"] = state.pop(name)
    save_file(state, file, metadata={"format": "pt"})


@clause("4.4")
@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("text_encoder/model.safetensors", "fc1"),
        ("unet/diffusion_pytorch_model.safetensors", "conv_in"),
        ("vae/diffusion_pytorch_model.safetensors", "conv_out"),
    ],
)
def test_missing_weights_are_an_error_not_random_numbers(file, word, told, tmp_path):
    folder = copied(told, tmp_path / "model")
    without(folder / file, word)
    with pytest.raises(MissingModel, match=word):
        saved(picture(24, 24), model=str(folder), prompt="a fox", **OPTIONS)


def test_whole_weights_are_none(told):
    assert saved(picture(24, 24), model=str(told), prompt="a fox", **OPTIONS)


# --- downloads

OPEN = """
import sys
from sdf_format import codec
from sdf_format.errors import MissingModel
try:
    codec.decode_bytes(open(sys.argv[1], "rb").read())
    print("decoded")
except MissingModel as error:
    print("MissingModel", error)
"""
REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@clause("4.4")
def test_opening_a_file_downloads_nothing_unless_a_second_variable_says_so(tmp_path):
    pytest.importorskip("huggingface_hub")
    folder = standins.save("sd15", tmp_path / "model")
    (tmp_path / "x.sdf").write_bytes(file_of_sd15())
    with hub({REPOSITORY: folder}) as server:

        def decoded(**environment: str) -> str:
            given = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "SDF_"))}
            given |= {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_DISABLE_XET": "1",
            } | environment
            return subprocess.run(
                [sys.executable, "-c", OPEN, str(tmp_path / "x.sdf")],
                env=given,
                capture_output=True,
                text=True,
                check=True,
            ).stdout

        said = decoded(SDF_DOWNLOAD="1")
        assert server.sent == [] and said.startswith("MissingModel") and "SDF_DOWNLOAD_ON_OPEN=1" in said
        said = decoded(SDF_DOWNLOAD_ON_OPEN="1")
        assert server.sent == [] and said.startswith("MissingModel")
        said = decoded(SDF_DOWNLOAD="1", SDF_DOWNLOAD_ON_OPEN="1")
        assert server.sent and said.startswith("MissingModel §3.3")  # the file names other weights


def file_of_sd15() -> bytes:
    import hostile_files

    return hostile_files.file(model=b"\2" + bytes(4))
