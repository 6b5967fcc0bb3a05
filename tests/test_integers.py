"""The sender's integers (§6.3.8): no sum of them leaves what float32 holds, and ties are decided as the clause says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdf_format.coding.rcc import codebook, integers, trellis

clause = pytest.mark.clause


def spiky(dimensions: int, spikes: int) -> torch.Tensor:
    rng = np.random.default_rng(dimensions)
    shift = rng.standard_normal(dimensions) * 0.01
    shift[rng.permutation(dimensions)[:spikes]] = 40.0
    return torch.from_numpy(shift).float()


@clause("6.3.8")
@pytest.mark.parametrize(
    ("shift", "bits"),
    [
        (spiky(5000, 1), 600),
        (spiky(5000, 0), 600),
        (spiky(200, 3), 200),
        (spiky(60000, 60), 40),
        (torch.zeros(1000), 100),
        (spiky(1, 1), 1),
        (spiky(40000, 2) * 1e-30, 3),
        (spiky(40000, 2) * 1e30, 3),
    ],
)
def test_no_sum_of_products_leaves_24_bits(shift, bits):
    target = integers.target(shift, trellis.capacity(bits, 12, len(shift)), 1)
    assert target.dtype == torch.int32 and integers.MIX * int(target.abs().max()) <= 1 << 24
    branches, code = codebook.products(target, trellis.walk_borders(bits), 12, 5, 6)
    assert (branches == np.round(branches)).all() and branches.any()
    spread = np.zeros((bits, 1 << 12))
    np.add.at(spread, (slice(None), code), branches[:, :-1])
    codebook.walsh_hadamard(spread)
    assert np.abs(spread).max(axis=1).sum() < 1 << 24  # so no path metric, either


@clause("6.3.8")
def test_the_target_is_the_shift_where_it_asks_for_all_the_bits():
    shift = spiky(3000, 5)
    target = integers.target(shift, 1.0, 1).double()
    unit = float(target @ shift.double()) / float(shift.double().square().sum())
    assert (target - unit * shift.double()).abs().max() <= 0.5 * (1 + 1e-6)


@clause("6.3.8")
def test_private_noise_fills_the_capacity():
    shift = spiky(20000, 5) / 1000
    target = integers.target(shift, 500.0, 1).double()
    again = integers.target(shift, 500.0, 1).double()
    other = integers.target(shift, 500.0, 2).double()
    assert (target == again).all() and (target != other).any()
    noise = target / target.norm()
    assert abs(float(noise @ other) / float(other.norm())) < 0.03


@clause("6.3.8")
def test_ties_take_the_oldest_bit_0_and_the_lowest_final_state():
    branches = np.zeros((20, 3), np.float32)  # all walks are equally good
    assert not trellis._viterbi(branches, [(0, 20)], np.array([5, 9]), 8)[0].any()
    branches[3] = [1, 0, 0]  # prefers states with an even number of bits of 5 in common
    path = trellis._viterbi(branches, [(0, 20)], np.array([5, 9]), 8)[0]
    assert not path.any()
