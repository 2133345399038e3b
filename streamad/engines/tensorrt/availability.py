"""Whether a GPU engine can run here, asked without loading it: the driver by its C interface, modules by spec."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache

from streamad.engines.tensorrt.library import EXTRAS, MODULES, LibraryName
from streamad.errors import install_hint

_CODES = {
    100: "it finds no GPU",
    803: "its parts are of different versions: reboot, or install the driver again",
    804: "it is older than what this container needs",
    999: "unknown error: the kernel module may not be loaded",
}
"""What cuInit and cuDeviceGetCount answer (source: cuda.h)."""


@cache
def driver_problem() -> str:
    """Why there is no usable GPU; "" where there is one. Asked once for each process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 is not found)"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return f"the NVIDIA driver fails with code {code}: {_CODES.get(code, 'see CUresult in cuda.h')}"
    return "" if count.value > 0 else "the NVIDIA driver finds no GPU"


def gpu_names() -> list[str]:
    """Names of the GPUs in CUDA's order; empty without a driver."""
    if driver_problem():
        return []
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(text, 256, index)  # a device's handle is its number
        names.append(text.value.decode(errors="replace") or f"GPU {index}")
    return names


def gpu_problem(name: LibraryName) -> str:
    """Everything that keeps the engine from running here; "" where nothing does."""
    problems = []
    for module in (MODULES[name], "pycuda"):
        if importlib.util.find_spec(module) is None:
            problems.append(f"the module {module} is not installed ({install_hint(EXTRAS[name])})")
    driver = driver_problem()
    return "; ".join([*problems, driver] if driver else problems)
