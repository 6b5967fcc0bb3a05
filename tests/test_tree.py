"""The tree coder (§6.5): a receiver that is exact, a search that finds good walks, and what both deliver."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import SPEC, clauses
from scipy import stats
from second_reading import plain_codewords, shift_of, some_bits, states_of

from sdf_format.coding.rcc import codebook, tree, trellis

clause = pytest.mark.clause


def projection(shift: torch.Tensor, bits: int, word_bits: int, seed: int) -> float:
    z = tree.receive(tree.send(shift, bits, word_bits, seed, 3), len(shift), word_bits, seed, 3)
    return float(z.double() @ shift.double()) / float(shift.double().norm())


@clause("6.5.1", "6.5.2", "6.5.3")
@pytest.mark.parametrize(
    ("dimensions", "bits", "word_bits"),
    [(1, 1, 8), (5, 5, 8), (257, 18, 18), (600, 0, 8), (600, 600, 12), (2100, 2048, 8), (2100, 2049, 12)],
)
def test_the_receiver_equals_a_second_reading_of_its_clause(dimensions, bits, word_bits):
    own = some_bits(bits)
    words = [(2654435769 * state % 2**32) >> (32 - word_bits) for state in states_of(own.tolist(), 2048, 32)]
    z = tree.receive(own, dimensions, word_bits, 77, 5)
    assert z.dtype == torch.float32 and (z.double() * 65536).tolist() == plain_codewords(
        words, dimensions, word_bits, 77, 5
    )


@clause("6.5.3")
def test_the_test_vector_of_the_specification():
    z = tree.receive(np.array([b * b // 3 % 2 for b in range(3000)], np.uint8), 10007, 12, 7, 3)
    clause_text = " ".join(clauses(SPEC.read_text())["6.5.3"].split())
    assert "D = 10007, R = 3000, K = 12, seed 7, step 3 and bits b = floor(b * b / 3) mod 2" in clause_text
    assert hashlib.sha256(z.numpy().astype("<f4").tobytes()).hexdigest() in clause_text


@clause("6.5.4")
@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_of_few_walks_the_best_is_found(bits):
    shift = shift_of(1000, 700, bits)
    best = max(
        itertools.product((0, 1), repeat=bits),
        key=lambda own: float(tree.receive(np.array(own, np.uint8), 700, 9, 4, 2).double() @ shift.double()),
    )
    assert tree.send(shift, bits, 9, 4, 2).tolist() == list(best)


@clause("6.5.4")
@pytest.mark.parametrize("norm", [0.5, 5, 15])
def test_the_projection_meets_its_shift_and_does_not_overshoot(norm):
    met = [projection(shift_of(norm, 8192, s), 300, 10, s) for s in range(10)]
    assert np.mean(met) == pytest.approx(norm, abs=1.2)
    assert norm < math.sqrt(2 * math.log(2) * tree.capacity(300, 10)) - 2


@clause("6.5.4")
@pytest.mark.parametrize(
    ("bits", "dimensions", "kept"),
    [
        (1, 2048, None),
        (6, 2048, None),
        (25, 4096, None),
        (200, 8192, None),
        (600, 9600, 256),
        (2500, 60_000, 1024),
        (2000, 20_000, 2048),
    ],
)
def test_capacity_is_what_a_step_delivers(bits, dimensions, kept, monkeypatch):
    if kept:
        monkeypatch.setattr(tree, "WIDTHS", (kept, kept))
    count = max(3, min(400, 2000 // bits))
    met = np.array([projection(shift_of(1000, dimensions, s), bits, 12, s) for s in range(count)])
    delivered = met.mean() ** 2 / (2 * math.log(2))
    error = 2 * met.std() / met.mean() / math.sqrt(count)
    assert tree.capacity(bits, 12, dimensions) == pytest.approx(delivered, rel=0.02 + 3 * error)


@clause("6.5.4")
def test_it_delivers_more_than_the_trellis_of_its_size():
    shifts = [shift_of(1000, 20_000, s) for s in range(4)]
    ours = np.mean([projection(m, 400, 12, s) ** 2 for s, m in enumerate(shifts)])
    others = np.mean(
        [
            float(trellis.receive(trellis.send(m, 400, 12, s, 3), len(m), 12, s, 3).double() @ m.double()) ** 2 / 1e6
            for s, m in enumerate(shifts)
        ]
    )
    assert ours > 1.01 * others


@clause("6.5.4")
def test_effort_delivers_more_in_the_same_bits(monkeypatch):
    monkeypatch.setattr(tree, "WIDTHS", (16, 64))
    shifts = [shift_of(1000, 20_000, s) for s in range(4)]
    met = [
        np.mean(
            [
                float(tree.receive(tree.send(m, 400, 12, s, 3, e), len(m), 12, s, 3).double() @ m.double()) ** 2
                for s, m in enumerate(shifts)
            ]
        )
        for e in tree.EFFORTS
    ]
    assert met[2] > 1.01 * met[1] > 1.01**2 * met[0]
    assert [tree.width(2000, e) for e in tree.EFFORTS] == [64, 128, 256]
    assert tree.capacity(400, 12, 20_000, 2) > tree.capacity(400, 12, 20_000, 0)


@clause("6.5.4")
def test_a_sent_displacement_is_marginally_normal():
    z = np.concatenate(
        [
            tree.receive(tree.send(shift_of(15, 4099, s), 250, 10, s, 0), 4099, 10, s, 0).double().numpy()
            for s in range(25)
        ]
    )
    z += np.random.default_rng(1).uniform(-1 / 128, 1 / 128, len(z))  # z lies on a lattice of 1/64
    assert stats.kstest(z, "norm").pvalue > 0.01


@clause("6.5.4")
def test_ties_do_not_let_all_walks_pass():
    branches = np.zeros((600, 9), np.float32)
    assert tree._search(branches, codebook.codes(8, 8), 8, 64).shape == (600,)


@clause("6.5.4")
def test_bits_do_not_depend_on_threads():
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.add(tree.send(shift_of(90, 30_000, 1), 5000, 8, 1, 2).tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
