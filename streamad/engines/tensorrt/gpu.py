"""CUDA through PyCUDA: one GPU's primary context, its memory and its streams.

The primary context is the one that torch and the CUDA runtime inside TensorRT use, so all share one. PyCUDA knows what
is current by thread: every use is inside `Gpu.current()`, freeing included. The context is retained once for each GPU
and kept until the process ends, as torch does: PyCUDA's way to release it leaves it on the thread's stack.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import re
import threading
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
    """The number of a GPU named "cuda:1", "gpu:1" or "1"; "cuda", "gpu" and None are the first.

    Raises:
        EngineError: it is no name of a GPU.
    """
    found = re.fullmatch(r"(?:(?:cuda|gpu)(?::(\d+))?|(\d+))", (device or "cuda").strip().lower())
    if found is None:
        raise EngineError(
            f"there is no GPU {device!r}", hint="name it by number: `device: cuda:0`, `cuda:1`; empty is the first"
        )
    return int(found[1] or found[2] or 0)


class Gpu:
    """One GPU.

    Args:
        index: its number, from 0, in CUDA's order.

    Attributes:
        index: its number.
        name: in the vendor's words.
        capability: compute capability, (major, minor).

    Raises:
        GpuUnavailableError: no PyCUDA, no driver, or no GPU of that number.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda = _driver()
        with _lock:
            try:
                self._cuda.init()
                count = self._cuda.Device.count()
                if index >= count:
                    raise GpuUnavailableError(
                        f"there is no GPU {index}: the driver knows {count}, numbered from 0",
                        hint="set `engine.device` to one of them; CUDA_VISIBLE_DEVICES may hide some",
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
                    hint="`nvidia-smi` shows whether the driver works; a reboot after its update helps",
                ) from error
        self._context = _contexts[index]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current in this thread for the length of the block.

        Raises:
            GpuMemoryError: CUDA ran out of memory inside the block.
            EngineError: CUDA failed inside the block.
        """
        try:
            self._context.push()
        except self._cuda.Error as error:
            raise self._translated(error) from error
        try:
            yield
        except self._cuda.Error as error:
            raise self._translated(error) from error
        finally:
            self._cuda.Context.pop()

    def memory(self) -> tuple[int, int]:
        """(free, all) bytes of the GPU's memory, other processes counted; inside `current()`."""
        free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    def stream(self) -> Any:
        """A stream of one's own; it is destroyed with its last reference, inside `current()`."""
        return self._cuda.Stream()

    def allocate(self, size: int) -> Any:
        """Device memory of `size` bytes, aligned to 256; `.free()` it inside `current()`."""
        return self._cuda.mem_alloc(max(size, 1))

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array in page-locked memory, without which copies are not asynchronous; see `free_pinned`."""
        array: Array = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def free_pinned(self, array: Array) -> None:
        """Free what `pinned` gave, inside `current()`; the array must not be used afterwards."""
        base: Any = array.base
        base.free()

    def free_after(self, wait: Callable[[], None], free: Callable[[], None]) -> None:
        """Wait for what runs, then free what it used, the stream too, with the context current.

        A GPU that failed before is logged, not raised again: freeing is the last thing that is asked of it.
        """
        try:
            with self.current():
                try:
                    wait()
                finally:
                    free()
        except EngineError as error:
            _log.error("while freeing the GPU: %s", str(error))

    def upload(self, memory: Any, array: Array, stream: Any) -> None:
        """Queue a copy of a contiguous pinned array to the GPU; memory is an allocation or an address."""
        self._cuda.memcpy_htod_async(memory, array, stream)

    def copy(self, target: int, source: int, size: int, stream: Any) -> None:
        """Queue a copy of `size` bytes from one address on the GPU to another; they do not overlap."""
        self._cuda.memcpy_dtod_async(target, source, size, stream)

    def download(self, array: Array, memory: Any, stream: Any) -> None:
        """Queue a copy from the GPU into a contiguous pinned array; read it after `stream.synchronize()`."""
        self._cuda.memcpy_dtoh_async(array, memory, stream)

    def _translated(self, error: Exception) -> EngineError:
        if isinstance(error, self._cuda.MemoryError):
            return GpuMemoryError(
                f"GPU {self.index} ({self.name}) is out of memory: {error}",
                hint="free memory on it (`nvidia-smi` shows who holds it), use another with `engine.device`, or fp16",
            )
        return EngineError(
            f"GPU {self.index} ({self.name}) failed: {error}",
            hint="an error of a kernel spoils the context: restart the process; `dmesg` shows faults of the hardware",
        )


def _release() -> None:
    """Give the contexts back when the process ends: PyCUDA's destructor would call what is not for primary contexts."""
    with _lock:
        for context in _contexts.values():
            context.detach()
        _contexts.clear()


def _driver() -> Any:
    """PyCUDA's module of the driver API."""
    try:
        return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise GpuUnavailableError(
            f"the module {error.name} is not installed",
            hint=f"{install_hint('gpu')}; PyCUDA is compiled, which needs the CUDA toolkit",
        ) from error
    except ImportError as error:  # PyCUDA is linked to libcuda.so.1, which the driver brings
        raise GpuUnavailableError(
            f"PyCUDA cannot be loaded: {error}", hint="install the NVIDIA driver; `streamad doctor` shows what is there"
        ) from error


def as_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Bytes of an array."""
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)
