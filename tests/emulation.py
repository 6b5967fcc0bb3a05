"""CUDA's kernels run by a CPU: the .cu files as they are, compiled by g++ with tests/emulator/cuda_on_cpu.hpp in CUDA's
place.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import torch

from sdf_format.coding.rcc import nvrtc

COMPILER = shutil.which("g++")
EMULATOR = Path(__file__).parent / "emulator"


class Emulation:
    """Stands for nvrtc.Device.  descending: the threads of a block take turns from the last to the first."""

    device = torch.device("cpu")

    def __init__(self, folder: Path, descending: bool = False):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.descending = descending
        self.launched: list[str] = []

    def library(self, source: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        path = self.folder / ("-".join([source, *(f"{k}{v}" for k, v in defines)]) + ".so")
        if not path.exists():
            subprocess.run(
                [
                    COMPILER,
                    "-std=c++17",
                    "-O1",
                    "-shared",
                    "-fPIC",
                    f"-I{nvrtc.sources()}",
                    f"-I{EMULATOR}",
                    *(f"-D{k}={v}" for k, v in defines),
                    str(EMULATOR / f"{source}.cpp"),
                    "-o",
                    str(path),
                ],
                check=True,
            )
        return ctypes.CDLL(str(path))

    def launch(self, source, kernel, grid, threads, values, defines=(), shared=0) -> None:
        assert 1 <= grid[0] < 1 << 31 and 1 <= grid[1] < 1 << 16 and 1 <= threads <= 1024 and shared <= 96 << 10, (
            "no GPU takes this"
        )
        for v in values:
            assert not isinstance(v, torch.Tensor) or v.is_contiguous()
            assert not isinstance(v, int) or 0 <= v < 1 << 32
        arguments, kept = nvrtc.pack(values)
        run = getattr(self.library(source, defines), f"emulate_{kernel}")
        assert run((ctypes.c_uint * 2)(*grid), threads, shared, arguments, ctypes.c_bool(self.descending)) == 0, kernel
        self.launched.append(kernel)
        del kept
