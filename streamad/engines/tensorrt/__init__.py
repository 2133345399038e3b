"""TensorRT and TensorRT-RTX behind the common engine interface, and whether they can run here.

The package itself checks that without loading a library: by the driver's C API and module specs.

`api` declares every library call in use, `library` loads a library,
`building` builds a plan from an ONNX file, `plan_cache` stores it, `loading` loads it, `contexts` creates its contexts,
`gpu` manages CUDA's context, `runner` runs batches, and `engine` combines them. For stateful networks, `device_buffers`
is each camera's memory on the GPU, `stateful_runner` runs them on it, and `stateful` combines them. `selftest` and
`selftest_stateful` compare the results with ONNX Runtime on the user's GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache

from streamad.engines.tensorrt.library import EXTRAS, MODULES, LibraryName
from streamad.errors import install_hint

_CODES = {
    100: "no GPU found",
    803: "driver components have different versions: reboot or reinstall the driver",
    804: "older than this container requires",
    999: "unknown error: the kernel module may not be loaded",
}
"""Error codes of cuInit and cuDeviceGetCount (source: cuda.h)."""


@cache
def driver_problem() -> str:
    """Reason why there is no usable GPU; "" if there is one. Checked once per process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 was not found)"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return f"the NVIDIA driver failed with code {code}: {_CODES.get(code, 'see CUresult in cuda.h')}"
    return "" if count.value > 0 else "the NVIDIA driver found no GPU"


def gpu_names() -> list[str]:
    """Names of the GPUs in CUDA's order; empty if there is no driver."""
    if driver_problem():
        return []
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(text, 256, index)  # a device handle is its index
        names.append(text.value.decode(errors="replace") or f"GPU {index}")
    return names


def gpu_problem(name: LibraryName) -> str:
    """All reasons why the engine cannot run here; "" if it can."""
    problems = []
    for module in (MODULES[name], "pycuda"):
        if importlib.util.find_spec(module) is None:
            problems.append(f"the module {module} is not installed ({install_hint(EXTRAS[name])})")
    driver = driver_problem()
    return "; ".join([*problems, driver] if driver else problems)
