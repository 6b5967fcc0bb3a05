"""The GPU coders (§6.3, §6.4): their kernels emulated on a CPU against the CPU's coders, compiled for GPUs, and run
where there is one.
"""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tomllib
import torch
from emulation import COMPILER, Emulation

from sdf_format import cache
from sdf_format.coding import noise
from sdf_format.coding.rcc import codebook, gpu, nvrtc, pfr, trellis

clause = pytest.mark.clause
emulated = pytest.mark.skipif(COMPILER is None, reason="g++ is not installed")


@pytest.fixture(scope="module", params=[False, True], ids=["ascending", "descending"])
def coder(request, tmp_path_factory) -> gpu.Trellis:
    return gpu.Trellis(Emulation(tmp_path_factory.getbasetemp() / "kernels", request.param))


@pytest.fixture(scope="module")
def ascending(tmp_path_factory) -> gpu.Trellis:
    return gpu.Trellis(Emulation(tmp_path_factory.getbasetemp() / "kernels"))


@pytest.fixture(scope="module", params=[False, True], ids=["ascending", "descending"])
def candidates(request, tmp_path_factory) -> gpu.Pfr:
    return gpu.Pfr(Emulation(tmp_path_factory.getbasetemp() / "kernels", request.param))


def some_shift(dimensions: int, bits: int, fraction: float, seed: int) -> torch.Tensor:
    """A shift, half of whose energy lies in a few spikes, that asks for `fraction` of the bits."""
    rng = np.random.default_rng(seed)
    shift = rng.standard_normal(dimensions)
    shift[rng.permutation(dimensions)[: max(1, dimensions // 100)]] *= 10
    return torch.from_numpy(shift * math.sqrt(2 * math.log(2) * fraction * bits) / np.linalg.norm(shift)).float()


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit, the sign of zero included."""
    return a.dtype == b.dtype == torch.float32 and torch.equal(a.cpu().view(torch.int32), b.cpu().view(torch.int32))


RECEIVED = [
    (1, 1, 8),
    (5, 5, 8),
    (255, 7, 18),
    (256, 11, 12),
    (600, 0, 8),
    (1030, 1024, 8),
    (3001, 3000, 9),
    (20011, 1500, 14),
]


@emulated
@clause("6.3.1", "6.3.2", "6.3.3", "6.3.4", "6.3.5", "6.3.6", "6.3.7")
@pytest.mark.parametrize(("dimensions", "bits", "state_bits"), RECEIVED)
def test_the_receiver_makes_the_same_z(coder, dimensions, bits, state_bits):
    own = np.random.default_rng(bits).integers(0, 2, bits, np.uint8)
    assert same(
        coder.receive(own, dimensions, state_bits, 2**32 - 5, 254),
        trellis.receive(own, dimensions, state_bits, 2**32 - 5, 254),
    )


# Metrics twice in shared memory, once, in global memory; survivors traced from shared memory and from global; one walk
# and two; fewer bits than a state has; more states than a chunk.
SENT = [
    (40, 6, 8),
    (3000, 300, 8),
    (9000, 1030, 8),
    (2000, 60, 12),
    (2500, 40, 13),
    (700, 9, 14),
    (300, 5, 15),
    (60, 3, 17),
]


@emulated
@clause("6.3.8")
@pytest.mark.parametrize("fraction", [0.3, 1.5])
@pytest.mark.parametrize(("dimensions", "bits", "state_bits"), SENT)
def test_the_sender_finds_the_same_walks(coder, dimensions, bits, state_bits, fraction):
    shift = some_shift(dimensions, bits, fraction, state_bits)
    found = coder.send(shift, bits, state_bits, 9, 3)
    assert found.tolist() == trellis.send(shift, bits, state_bits, 9, 3).tolist()


@emulated
@clause("6.3.8")
def test_ties_are_decided_as_the_clause_says(ascending):
    rng = np.random.default_rng(1)
    borders = trellis.walk_borders(1100)
    for largest in (0, 1):  # every walk is as good as every other, or nearly
        products = torch.from_numpy(rng.integers(-largest, largest + 1, 3300).astype(np.int32))
        found = torch.zeros(1100, dtype=torch.uint8)
        ascending._search(found, products, borders, 0, 2, 8)
        branches = np.concatenate([products.numpy().reshape(1100, 3), np.zeros((1100, 1), np.int32)], axis=1).astype(
            np.float32
        )
        paths = trellis._viterbi(branches, list(itertools.pairwise(borders)), codebook.codes(3, 8), 8)
        assert found.tolist() == np.concatenate(paths).tolist()
        assert found.any() == bool(largest)


@emulated
@clause("6.1.1", "6.1.2")
def test_the_normals_of_any_address_are_the_same(coder):
    z = torch.empty(1001)
    coder.kernels.launch("noise", "normals", (8, 1), 128, [z, coder.table, 1001, 2**32 - 1, 7, 2**31 + 5])
    assert (z * noise.NORMAL_ONE).tolist() == noise.normals(2**32 - 1, 7, 2**31 + 5, 1001).tolist()


@emulated
def test_walks_are_searched_in_groups_that_fit(ascending, monkeypatch):
    shift = some_shift(6000, 2100, 0.5, 1)
    monkeypatch.setattr(gpu, "SCORE_BYTES", 2 * 700 << 10)
    ascending.kernels.launched.clear()
    assert ascending.send(shift, 2100, 8, 1, 2).tolist() == trellis.send(shift, 2100, 8, 1, 2).tolist()
    assert ascending.kernels.launched.count("best_walks") == 2


CHUNKED = [(70, 12, 12), (700, 40, 14), (3000, 33, 10)]


@emulated
@clause("6.4.1", "6.4.2", "6.4.3", "6.4.4")
@pytest.mark.parametrize(("dimensions", "bits", "chunk_bits"), [*CHUNKED, (3, 7, 8), (4000, 0, 12), (20011, 1500, 16)])
def test_the_receiver_of_pfr_makes_the_same_z(candidates, dimensions, bits, chunk_bits):
    own = np.random.default_rng(bits).integers(0, 2, bits, np.uint8)
    assert same(candidates.receive(own, dimensions, chunk_bits, 7, 9), pfr.receive(own, dimensions, chunk_bits, 7, 9))


@emulated
@clause("6.4.5")
@pytest.mark.parametrize(("dimensions", "bits", "chunk_bits"), CHUNKED)
def test_the_sender_of_pfr_chooses_the_same_candidates(candidates, dimensions, bits, chunk_bits):
    for fraction in (0.5, 3.0):  # the shift as it is, and shrunk
        shift = some_shift(dimensions, bits, fraction, bits)
        assert (
            candidates.send(shift, bits, chunk_bits, 4, 2).tolist() == pfr.send(shift, bits, chunk_bits, 4, 2).tolist()
        )


# --- compiled for GPUs

STATE_BITS = (8, 12, 13, 14, 15, 18)  # every way that the sender's kernels are laid out
SOURCES = [("noise", ()), ("pfr", ())] + [("trellis", (("STATE_BITS", n),)) for n in STATE_BITS]
CAPABILITIES = (80, 90, 120)
NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nvcc_compiles_every_kernel(capability, tmp_path):
    for source, defines in SOURCES:
        if not defines or defines[0][1] in (12, 14, 18):
            done = subprocess.run(
                [
                    NVCC,
                    f"-arch=sm_{capability}",
                    "-cubin",
                    *nvrtc.OPTIONS,
                    *(f"-D{k}={v}" for k, v in defines),
                    "-o",
                    str(tmp_path / "x.cubin"),
                    str(nvrtc.sources() / f"{source}.cu"),
                ],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0 and "warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nvrtc_compiles_every_kernel_and_keeps_it(capability, tmp_path, monkeypatch):
    bindings = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda.bindings is not installed")
    monkeypatch.setenv("SDF_CACHE", str(tmp_path))
    try:
        codes = [nvrtc.compile_source(source, capability, defines) for source, defines in SOURCES]
    except nvrtc.NoKernels as error:
        if "not there" not in str(error):
            raise
        pytest.skip(str(error))
    assert all(code.startswith(b"\x7fELF") for code in codes)
    monkeypatch.setattr(bindings, "nvrtcCreateProgram", None)  # no compiler is needed the second time
    assert [nvrtc.compile_source(source, capability, defines) for source, defines in SOURCES] == codes


def test_a_cached_kernel_that_was_damaged_is_not_used(tmp_path):
    path = tmp_path / "folder" / "x.cubin"
    cache.keep(path, b"machine code")
    assert cache.read(path) == b"machine code" and [p.name for p in path.parent.iterdir()] == ["x.cubin"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert cache.read(path) is None
    assert cache.read(tmp_path / "none") is None


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache.keep(tmp_path / "file" / "x.cubin", b"machine code")


# --- installed and chosen


def test_the_sources_lie_beside_the_package_or_in_the_repository():
    assert {"core.cuh", "tile.cuh", "noise.cu", "trellis.cu", "pfr.cu"} <= {
        path.name for path in nvrtc.sources().iterdir()
    }
    assert not (nvrtc.sources() / "__init__.py").exists()


def test_a_wheel_carries_the_sources_but_no_package_cuda():
    root = Path(__file__).parent.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert not list((root / "cuda").glob("*.py"))
    kept = {
        path
        for pattern in settings["package-data"]["sdf_format.cuda_sources"]
        for path in (root / "cuda").glob(pattern)
    }
    assert kept == set((root / "cuda").iterdir())


def test_without_kernels_the_coder_stays_on_the_cpu_and_says_why(monkeypatch):
    def refuse(device):
        raise nvrtc.NoKernels("NVRTC is on holiday")

    gpu._at.cache_clear()
    monkeypatch.setattr(nvrtc, "device", refuse)
    with pytest.warns(RuntimeWarning, match="NVRTC is on holiday"):
        assert gpu.on_device(trellis, torch.device("cuda")) == (trellis, torch.device("cpu"))
    gpu._at.cache_clear()
    assert gpu.on_device(trellis, None) == gpu.on_device(trellis, torch.device("cpu")) == (trellis, torch.device("cpu"))


# --- on a GPU: `pytest -m gpu`

gpu_only = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def on_gpu(coder) -> object:
    twin, device = gpu.on_device(coder, torch.device("cuda"))
    assert device.type == "cuda", "the kernels could not be had: see the warning"
    return twin


class TestOnAGpu:
    pytestmark = gpu_only

    @clause("6.3.7")
    @pytest.mark.parametrize(("dimensions", "bits", "state_bits"), [*RECEIVED, (1179648, 2300, 14), (98304, 40000, 12)])
    def test_the_receiver_makes_the_same_z(self, dimensions, bits, state_bits):
        own = np.random.default_rng(bits).integers(0, 2, bits, np.uint8)
        z = on_gpu(trellis).receive(own, dimensions, state_bits, 3, 4)
        assert z.is_cuda and same(z, trellis.receive(own, dimensions, state_bits, 3, 4))

    @clause("6.3.8")
    @pytest.mark.parametrize("fraction", [0.3, 1.5])
    @pytest.mark.parametrize(
        ("dimensions", "bits", "state_bits"),
        [
            *SENT,
            (98304, 2300, 8),
            (98304, 2300, 12),
            (98304, 2300, 14),
            (98304, 300, 15),
            (98304, 300, 16),
            (20000, 60, 17),
            (20000, 60, 18),
            (1179648, 2300, 14),
        ],
    )
    def test_the_sender_finds_the_same_walks(self, dimensions, bits, state_bits, fraction):
        shift = some_shift(dimensions, bits, fraction, state_bits)
        found = on_gpu(trellis).send(shift.cuda(), bits, state_bits, 9, 3)
        assert found.tolist() == trellis.send(shift, bits, state_bits, 9, 3).tolist()

    @clause("6.4.4", "6.4.5")
    @pytest.mark.parametrize(("dimensions", "bits", "chunk_bits"), [*CHUNKED, (3, 7, 8), (98304, 1000, 14)])
    def test_pfr_chooses_and_makes_the_same(self, dimensions, bits, chunk_bits):
        shift = some_shift(dimensions, bits, 1.0, bits)
        found = on_gpu(pfr).send(shift.cuda(), bits, chunk_bits, 4, 2)
        assert found.tolist() == pfr.send(shift, bits, chunk_bits, 4, 2).tolist()
        assert same(
            on_gpu(pfr).receive(found, dimensions, chunk_bits, 4, 2), pfr.receive(found, dimensions, chunk_bits, 4, 2)
        )

    def test_a_thread_that_never_touched_the_gpu_decodes(self):
        from concurrent.futures import ThreadPoolExecutor

        own = np.ones(100, np.uint8)
        with ThreadPoolExecutor(4) as pool:
            for z in pool.map(lambda _: on_gpu(trellis).receive(own, 3000, 12, 3, 4), range(8)):
                assert same(z, trellis.receive(own, 3000, 12, 3, 4))

    def test_a_picture_made_on_the_gpu_decodes_on_both(self):
        from pictures import picture

        from sdf_format import codec

        pixels = np.asarray(picture(192, 128).convert("RGB"))
        made = codec.encode(pixels, bpp=0.3, device="cuda").data
        there, here = (codec.decode_bytes(made, device=device)[0].astype(float) for device in ("cuda", "cpu"))
        assert math.sqrt(((there - here) ** 2).mean()) < 1.5
