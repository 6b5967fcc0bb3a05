"""Sound: its header, the autoencoders that it needs, whole files of any length and rate (§3.3, §4.5, §4.6)."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pipelines import autoencoder
from test_autoencoders import oobleck
from test_container import END, file, header_body, varint
from test_spec import SPEC, table

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format import codec, sound
from sdf_format.cli import main as cli
from sdf_format.container import chunks, parameters
from sdf_format.container.header import RATES, SOUNDS, Header, build_header
from sdf_format.diffusion import schedule
from sdf_format.errors import BadFile, BadInput, IsSound, MissingModel, TooMuch, Truncated, Unsupported
from sdf_format.inspect import report
from sdf_format.models import loading
from sdf_format.models.autoencoder_config import SoundSettings

clause = pytest.mark.clause
LAW = parameters.Diffc(schedule.LAW, dict(steps=9, end=94, slope=87, bend=28))
HEADER = Header(0, 0, "stereo", 2, 0, bytes(range(32)), b"\0\2", channels=64, cell=2048, length=329728, rate=44100)


def scanned(data: bytes) -> Header:
    return chunks.scan(io.BytesIO(data)).header


@clause("3.3")
def test_a_sounds_length_and_rate_take_four_bytes():
    body = build_header(HEADER)
    assert body[:5] == bytes.fromhex("80 90 14 00 25") and len(body) == 5 + 1 + 32 + 1 + 2 + 2
    assert scanned(chunks.build(HEADER, b"")) == HEADER


rates = st.sampled_from(RATES) | st.integers(1000, 1000000)


@clause("3.3")
@given(
    st.builds(
        Header,
        width=st.just(0),
        height=st.just(0),
        mode=st.sampled_from([*SOUNDS]),
        kind=st.integers(0, 15),
        model=st.just(0),
        weights=st.binary(min_size=32, max_size=32),
        parameters=st.binary(max_size=40),
        channels=st.integers(1, 65535),
        cell=st.integers(1, 65535),
        length=st.integers(1, 2**32 - 1),
        rate=rates,
    )
)
def test_what_is_built_is_read_back(header):
    assert scanned(chunks.build(header, b"payload")) == header


def test_table_3_3_lists_the_rates_of_the_code():
    assert [(int(number), int(rate)) for number, rate in table(SPEC.read_text(), "3.3")] == list(enumerate(RATES))


@clause("3.3")
@pytest.mark.parametrize(
    ("width", "height", "rest", "wrong"),
    [
        (0, 0, b"", "length"),
        (1, 12, b"", "rate"),
        (1, 999, b"", "rate"),
        (1, 1000001, b"", "rate"),
        (1, 48000, b"", "has a number"),
        (1, 0, varint(64) + varint(65536), "latent"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(width, height, rest, wrong):
    body = header_body(width=width, height=height, layout=b"\x04", model=0, rest=bytes(32) + (rest or b"\x40\x08"))
    with pytest.raises(BadFile, match=f"§3.3 {wrong}|{wrong}"):
        chunks.scan(io.BytesIO(file(END, body=body)))


@clause("3.3")
@pytest.mark.parametrize(
    "change",
    [dict(length=0), dict(length=2**32), dict(rate=999), dict(rate=1000001), dict(mode="RGB"), dict(cell=65536)],
)
def test_a_header_that_cannot_be_read_is_not_written(change):
    with pytest.raises(BadInput):
        chunks.build(dataclasses.replace(HEADER, **change), b"")


@clause("3.2")
def test_a_sound_is_no_picture_and_says_how_to_hear_it():
    data = chunks.build(HEADER, b"payload")
    for read in (lambda: Image.open(io.BytesIO(data)), lambda: codec.decode_bytes(data)):
        with pytest.raises(
            IsSound, match=r"sound \(stereo, 44100 Hz, 7\.5 s\), not a picture; `sdf decode FILE.sdf FILE.wav`"
        ):
            read()


def test_info_shows_what_sound_it_is():
    data = chunks.build(HEADER, b"payload")
    facts = report.describe(io.BytesIO(data), len(data))
    assert {k: facts[k] for k in ("samples", "sample_rate", "channels", "seconds", "mode")} == dict(
        samples=329728, sample_rate=44100, channels=2, seconds=7.477, mode="stereo"
    )
    assert facts["bits_per_second"] == round(8 * len(data) * 44100 / 329728) and "width" not in facts


def tone(seconds: float, rate: int, planes: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * (300 + 100 * p) * t) for p in range(planes)]).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("oobleck")
    return {planes: oobleck(base / str(planes), planes) for planes in (1, 2)}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)


@clause("4.6", "5.1")
@pytest.mark.parametrize("count", [1, 7, 8, 9, 801])
@pytest.mark.parametrize("rate", [8000, 44100, 7919])
@pytest.mark.parametrize(("planes", "of_model"), [(1, 1), (1, 2), (2, 2)])
def test_any_length_rate_and_number_of_channels(count, rate, planes, of_model, folders):
    samples = tone(1, rate, planes)[:, :count]
    data = sound.encode(samples, rate, model_name=str(folders[of_model]), bits=8, device="cpu").data
    header = scanned(data)
    assert (header.length, header.rate, SOUNDS[header.mode], header.channels, header.cell) == (
        count,
        rate,
        planes,
        3,
        8,
    )
    back, found = sound.decode(io.BytesIO(data), device="cpu")
    assert back.shape == (planes, count) and found == rate and back.dtype == np.float32 and np.abs(back).max() <= 1
    assert sound.encode(samples, rate, model_name=str(folders[of_model]), bits=8, device="cpu").data == data


@clause("4.6")
def test_what_the_latent_holds_arrives(folders):
    """At 8 bits a file gives what the autoencoder alone does; mono as the mean of two equal channels."""
    net = loading.load(loading.find(folders[2]), "cpu")
    wave = tone(0.2, 8000)
    plain = net.decode(net.encode(np.repeat(wave, 2, axis=0)))
    data = sound.encode(wave, 8000, model_name=str(folders[2]), bits=8, device="cpu").data
    back, _ = sound.decode(io.BytesIO(data), device="cpu")
    assert np.square(back - plain.mean(axis=0)).mean() < 1e-3 * np.square(plain.mean(axis=0)).mean()


@clause("4.6")
def test_resampling_keeps_time_and_pitch():
    assert sound.at_model(44100, 44100, SoundSettings(64, 2048, 44100, 2)) == (44100, 22)
    assert sound.at_model(2**32 - 1, 1000, SoundSettings(64, 2048, 44100, 2))[0] == -(-(2**32 - 1) * 441 // 10)
    wave = tone(1, 48000)
    there = sound.resampled(wave, 48000, 8000, 8000)
    np.testing.assert_allclose(there[0, 100:-100], tone(1, 8000)[0, 100:-100], atol=1e-3)
    np.testing.assert_allclose(
        sound.resampled(there, 8000, 48000, 48000)[0, 1000:-1000], wave[0, 1000:-1000], atol=1e-3
    )
    assert sound.resampled(wave, 48000, 48000, 48010).shape == (1, 48010)


def test_sounds_that_cannot_be_written(folders, tmp_path):
    own = str(folders[2])
    good = tone(0.1, 8000)
    for samples, rate, options, said in (
        (np.zeros((3, 8)), 8000, {}, "mix more channels down"),
        (np.zeros((1, 0)), 8000, {}, r"shape \(1, 0\)"),
        (np.zeros(8), 8000, {}, "wanted"),
        (np.zeros((1, 8), np.int16), 8000, {}, "int16"),
        (good * np.nan, 8000, {}, "not finite"),
        (good, 999, {}, "rate: 999"),
        (good, 44100.5, {}, "whole number"),
        (good, 8000, dict(kind="diffc"), "autoencoder alone"),
        (good, 8000, dict(target_bytes=70), "too few|more than"),
        (good, 8000, dict(quality=3), "means nothing"),
    ):
        with pytest.raises((BadInput, Unsupported), match=said):
            sound.encode(samples, rate, **dict(model_name=own, device="cpu") | options)
    with pytest.raises(BadInput, match="stereo sound for a model of mono"):
        sound.encode(tone(0.1, 8000, 2), 8000, model_name=str(folders[1]), device="cpu")
    autoencoder().save_pretrained(tmp_path / "kl")
    with pytest.raises(BadInput, match="a model of pictures"):
        sound.encode(good, 8000, model_name=str(tmp_path / "kl"), device="cpu")


@clause("3.3", "4.6")
def test_files_that_cannot_be_decoded(folders, tmp_path, monkeypatch):
    data = sound.encode(tone(0.1, 8000), 8000, model_name=str(folders[1]), device="cpu").data
    header = scanned(data)
    payload = chunks.read(io.BytesIO(data), chunks.scan(io.BytesIO(data)).find(b"D"))

    def changed(**change) -> io.BytesIO:
        return io.BytesIO(chunks.build(dataclasses.replace(header, **change), payload))

    autoencoder().save_pretrained(tmp_path / "kl")
    for file_, error, said in (
        (changed(channels=4), BadFile, "a latent of 4 channels"),
        (changed(cell=16), BadFile, "cells of 16"),
        (changed(mode="stereo"), BadFile, "a model of sound, mono"),
        (changed(length=8000), BadFile, "ends before"),
        (changed(length=2**32 - 1), TooMuch, "most_samples"),
        (changed(length=2**31, rate=192000), TooMuch, "most_samples"),
        (changed(weights=bytes(32)), MissingModel, "unregistered weights"),
        (changed(weights=loading.find(tmp_path / "kl").sha256, channels=4, cell=2), BadFile, "a model of pictures"),
        (changed(mode="L", width=8, height=8), BadFile, "mode L of .* a model of sound"),
        (changed(kind=parameters.DIFFC, parameters=parameters.build(LAW)), Unsupported, "autoencoder alone"),
    ):
        with pytest.raises(error, match=said):
            if chunks.scan(file_).header.sound:
                sound.decode(file_, device="cpu")
            else:
                codec.decode(file_, device="cpu")
    with pytest.raises(BadInput, match="holds a picture"):
        sound.decode(io.BytesIO(chunks.build(dataclasses.replace(header, mode="L", width=8, height=8), payload)))


@clause("4.6", "5.4.2")
def test_a_truncated_sound_gives_its_beginning_if_asked(folders):
    data = sound.encode(tone(1, 8000), 8000, model_name=str(folders[1]), bits=8, device="cpu").data
    whole, _ = sound.decode(io.BytesIO(data), device="cpu")
    half = io.BytesIO(data[: len(data) // 2])
    with pytest.raises(Truncated):
        sound.decode(half, device="cpu")
    part, _ = sound.decode(half, device="cpu", truncated=True)
    assert part.shape == whole.shape
    np.testing.assert_allclose(part[:, :2000], whole[:, :2000], atol=1e-5)


def test_the_command_line_goes_there_and_back(folders, tmp_path, capsys):
    soundfile = pytest.importorskip("soundfile")
    wav, sdf, flac = (str(tmp_path / f"voice.{ending}") for ending in ("wav", "sdf", "flac"))
    soundfile.write(wav, tone(0.25, 11025, 2).T, 11025)
    own = str(folders[2])
    assert cli.main(["encode", wav, sdf, "--model", own, "--bits", "4", "--device", "cpu"]) == 0
    assert "0.25 s" in capsys.readouterr().err
    assert cli.main(["info", sdf]) == 0 and cli.main(["verify", sdf]) == 0 and cli.main(["dump", sdf]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "sample rate 11025",
        "channels 2",
        "seconds 0.25",
        "kind lowbit",
        "§3.3 length 2756",
        "§3.3 rate 7",
        "§5.4 levels 16",
    ):
        assert words in said
    assert cli.main(["decode", sdf, flac, "--device", "cpu"]) == 0
    back, rate = soundfile.read(flac)
    assert back.shape == (2756, 2) and rate == 11025
    assert cli.main(["info", "--json", sdf]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), json.loads((SPEC.parent / "info.schema.json").read_text()))
    for arguments, said in (
        (["encode", wav, sdf, "--force"], "needs --model"),
        (["encode", wav, sdf, "--force", "--model", own, "--quality", "3"], "--quality is for pictures"),
        (["decode", sdf, str(tmp_path / "x.png")], "no name for it"),
        (["decode", sdf, flac, "--force", "--realism", "1"], "for pictures"),
        (["decode", sdf, str(tmp_path / "none" / "x.wav")], "x.wav: No such file or directory"),
        (["decode", sdf, str(tmp_path / "x.opus")], "x.opus cannot be written"),
        (["encode", str(tmp_path / "no.wav"), sdf, "--force", "--model", own], "no.wav"),
    ):
        assert cli.main(arguments) == 1 and said in capsys.readouterr().err
