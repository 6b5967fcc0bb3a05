"""CUDA kernels compiled from the package's sources when they are first used, and kept on disk.

NVRTC compiles and the driver loads, both through NVIDIA's `cuda.bindings`, which PyTorch's CUDA wheels for Linux bring
along with NVRTC itself: a user needs neither nvcc nor a CUDA toolkit, which torch.cuda's own loader asks for.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdf_format import cache
from sdf_format.errors import with_extra

OPTIONS = ("--std=c++17", "--fmad=false")
STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel gets without asking
Value = Tensor | int | float


class NoKernels(RuntimeError):
    """The kernels cannot be had on this machine; the message says why."""


def sources() -> Path:
    """The folder of the .cu and .cuh files: in this package where it is installed, the repository's cuda/ otherwise."""
    package = Path(__file__).parents[2]
    installed = package / "cuda_sources"
    return installed if installed.is_dir() else package.parent / "cuda"


def _checked(result: tuple[Any, ...], what: str) -> Any:
    """What a call of cuda.bindings returned behind its status: nothing, one thing or a list."""
    status, *values = result
    if int(status) != 0:
        raise NoKernels(f"{what}: {status.name if hasattr(status, 'name') else status}")
    return values[0] if len(values) == 1 else values


def compile_source(name: str, capability: int, defines: Sequence[tuple[str, int]] = ()) -> bytes:
    """Machine code of cuda/<name>.cu for a compute capability (90 for 9.0), or PTX where this NVRTC does not know it
    yet; from the cache if it was compiled before. NoKernels if NVRTC is missing or refuses.
    """
    try:
        from cuda.bindings import nvrtc

        version = _checked(nvrtc.nvrtcVersion(), "NVRTC's version")
        known = _checked(nvrtc.nvrtcGetSupportedArchs(), "NVRTC's architectures")
    except (ImportError, RuntimeError, OSError) as error:
        raise NoKernels(f"NVRTC is not there: {error}; {with_extra('cuda')}") from error
    folder = sources()
    texts = {path.name: path.read_bytes() for path in [folder / f"{name}.cu", *sorted(folder.glob("*.cuh"))]}
    exact = capability in known
    target = f"sm_{capability}" if exact else f"compute_{max((k for k in known if k < capability), default=min(known))}"
    options = [f"--gpu-architecture={target}", *OPTIONS, *(f"-D{key}={value}" for key, value in defines)]
    identity = hashlib.sha256(repr((tuple(version), options, texts)).encode()).hexdigest()
    path = cache.place(f"{name}-{identity[:32]}.{'cubin' if exact else 'ptx'}")
    if (code := cache.read(path)) is not None:
        return code
    main, *headers = texts
    program = _checked(
        nvrtc.nvrtcCreateProgram(
            texts[main], main.encode(), len(headers), [texts[h] for h in headers], [h.encode() for h in headers]
        ),
        "NVRTC",
    )
    try:
        encoded = [option.encode() for option in options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        if int(status) != 0:
            log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program), "NVRTC's log")
            _checked(nvrtc.nvrtcGetProgramLog(program, log), "NVRTC's log")
            raise NoKernels(f"NVRTC refuses {main} for {target}: {log.decode(errors='replace').strip(chr(0)).strip()}")
        size, get = (
            (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN) if exact else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
        )
        code = b" " * _checked(size(program), "NVRTC's result")
        _checked(get(program, code), "NVRTC's result")
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    cache.keep(path, code)
    return code


def pack(values: Sequence[Value]) -> tuple[ctypes.Array[ctypes.c_void_p], list[Any]]:
    """The argument array of a launch, and what must live as long: tensors as pointers, int as u32, float as float."""
    kept = [
        ctypes.c_void_p(v.data_ptr())
        if isinstance(v, Tensor)
        else ctypes.c_float(v)
        if isinstance(v, float)
        else ctypes.c_uint32(v)
        for v in values
    ]
    return (ctypes.c_void_p * len(kept))(*(ctypes.addressof(k) for k in kept)), kept


class Device:
    """The kernels on one GPU."""

    def __init__(self, device: torch.device):
        """NoKernels if they cannot be compiled or loaded here."""
        if torch.version.hip:
            raise NoKernels("this PyTorch is for AMD's GPUs, whose compiler the kernels have not met")
        try:
            from cuda.bindings import driver

            _checked(driver.cuInit(0), "CUDA's driver")
        except (ImportError, RuntimeError, OSError) as error:
            raise NoKernels(f"cuda.bindings is not there or finds no driver: {error}; {with_extra('cuda')}") from error
        self.driver = driver
        self.device = torch.device(device.type, torch.cuda.current_device() if device.index is None else device.index)
        major, minor = torch.cuda.get_device_capability(self.device)
        self.capability = 10 * major + minor
        self._functions: dict[object, Any] = {}
        self._lock = threading.Lock()
        compile_source("noise", self.capability)  # fails here and now if ever

    def launch(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        values: Sequence[Value],
        defines: tuple[tuple[str, int], ...] = (),
        shared: int = 0,
    ) -> None:
        """Queue a kernel of cuda/<source>.cu on PyTorch's current stream.

        grid: blocks; threads: of a block; shared: dynamic [byte].
        """
        for v in values:
            if isinstance(v, Tensor) and (v.device != self.device or not v.is_contiguous()):
                raise ValueError(f"{kernel}: a tensor on {v.device} that is not contiguous on {self.device}")
        with torch.cuda.device(self.device):
            function = self._function(source, kernel, defines, shared)
            arguments, kept = pack(values)
            stream = self.driver.CUstream(torch.cuda.current_stream(self.device).cuda_stream)
            _checked(
                self.driver.cuLaunchKernel(
                    function, *grid, 1, threads, 1, 1, shared, stream, ctypes.addressof(arguments), 0
                ),
                kernel,
            )
            del kept

    def _function(self, source: str, kernel: str, defines: tuple[tuple[str, int], ...], shared: int) -> Any:
        driver = self.driver
        with self._lock:
            # a thread that has not touched the GPU yet
            if int(_checked(driver.cuCtxGetCurrent(), "CUDA's context")) == 0:
                place = _checked(driver.cuDeviceGet(self.device.index), "CUDA's device")
                _checked(
                    driver.cuCtxSetCurrent(_checked(driver.cuDevicePrimaryCtxRetain(place), "CUDA's context")),
                    "CUDA's context",
                )
            if (source, defines, kernel) not in self._functions:
                module = self._functions.get((source, defines))
                if module is None:
                    code = compile_source(source, self.capability, defines) + b"\0"
                    buffer = ctypes.create_string_buffer(code, len(code))
                    module = _checked(driver.cuModuleLoadData(ctypes.addressof(buffer)), f"loading {source}.cu")
                    self._functions[source, defines] = module
                function = _checked(driver.cuModuleGetFunction(module, kernel.encode()), kernel)
                if shared > STATIC_SHARED:
                    limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                    _checked(driver.cuFuncSetAttribute(function, limit, shared), kernel)
                self._functions[source, defines, kernel] = function
            return self._functions[source, defines, kernel]


@functools.cache
def device(which: torch.device) -> Device:
    """The kernels on a GPU, the same ones each time."""
    return Device(which)
