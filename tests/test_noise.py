"""Shared randomness (§6.1): known answers, addresses, and that the normals are normal."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from sdf_format.coding import noise

clause = pytest.mark.clause


@clause("6.1.1")
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # Random123 1.14, kat_vectors, philox4x32 10
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers(counter, key, words):
    counter, key, words = ([int(w, 16) for w in s.split()] for s in (counter, key, words))
    assert noise.philox(np.array([counter], np.uint32), tuple(key)).tolist() == [words]


@clause("6.1.1")
def test_an_address_is_block_step_stream_and_seed():
    first = 2**32 - 1  # the block number spreads over two words
    expected = [
        noise.philox(np.array([[i & 0xFFFFFFFF, i >> 32, 7, 2]], np.uint32), (99, 0))[0] for i in (first, first + 1)
    ]
    assert noise.words(99, 7, 2, first, 2).tolist() == np.stack(expected).tolist()


@clause("6.1.1")
def test_blocks_do_not_depend_on_where_reading_begins():
    everything = noise.words(2**32 - 1, 254, 1, 0, 300)
    for first in (0, 1, 17, 299):
        assert (noise.words(2**32 - 1, 254, 1, first, 300 - first) == everything[first:]).all()
    assert noise.words(5, 0, 0, 3, 0).shape == (0, 4)


@clause("6.1.1")
def test_every_part_of_an_address_matters():
    addresses = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32 - 1, 0, 0), (0, 255, 0)]
    assert len({noise.words(*a, 0, 4).tobytes() for a in addresses}) == len(addresses)


@clause("6.1.2")
def test_the_table_of_normals_has_its_hash():
    table = noise.normal_table().astype("<i2").tobytes()
    assert hashlib.sha256(table).hexdigest() == "1ea009ce409dac97d6bd609266910f809c5fb912f78e16bd89145b08174d6fc5"


@clause("6.1.2")
def test_the_table_is_the_rounded_quantile():
    exact = 4096 * stats.norm.ppf((np.arange(65536) + 0.5) / 65536)
    assert (noise.normal_table() == np.round(exact)).all()
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-9  # so no double rounds to the other side


@clause("6.1.2")
def test_normals_are_the_table_at_low_half_then_high_half_of_each_word():
    blocks = noise.words(3, 4, 0, 0, 3)
    expected = [noise.normal_table()[(int(word) >> shift) & 0xFFFF] for word in blocks.flatten() for shift in (0, 16)]
    assert noise.normals(3, 4, 0, 24).tolist() == expected


@clause("6.1.2")
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_fewer_normals_are_a_prefix_of_more(count):
    normals = noise.normals(11, 2, noise.STREAM_NORMALS, count)
    assert normals.dtype == np.int16 and len(normals) == count
    assert (normals == noise.normals(11, 2, noise.STREAM_NORMALS, 1003)[:count]).all()


@clause("6.1.2")
def test_normals_are_normal_and_uncorrelated():
    count = 200_000
    x = noise.normals(1, 0, noise.STREAM_NORMALS, count) / noise.NORMAL_ONE
    assert stats.kstest(x, "norm").pvalue > 0.01
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 4 * np.sqrt(spread / count), power
    for lag in (1, 2, 8, 64):
        assert abs((x[:-lag] * x[lag:]).mean()) < 4 / np.sqrt(count), lag
    other = noise.normals(1, 1, noise.STREAM_NORMALS, count) / noise.NORMAL_ONE
    assert abs((x * other).mean()) < 4 / np.sqrt(count)
