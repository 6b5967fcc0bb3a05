"""§6.4, the Poisson functional representation: its bits, its receiver against the text, and what its sender
delivers.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import opened, picture, psnr, saved
from scipy import stats

from sdf_format.coding import noise
from sdf_format.coding.rcc import mixing, pfr

clause = pytest.mark.clause


def shift_of(kl: float, dimensions: int, seed: int) -> torch.Tensor:
    """A random wanted shift worth `kl` bits."""
    m = torch.randn(dimensions, generator=torch.Generator().manual_seed(seed))
    return m * math.sqrt(2 * math.log(2) * kl) / m.norm()


@clause("6.4.4")
def test_the_vector_of_the_specification():
    bits = np.array([i * i // 3 % 2 for i in range(300)], np.uint8)
    digest = hashlib.sha256(pfr.receive(bits, 10007, 14, 7, 3).numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == "57df455a2670267f86fddf88e4536222c1301ed513109ce545b5063445976ce0"


@clause("6.4.1", "6.4.2", "6.4.3", "6.4.4")
@pytest.mark.parametrize(
    ("dimensions", "count", "chunk_bits"), [(700, 60, 14), (1000, 41, 8), (300, 200, 18), (64, 30, 12), (7, 7, 8)]
)
def test_the_receiver_does_what_the_text_says(dimensions, count, chunk_bits):
    bits = np.random.default_rng(count).integers(0, 2, count).astype(np.uint8)
    text = "".join(map(str, bits)) + "0" * 4000
    chunks = min(dimensions, -(-count // chunk_bits))
    s = min(10, int(math.log2(dimensions // chunks)))
    values = []
    for i in range(chunks):
        e, text = int(text[:4], 2), text[4:]
        n, text = int("1" + text[:e], 2), text[e:]
        v, pattern = (n - 1) >> s, (n - 1) % 2**s
        first, last = dimensions * i // chunks, dimensions * (i + 1) // chunks
        for p in range(first, last):
            index = 8 * -(-dimensions // 8) * v + p
            word = noise.words(9, 4, 2, index // 8, 1)[0, index % 8 // 2]
            value = int(noise.normal_table()[word >> 16 if index % 2 else word & 0xFFFF])
            code = ((p - first + 1) * 2654435769 % 2**32) >> (32 - s)
            values.append(-value if bin(pattern & code).count("1") % 2 else value)
    expected = torch.from_numpy(mixing.from_mixing_order(np.array(values, np.float32), 9, 4) / 65536)
    assert torch.equal(pfr.receive(bits, dimensions, chunk_bits, 9, 4), expected)


@clause("6.4.3")
@given(st.lists(st.integers(1, 65535), min_size=1, max_size=20))
def test_numbers_are_read_as_they_were_written(numbers):
    length = sum(4 + n.bit_length() - 1 for n in numbers)
    for spare in (0, 5):
        assert (pfr.read_numbers(pfr.write_numbers(np.array(numbers), length + spare), len(numbers)) == numbers).all()


@clause("6.4.3")
def test_bits_beyond_the_steps_end_are_0():
    assert pfr.read_numbers(np.array([1, 1, 1, 1, 1], np.uint8), 2).tolist() == [0b1100000000000000, 1]
    assert pfr.write_numbers(np.array([1, 1]), 3).tolist() == [0, 0, 0]


@clause("6.4.5")
def test_a_sample_that_fits_is_one_around_the_shift():
    samples = []
    for seed in range(12):
        shift = shift_of(40, 4000, seed)  # 8 bits of KL for every 20 bits
        z = pfr.receive(pfr.send(shift, 100, 18, seed, 1), 4000, 18, seed, 1)
        samples.append(((z - shift).double().numpy(), float((z - shift) @ shift / shift.norm())))
    assert stats.kstest(np.concatenate([noise for noise, _ in samples]), "norm").pvalue > 0.01
    along = np.array([a for _, a in samples])
    assert abs(along.mean()) < 1.0 and 0.3 < along.std() < 2.5


@clause("6.4.5")
@pytest.mark.parametrize("chunk_bits", [10, 14, 18])
def test_capacity_is_what_a_step_delivers_at_least_nearly(chunk_bits):
    asked = pfr.capacity(400, chunk_bits, 20_000)
    met = []
    for seed in range(4):
        shift = shift_of(asked, 20_000, seed)
        met.append(
            float(pfr.receive(pfr.send(shift, 400, chunk_bits, seed, 1), 20_000, chunk_bits, seed, 1) @ shift)
            / float(shift.norm()) ** 2
        )
    assert 0.75 < np.mean(met) < 1.08


@clause("6.4.5")
def test_more_shift_than_the_bits_can_say_is_met_in_part():
    shift = shift_of(1000, 4000, 3)
    bits = pfr.send(shift, 140, 14, 3, 1)
    z = pfr.receive(bits, 4000, 14, 3, 1)
    along = float(z @ shift / shift.norm())
    assert len(bits) == 140 and 0.6 < along**2 / (2 * math.log(2) * 140) < 0.95
    assert (pfr.send(shift, 140, 14, 3, 1) == bits).all()  # the same bytes every time


@clause("6.4.5")
@pytest.mark.parametrize("bits", [1, 3, 4, 9])
def test_steps_of_few_bits_have_a_number_that_fits(bits):
    assert len(pfr.send(shift_of(3, 500, bits), bits, 14, 0, 0)) == bits
    assert pfr.capacity(bits, 14, 500) == 0


@clause("6.4.2")
def test_strips_do_not_change_what_is_sent(monkeypatch):
    shift = shift_of(60, 3000, 5)
    whole = pfr.send(shift, 90, 14, 5, 1)
    monkeypatch.setattr(pfr, "STRIP", 1 << 12)
    assert (pfr.send(shift, 90, 14, 5, 1) == whole).all()


@clause("5.2", "6.4")
def test_a_picture_saved_with_pfr_opens():
    image = picture()
    made, other = (saved(image, coder=coder, bpp=0.8, denoiser="mean") for coder in ("pfr", "trellis"))
    assert len(made) <= 0.8 * image.width * image.height / 8
    assert psnr(opened(other), image) - 1.5 < psnr(opened(made), image) and psnr(opened(made), image) > 18
