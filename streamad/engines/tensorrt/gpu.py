"""CUDA through PyCUDA: the primary context, memory and streams of one GPU.

torch and the CUDA runtime inside TensorRT also use the primary context, so all share one. PyCUDA tracks the current
context per thread: every use must be inside `Gpu.current()`, including freeing. The context is retained once per GPU
and kept until the process ends, as in torch, because PyCUDA's way to release it leaves it on the thread's stack.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.engines.tensorrt.failures import GpuMemoryError, GpuUnavailableError
from streamad.errors import EngineError, install_hint

Array = npt.NDArray[Any]

_log = logging.getLogger(__name__)

_contexts: dict[int, Any] = {}
_lock = threading.Lock()


def gpu_index(device: str | None) -> int:
    """Parse a GPU index: "cuda:1", "gpu:1" or "1"; "cuda", "gpu" and None are the first GPU.

    Raises:
        EngineError: If the text is not a GPU name.
    """
    found = re.fullmatch(r"(?:(?:cuda|gpu)(?::(\d+))?|(\d+))", (device or "cuda").strip().lower())
    if found is None:
        raise EngineError(
            f"{device!r} is not a GPU", hint="use its number, `device: cuda:0` or `cuda:1`; empty: the first GPU"
        )
    return int(found[1] or found[2] or 0)


class Gpu:
    """One GPU.

    Args:
        index: GPU index from 0, in CUDA's order.

    Attributes:
        index: GPU index.
        name: The vendor's name for the GPU.
        capability: Compute capability, (major, minor).

    Raises:
        GpuUnavailableError: If there is no PyCUDA, no driver, or no GPU with that index.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda = _driver()
        with _lock:
            try:
                self._cuda.init()
                count = self._cuda.Device.count()
                if index >= count:
                    raise GpuUnavailableError(
                        f"there is no GPU {index}: the driver reports {count}, numbered from 0",
                        hint="set `engine.device` to one of them; check CUDA_VISIBLE_DEVICES",
                    )
                device = self._cuda.Device(index)
                self.index = index
                self.name = str(device.name())
                self.capability: tuple[int, int] = tuple(device.compute_capability())
                if index not in _contexts:
                    if not _contexts:
                        atexit.register(_release)
                    _contexts[index] = device.retain_primary_context()
            except self._cuda.Error as error:
                raise GpuUnavailableError(
                    f"the NVIDIA driver cannot use GPU {index}: {error}",
                    hint="check the driver with `nvidia-smi`; reboot after a driver update",
                ) from error
        self._context = _contexts[index]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current in this thread within the block.

        The local variables of the frames that an error passed through are cleared: a stored error would otherwise keep
        contexts and plans alive past `close`, with no CUDA context current.

        Raises:
            GpuMemoryError: If CUDA runs out of memory inside the block.
            EngineError: If CUDA fails inside the block.
        """
        try:
            self._context.push()
        except self._cuda.Error as error:
            raise self._translated(error) from error
        try:
            yield
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, self._cuda.Error):
                raise self._translated(error) from error
            raise
        finally:
            self._cuda.Context.pop()

    def memory(self) -> tuple[int, int]:
        """Free and total GPU memory in bytes, over all processes. Call inside `current()`."""
        free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    def stream(self) -> Any:
        """Create a stream. It is destroyed with its last reference, which must happen inside `current()`."""
        return self._cuda.Stream()

    def allocate(self, size: int) -> Any:
        """Allocate `size` bytes of device memory, aligned to 256. Call `.free()` on it inside `current()`."""
        return self._cuda.mem_alloc(max(size, 1))

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Allocate an array in page-locked memory, which asynchronous copies require; see `free_pinned`."""
        array: Array = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def free_pinned(self, array: Array) -> None:
        """Free an array from `pinned`, inside `current()`. Do not use the array afterwards."""
        base: Any = array.base
        base.free()

    def free_after(self, wait: Callable[[], None], free: Callable[[], None]) -> None:
        """Wait for running work, then free its resources, including the stream, with the context current.

        Errors are logged and not raised, because freeing is the last operation on the GPU.
        """
        try:
            with self.current():
                try:
                    wait()
                finally:
                    free()
        except EngineError as error:
            _log.error("error while freeing GPU resources: %s", str(error))

    def upload(self, memory: Any, array: Array, stream: Any) -> None:
        """Queue a copy of a contiguous pinned array to the GPU. `memory` is an allocation or an address."""
        self._cuda.memcpy_htod_async(memory, array, stream)

    def copy(self, target: int, source: int, size: int, stream: Any) -> None:
        """Queue a copy of `size` bytes between two non-overlapping addresses on the GPU."""
        self._cuda.memcpy_dtod_async(target, source, size, stream)

    def download(self, array: Array, memory: Any, stream: Any) -> None:
        """Queue a copy from the GPU to a contiguous pinned array. Read it after `stream.synchronize()`."""
        self._cuda.memcpy_dtoh_async(array, memory, stream)

    def _translated(self, error: Exception) -> EngineError:
        if isinstance(error, self._cuda.MemoryError):
            return GpuMemoryError(
                f"GPU {self.index} ({self.name}) is out of memory: {error}",
                hint="free memory on it (`nvidia-smi` shows its users), use another with `engine.device`, or fp16",
            )
        return EngineError(
            f"GPU {self.index} ({self.name}) failed: {error}",
            hint="restart the process, because the CUDA context is unusable; check `dmesg` for hardware errors",
        )


def _release() -> None:
    """Release the contexts at exit. PyCUDA's destructor would make a call that is invalid for primary contexts."""
    with _lock:
        for context in _contexts.values():
            context.detach()
        _contexts.clear()


def _driver() -> Any:
    """Import PyCUDA's driver API."""
    try:
        return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise GpuUnavailableError(
            f"the module {error.name} is not installed",
            hint=f"{install_hint('gpu')}; building PyCUDA requires the CUDA toolkit",
        ) from error
    except ImportError as error:  # PyCUDA links to libcuda.so.1, which is part of the driver
        raise GpuUnavailableError(
            f"PyCUDA cannot be loaded: {error}",
            hint="install the NVIDIA driver; `streamad doctor` shows what is installed",
        ) from error


def as_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Size of an array, bytes."""
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)
