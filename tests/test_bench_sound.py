"""`sdf bench sound`: its distances against closed forms, its table over a small autoencoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
from command import cells
from test_autoencoders import oobleck

from sdf_format.bench import sound
from sdf_format.cli import main as cli


def test_signal_to_noise_ratio():
    wave = np.sin(np.arange(44100) / 7)[None]
    assert sound.snr(wave, 0.9 * wave) == pytest.approx(20)
    assert sound.snr(wave, wave) > 200


def test_log_spectral_distance_is_the_gain_in_decibel():
    noise = np.random.default_rng(0).normal(size=(2, 20000))
    assert sound.log_spectral_distance(noise, noise) == 0
    assert sound.log_spectral_distance(noise, noise / 2) == pytest.approx(20 * math.log10(2), rel=1e-3)
    assert sound.log_spectral_distance(noise[:, :100], noise[:, :100] * 0) > 20


def test_the_table(tmp_path, capsys):
    soundfile = pytest.importorskip("soundfile")
    for name, rate, planes in (("one", 8000, 1), ("two", 11025, 2)):
        wave = np.random.default_rng(planes).normal(size=(rate // 2, planes)).cumsum(axis=0) / 300
        soundfile.write(tmp_path / f"{name}.wav", wave.clip(-1, 1), rate)
    own = str(oobleck(tmp_path / "vae"))
    assert cli.main(["bench", "sound", str(tmp_path), "--model", own, "--seconds", "0.25", "--bits", "1,8"]) == 0
    rows = cells(capsys.readouterr().out)
    assert [(r[0], r[2], r[3]) for r in rows] == [
        ("one.wav", "250", "1"),
        ("one.wav", "250", "8"),
        ("two.wav", "250", "1"),
        ("two.wav", "250", "8"),
    ]
    assert int(rows[0][4]) < int(rows[1][4]) and float(rows[0][6]) + 20 < float(rows[1][6])
    assert cli.main(["bench", "sound", str(tmp_path / "vae"), "--model", own]) == 1
