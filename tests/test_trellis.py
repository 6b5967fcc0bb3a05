"""The trellis coder (§6.3): a receiver that is exact everywhere, a sender that is the best path, and what both
deliver.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SPEC, clauses
from scipy import stats
from second_reading import fingerprint, plain_codewords, shift_of, some_bits, states_of

from sdf_format.coding import noise
from sdf_format.coding.rcc import codebook, mixing, trellis
from sdf_format.diffusion.schedule import Schedule, check_dimensions
from sdf_format.errors import BadFile, Unsupported

clause = pytest.mark.clause

# A test vector of two walks: bits are those of the bytes (73 i + 41) mod 256, the first bit of a byte its highest.
VECTOR = dict(dimensions=5003, state_bits=12, seed=2024, step=7)
VECTOR_LENGTH = 1100
VECTOR_SHA256 = "b6a505d68623d36a9e33ddfab0abc36ba17e4ab21027abda35dbc79b3ad792dc"


def projection(shift: torch.Tensor, bits: int, state_bits: int, seed: int) -> float:
    z = trellis.receive(trellis.send(shift, bits, state_bits, seed, 3), len(shift), state_bits, seed, 3)
    return float(z.double() @ shift.double()) / float(shift.double().norm())


# --- the receiver is exact

SIZES = [
    (1, 1, 8),
    (2, 1, 9),
    (3, 2, 8),
    (5, 5, 8),
    (12, 12, 10),
    (255, 7, 8),
    (256, 11, 12),
    (257, 18, 18),
    (600, 0, 8),
    (600, 600, 8),
    (700, 17, 18),
    (1030, 1024, 8),
    (1100, 1025, 12),
    (3001, 3000, 9),
]


@clause("6.3.1", "6.3.2", "6.3.3", "6.3.4", "6.3.5", "6.3.6", "6.3.7")
@pytest.mark.parametrize(("dimensions", "bits", "state_bits"), SIZES)
def test_the_receiver_equals_a_second_reading_of_its_clause(dimensions, bits, state_bits):
    own = some_bits(bits)
    z = trellis.receive(own, dimensions, state_bits, 77, 5)
    assert z.dtype == torch.float32 and z.shape == (dimensions,)
    assert (z.double() * 65536).tolist() == plain_codewords(
        states_of(own.tolist(), 1024, state_bits), dimensions, state_bits, 77, 5
    )


@clause("6.3.7")
def test_the_test_vector():
    assert fingerprint(trellis.receive(some_bits(VECTOR_LENGTH), **VECTOR)) == VECTOR_SHA256


@clause("6.3.7")
def test_the_test_vector_of_the_specification():
    bits = np.array([b * b // 3 % 2 for b in range(300)], np.uint8)
    z = trellis.receive(bits, dimensions=10007, state_bits=12, seed=7, step=3)
    clause_text = " ".join(clauses(SPEC.read_text())["6.3.7"].split())
    assert "D = 10007, R = 300, L = 12, seed 7, step 3 and bits b = floor(b * b / 3) mod 2" in clause_text
    digest = hashlib.sha256(z.numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == "d8d6479835b4a12af0249f62bb27b2cf33a74b788d79658fe52226ee9fe15005"
    assert digest in clause_text


@clause("6.3.7")
@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"},
    ],
)
def test_the_test_vector_does_not_depend_on_the_matrix_product(environment):
    code = "import test_trellis as t; print(t.fingerprint(t.trellis.receive(t.some_bits(t.VECTOR_LENGTH), **t.VECTOR)))"
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == VECTOR_SHA256, done.stderr


@clause("6.3.7")
def test_the_receiver_does_not_depend_on_threads_or_repetition():
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4, 1):
            torch.set_num_threads(threads)
            assert fingerprint(trellis.receive(some_bits(VECTOR_LENGTH), **VECTOR)) == VECTOR_SHA256
    finally:
        torch.set_num_threads(before)


@clause("6.3.7")
def test_the_receiver_does_not_depend_on_the_applications_torch_settings():
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert fingerprint(trellis.receive(some_bits(VECTOR_LENGTH), **VECTOR)) == VECTOR_SHA256
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        z = trellis.receive(some_bits(VECTOR_LENGTH), **VECTOR)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
    assert z.dtype == torch.float32 and fingerprint(z) == VECTOR_SHA256


@clause("6.3.7")
def test_no_bits_give_the_shared_normals():
    z = trellis.receive(np.empty(0, np.uint8), 1000, 12, 1, 2)
    assert (z.double() * 4096).tolist() == noise.normals(1, 2, noise.STREAM_NORMALS, 1000).tolist()


@clause("6.3")
def test_a_step_has_at_most_a_bit_a_dimension_and_dimensions_32_bit_numbers():
    plan = Schedule((-1.0, 0.0, 1.0), (3, 10, 4))
    check_dimensions(plan, 10)
    check_dimensions(plan, 2**32 - 1)
    check_dimensions(Schedule((), ()), 1)
    with pytest.raises(BadFile, match="10 bits for 9"):
        check_dimensions(plan, 9)
    with pytest.raises(Unsupported, match="latent values"):
        check_dimensions(plan, 2**32)


@clause("6.3.3")
def test_the_dealt_order_is_a_permutation_for_every_size():
    for dimensions in [*range(1, 700), 1024, 3072, 4095, 65536, 98304, 100_003]:
        order = mixing.permutation(dimensions, 1, dimensions)
        assert (np.bincount(order, minlength=dimensions) == 1).all(), dimensions


@clause("6.3.1")
@pytest.mark.parametrize(
    ("bits", "lengths"),
    [
        (1, [1]),
        (1024, [1024]),
        (1025, [512, 513]),
        (3000, [1000] * 3),
        (2049, [683] * 3),
        (4097, [819, 819, 820, 819, 820]),
    ],
)
def test_walks_are_nearly_equal_and_at_most_1024_branches(bits, lengths):
    assert np.diff(trellis.walk_borders(bits)).tolist() == lengths


@clause("6.3.2")
def test_a_state_is_the_last_bits_of_its_own_walk():
    bits = np.ones(1025, np.uint8)
    states = trellis.states(bits, 8)
    assert states[:9].tolist() == [1, 3, 7, 15, 31, 63, 127, 255, 255]
    assert states[511:515].tolist() == [255, 1, 3, 7]


# --- what is received looks like noise


@clause("6.3.7")
@pytest.mark.parametrize(
    ("dimensions", "bits", "state_bits"), [(20_000, 0, 8), (20_000, 1, 8), (20_480, 300, 12), (20_001, 3000, 18)]
)
def test_a_displacement_is_marginally_normal(dimensions, bits, state_bits):
    z = trellis.receive(some_bits(bits), dimensions, state_bits, 31, 9).double().numpy()
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert abs(z.mean()) < 4 / math.sqrt(dimensions) and abs((z**2).mean() - 1) < 4 * math.sqrt(2 / dimensions)
    assert abs((z[1:] * z[:-1]).mean()) < 4 / math.sqrt(dimensions)


@clause("6.3.8")
def test_a_sent_displacement_is_marginally_normal():
    shifts = [shift_of(15, 4099, seed) for seed in range(25)]
    z = np.concatenate(
        [trellis.receive(trellis.send(m, 250, 8, s, 0), 4099, 8, s, 0).double().numpy() for s, m in enumerate(shifts)]
    )
    assert stats.kstest(z, "norm").pvalue > 0.01


@clause("6.3.8")
def test_what_is_left_of_a_sent_displacement_without_its_shift_looks_like_noise():
    shift = shift_of(15, 8192, 1)
    rest = [
        (trellis.receive(trellis.send(shift, 250, 8, s, 0), 8192, 8, s, 0) - shift).double().numpy() for s in range(4)
    ]
    assert stats.kstest(np.concatenate(rest), "norm").pvalue > 0.01
    assert np.mean(np.stack(rest) @ (shift.double().numpy() / 15)) == pytest.approx(0, abs=2)


# --- what is delivered


@clause("6.3.8")
@pytest.mark.parametrize("norm", [0.5, 5, 15])
@pytest.mark.parametrize(("bits", "state_bits"), [(300, 8), (900, 8), (300, 11)])
def test_the_projection_meets_its_shift_and_does_not_overshoot(norm, bits, state_bits):
    met = [projection(shift_of(norm, 8192, s), bits, state_bits, s) for s in range(10)]
    assert np.mean(met) == pytest.approx(norm, abs=1.2)
    best = math.sqrt(2 * math.log(2) * trellis.capacity(bits, state_bits))
    assert norm < best - 2  # so there was something to overshoot with


@clause("6.3.8")
@pytest.mark.parametrize(
    ("bits", "state_bits", "low"),
    [(1, 8, 0.15), (9, 8, 0.45), (64, 8, 0.73), (400, 8, 0.76), (1300, 8, 0.71), (400, 10, 0.80), (400, 12, 0.83)],
)
def test_too_few_bits_deliver_nearly_all_they_can(bits, state_bits, low):
    most = math.sqrt(2 * math.log(2) * bits)  # the projection of an ideal code
    met = [projection(shift_of(10 * most, 16384, s), bits, state_bits, s) for s in range(max(3, 200 // bits))]
    assert low < (np.mean(met) / most) ** 2 < 1


@clause("6.3.5", "6.3.8")
@pytest.mark.parametrize(("nonzero", "bits"), [(8, 50), (16, 200), (100, 500)])
def test_a_shift_of_few_coordinates_is_met_like_a_dense_one(nonzero, bits):
    dense, spiky = (
        np.mean([projection(shift_of(300, 8192, s, n), bits, 10, s) ** 2 for s in range(4)]) for n in (None, nonzero)
    )
    assert spiky > 0.9 * dense  # unmixed: 0.03


@clause("6.3.5", "6.3.8")
def test_a_shift_of_one_coordinate_is_met():
    dense, single = (
        np.mean([projection(shift_of(300, 8192, s, n), 40, 10, s) ** 2 for s in range(16)]) for n in (None, 1)
    )
    assert single > 0.75 * dense  # mixing makes 256 places of it; unmixed: less than 0.02
    met = np.mean([projection(shift_of(3, 8192, s, 1), 40, 10, s) for s in range(60)])
    assert met == pytest.approx(3, abs=0.5)


@clause("6.3.8")
@pytest.mark.parametrize(
    ("bits", "state_bits", "dimensions"),
    [
        (1, 8, 2048),
        (1, 12, 2048),
        (6, 10, 2048),
        (25, 8, 4096),
        (25, 13, 4096),
        (200, 8, 8192),
        (200, 14, 8192),
        (1100, 11, 50_000),
        (2500, 8, 30_000),
        (600, 12, 9600),
    ],
)
def test_capacity_is_what_a_step_delivers(bits, state_bits, dimensions):
    count = max(4, min(400, 3000 // bits))
    met = np.array([projection(shift_of(1000, dimensions, s), bits, state_bits, s) for s in range(count)])
    delivered = met.mean() ** 2 / (2 * math.log(2))
    error = 2 * met.std() / met.mean() / math.sqrt(count)
    assert trellis.capacity(bits, state_bits, dimensions) == pytest.approx(delivered, rel=0.02 + 3 * error)


@clause("6.3.8")
def test_capacity_of_more_bits_and_states_is_more():
    for state_bits in trellis.STATES:
        values = [trellis.capacity(bits, state_bits) for bits in range(1025)]
        assert values[0] == 0 and values[1] == pytest.approx(0.2296, abs=1e-4) and (np.diff(values) > 0).all()
        assert 0.81 < trellis.capacity(100_000, state_bits) / 100_000 < trellis.EFFICIENCY[state_bits]
        assert (
            trellis.capacity(300, state_bits, 3000)
            < trellis.capacity(300, state_bits, 30_000)
            < trellis.capacity(300, state_bits)
        )
    assert (np.diff([trellis.capacity(700, state_bits) for state_bits in trellis.STATES]) > 0).all()


# --- sizes


@clause("6.3.1", "6.3.7", "6.3.8")
@pytest.mark.parametrize("dimensions", [3333, 4096])
@pytest.mark.parametrize("bits", [0, 1, 2, 7, 8, 9, 1023, 1024, 1025, 3000])
def test_any_number_of_bits_is_sent_and_received(dimensions, bits):
    shift = shift_of(2 * math.sqrt(bits), dimensions, bits)
    sent = trellis.send(shift, bits, 8, 5, 6)
    assert sent.dtype == np.uint8 and sent.shape == (bits,) and set(sent.tolist()) <= {0, 1}
    z = trellis.receive(sent, dimensions, 8, 5, 6).double()
    assert z.isfinite().all() and abs(float(z.square().mean()) - 1) < 6 * math.sqrt(2 / dimensions)
    # half of what an ideal code delivers, at up to a bit a dimension
    if bits >= 1023:
        assert float(z @ shift.double() / shift.double().norm()) > math.sqrt(
            0.45 * dimensions * (1 - 4 ** (-bits / dimensions))
        )


@clause("6.3.1", "6.3.8")
@pytest.mark.parametrize(("dimensions", "bits"), [(1, 1), (2, 1), (2, 2), (3, 2), (7, 1), (7, 7), (31, 8), (31, 31)])
def test_a_tiny_latent_is_sent_and_received(dimensions, bits):
    shift = shift_of(4, dimensions, bits)
    sent = trellis.send(shift, bits, 8, 5, 6)
    z = trellis.receive(sent, dimensions, 8, 5, 6)
    assert sent.shape == (bits,)
    assert set(z.abs().tolist()) == {1.0}  # there is nothing to mix


# --- the sender's path


@clause("6.3.8")
def test_sending_is_deterministic():
    shift = shift_of(12, 5000, 1)
    first = trellis.send(shift, 700, 10, 8, 2)
    torch.manual_seed(1)
    assert (trellis.send(shift, 700, 10, 8, 2) == first).all()
    assert (trellis.send(shift, 700, 10, 9, 2) != first).any() and (trellis.send(shift, 700, 10, 8, 3) != first).any()


@clause("6.3.8")
def test_sending_leaves_its_shift_alone():
    shift = shift_of(12, 1000, 1)
    before = shift.clone()
    trellis.send(shift, 300, 8, 8, 2)
    assert (shift == before).all()


@clause("6.3.8")
@pytest.mark.parametrize("dimensions", [10, 40, 300])
def test_the_path_is_the_best_of_all(dimensions):
    for seed in range(3):
        shift = shift_of(100, dimensions, seed)  # more than ten bits deliver, so nothing private is added
        best = max(
            float(trellis.receive(np.array(p, np.uint8), dimensions, 8, seed, 1) @ shift)
            for p in itertools.product((0, 1), repeat=10)
        )
        sent = trellis.send(shift, 10, 8, seed, 1)
        assert float(trellis.receive(sent, dimensions, 8, seed, 1) @ shift) == pytest.approx(best, rel=1e-5)


@clause("6.3.8")
@pytest.mark.parametrize("bits", [1024, 1025, 2049])
def test_the_paths_of_unequal_walks_are_the_best(bits):
    """A plain Viterbi, a branch at a time, finds no better path."""
    dimensions, state_bits = 5000, 8
    shift = shift_of(1000, dimensions, bits)
    mixed = mixing.mix_rows(mixing.to_mixing_order(shift.numpy(), 4, 1) * mixing.signs(4, 1, mixing.MIDDLE, dimensions))
    products = mixed.astype(float) * mixing.signs(4, 1, mixing.BASE, dimensions) / 256
    code = codebook.codes(64, state_bits)
    signs = 1 - 2.0 * (np.bitwise_count(np.arange(256)[:, None] & code) & 1)
    best, metric = 0.0, np.zeros(256)
    borders = trellis.walk_borders(bits)
    for branch in range(bits):
        if branch in borders:
            best += metric.max()
            metric = np.full(256, -np.inf)
            metric[0] = 0
        own = products[dimensions * branch // bits : dimensions * (branch + 1) // bits]
        metric = np.maximum(metric[:128], metric[128:]).repeat(2) + signs[:, : len(own)] @ own
    best += metric.max()
    sent = trellis.send(shift, bits, state_bits, 4, 1)
    found = trellis.receive(sent, dimensions, state_bits, 4, 1)
    assert float(found.double() @ shift.double()) == pytest.approx(best, rel=1e-5)


@clause("6.3.6", "6.3.8")
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(("places", "state_bits"), [(1, 8), (2, 9), (40, 8), (300, 8), (33, 13), (700, 11)])
def test_scores_are_the_inner_products_with_every_state(places, state_bits, sparse, monkeypatch):
    monkeypatch.setattr(codebook, "SIGNS", math.inf if sparse else -1)
    code = codebook.codes(places, state_bits)
    branches = np.pad(np.random.default_rng(places).standard_normal((5, places)), ((0, 0), (0, 1))).astype(np.float32)
    signs = 1 - 2.0 * (np.bitwise_count(np.arange(1 << state_bits)[:, None] & code) & 1)
    out = np.full((5, 1 << state_bits), np.nan, np.float32)
    codebook.Scores(code, state_bits).fill(out, branches, np.empty(out.size, np.float32))
    assert np.allclose(out, branches[:, :-1] @ signs.T, atol=1e-4 * math.sqrt(places))


@clause("6.3.8")
def test_groups_of_walks_do_not_change_a_path(monkeypatch):
    shift = shift_of(1000, 9000, 1)
    together = trellis.send(shift, 5000, 8, 1, 1)
    monkeypatch.setattr(trellis, "METRICS", 1 << 9)  # two walks at a time, then one
    monkeypatch.setattr(trellis, "SCORES", 1)
    assert (trellis.send(shift, 5000, 8, 1, 1) == together).all()
    monkeypatch.setattr(trellis, "SURVIVOR_BYTES", 1)
    assert (trellis.send(shift, 5000, 8, 1, 1) == together).all()


@clause("6.3.8")
@pytest.mark.parametrize("values", [0, 1, 2])
@pytest.mark.parametrize("walks", [[(0, 10)], [(0, 9), (9, 19)], [(0, 3), (3, 6), (6, 10)]])
def test_ties_go_to_the_lowest_final_state_and_then_to_the_oldest_bits_0(values, walks):
    """Against all paths, with scores that are small integers, so that many paths are equally good."""
    rng = np.random.default_rng(values)
    tied = 0
    for _ in range(8):
        branches = rng.integers(-values, values + 1, (walks[-1][1], 3))
        code = codebook.codes(3, 8)
        padded = np.pad(branches, ((0, 0), (0, 1))).astype(np.float32)
        found = trellis._viterbi(padded, walks, code, 8)
        for (first, last), path in zip(walks, found, strict=True):
            scores = {}
            for bits in itertools.product((0, 1), repeat=last - first):
                states = trellis.states(np.array(bits, np.uint8), 8)
                signs = 1 - 2 * (np.bitwise_count(states[:, None] & code) & 1).astype(int)
                scores[bits] = int((branches[first:last] * signs).sum())
            top = [bits for bits, score in scores.items() if score == max(scores.values())]
            tied += len(top) > 1
            # The final state is the last 8 bits, first of them highest; then come the bits that left it, newest first.
            assert tuple(path) == min(top, key=lambda b: (b[-8:], b[-9::-1]))
    assert tied
