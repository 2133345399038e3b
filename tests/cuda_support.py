"""A stand-in for `pycuda.driver` that enforces CUDA's rules. Its GPUs are pieces of this process's memory.

It raises an error for what a real GPU might or might not tolerate: calls without a current context, copies from memory
that is not pinned, buffers that are too small, double frees and uses after a free. Copies and kernels run when their
stream is synchronized and not before, so that a result that is read too early is wrong.

`scripts/check_pycuda.py` runs the same tests with the real PyCUDA and a stand-in for the driver below it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np

POISON = 0xA5
"""Content of fresh memory, so that unwritten memory is not accidentally zero."""


class Stage(Protocol):
    """What a stand-in for TensorRT requires of the GPU below it."""

    def launch(self, stream: int, kernel: Callable[[], None]) -> None:
        """Run `kernel` when the stream reaches it."""

    def view(self, address: int, size: int) -> np.ndarray:
        """Return device memory as bytes."""

    def require_context(self, what: str) -> None:
        """Fail if no context is current in this thread."""

    def has_context(self) -> bool:
        """Whether a context is current in this thread."""

    def limit(self, memory: int) -> None:
        """Set the memory of each GPU, bytes."""

    def live(self) -> dict[str, int]:
        """Count device allocations, pinned allocations and streams that have not been freed."""

    def broken_rules(self) -> list[str]:
        """List the caller's violations for which no exception could be raised."""


class Error(Exception):
    """Base of CUDA's errors."""


class LogicError(Error):
    """A call violated a rule."""


class CudaMemoryError(Error):
    """Out of memory."""


class PythonStage:
    """The stand-in's GPUs and their allocations.

    Args:
        gpus: Number of GPUs.
        memory: Memory of each, bytes.
    """

    def __init__(self, gpus: int = 2, memory: int = 1 << 30) -> None:
        self.gpus = gpus
        self.memory = memory
        self.retained: list[int] = []
        self.faults: list[str] = []
        """Violations for which no exception can be raised."""
        self.used = 0
        self.broken = False
        """Whether a kernel has failed. From then on every call of the context fails, as on a real GPU."""
        self._blocks: dict[int, np.ndarray] = {}
        self._pinned: dict[int, int] = {}
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._next_stream = 0x1000
        self._lock = threading.RLock()
        self._local = threading.local()

    @property
    def stack(self) -> list[Any]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Any] = self._local.stack
        return stack

    def require_context(self, what: str) -> None:
        if not self.stack:
            self.faults.append(f"{what}: no context is current in this thread")
            raise LogicError(f"{what} failed: invalid device context")
        if self.broken and "Free" not in what:
            raise LogicError(f"{what} failed: an illegal memory access was encountered")

    def has_context(self) -> bool:
        return bool(self.stack)

    def limit(self, memory: int) -> None:
        self.memory = memory

    def broken_rules(self) -> list[str]:
        return list(self.faults)

    def allocate(self, size: int) -> int:
        self.require_context("cuMemAlloc")
        with self._lock:
            if self.used + size > self.memory:
                raise CudaMemoryError("cuMemAlloc failed: out of memory")
            block = np.full(size + 512, POISON, np.uint8)
            address = (block.ctypes.data + 255) // 256 * 256
            self._blocks[address] = block
            self.used += size
            return address

    def free(self, address: int, size: int) -> None:
        with self._lock:
            if self._blocks.pop(address, None) is None:
                self.faults.append("cuMemFree of what is not allocated")
                raise LogicError("cuMemFree failed: invalid argument")
            self.used -= size

    def view(self, address: int, size: int) -> np.ndarray:
        with self._lock:
            for start, block in self._blocks.items():
                if start <= address and address + size <= block.ctypes.data + len(block):
                    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (size,))
        self.faults.append(f"{size} bytes at {address:#x} are not allocated")
        raise LogicError("an illegal memory access was encountered")

    def pin(self, address: int, size: int) -> None:
        self._pinned[address] = size

    def unpin(self, address: int) -> None:
        if self._pinned.pop(address, None) is None:
            self.faults.append("cuMemFreeHost of what is not allocated")
            raise LogicError("cuMemFreeHost failed: invalid argument")

    def is_pinned(self, array: np.ndarray) -> bool:
        start = array.ctypes.data
        return any(a <= start and start + array.nbytes <= a + size for a, size in self._pinned.items())

    def open_stream(self) -> int:
        self.require_context("cuStreamCreate")
        with self._lock:
            self._next_stream += 1
            self._streams[self._next_stream] = []
            return self._next_stream

    def close_stream(self, handle: int) -> None:
        if not self.stack:
            self.faults.append("a stream was destroyed without a context")
        if self._streams.pop(handle, None):
            self.faults.append("a stream was destroyed with work in it")

    def launch(self, stream: int, kernel: Callable[[], None]) -> None:
        if stream not in self._streams:
            raise LogicError("invalid resource handle")
        self._streams[stream].append(kernel)

    def synchronize(self, stream: int) -> None:
        self.require_context("cuStreamSynchronize")
        waiting, self._streams[stream] = self._streams[stream], []
        for work in waiting:
            try:
                work()
            except LogicError:
                self.broken = True
                raise

    def live(self) -> dict[str, int]:
        return {"device": len(self._blocks), "pinned": len(self._pinned), "streams": len(self._streams)}


class DriverStage:
    """The stand-in for the driver itself (tests/standins/libcuda.c), below the real PyCUDA.

    Args:
        path: The built library. It is already loaded by LD_PRELOAD.
    """

    def __init__(self, path: str) -> None:
        self._lib = ctypes.CDLL(path)
        self._kernels: list[Any] = []  # keeps callbacks alive until they have run
        self._start = self._count()[0]
        self.limit(1 << 30)

    def launch(self, stream: int, kernel: Callable[[], None]) -> None:
        once = [kernel]
        # Pop the kernel, so that the callback, which C may still be executing, holds no reference after it has run.
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: once.pop()())
        self._kernels.append(call)
        assert self._lib.standin_launch(ctypes.c_void_p(stream), call, None) == 0

    def view(self, address: int, size: int) -> np.ndarray:
        assert self._lib.standin_allocated(ctypes.c_void_p(address), ctypes.c_size_t(size)), "memory is not allocated"
        return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (size,))

    def has_context(self) -> bool:
        return bool(self._lib.standin_has_context())

    def require_context(self, what: str) -> None:
        assert self.has_context(), f"{what}: no context is current in this thread"

    def limit(self, memory: int) -> None:
        self._lib.standin_set_memory(ctypes.c_size_t(memory))

    def live(self) -> dict[str, int]:
        device, pinned, streams = (ctypes.c_int() for _ in range(3))
        self._lib.standin_live(ctypes.byref(device), ctypes.byref(pinned), ctypes.byref(streams))
        return {"device": device.value, "pinned": pinned.value, "streams": streams.value}

    def broken_rules(self) -> list[str]:
        count, text = self._count()
        return [text] * (count - self._start)

    def _count(self) -> tuple[int, str]:
        text = ctypes.create_string_buffer(256)
        return self._lib.standin_faults(text, 256), text.value.decode()


def python_driver(stage: PythonStage) -> ModuleType:
    """Create a module with the names of `pycuda.driver` that streamad uses."""
    module = ModuleType("pycuda.driver")

    class Context:
        def __init__(self, gpu: int) -> None:
            self.gpu = gpu

        def push(self) -> None:
            stage.stack.append(self)

        def detach(self) -> None:
            stage.retained.remove(self.gpu)

        @staticmethod
        def pop() -> None:
            if not stage.stack:
                raise LogicError("context::pop failed: cannot pop non-current context")
            stage.stack.pop()

    class Device:
        def __init__(self, index: int) -> None:
            if not 0 <= index < stage.gpus:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")
            self.index = index

        @staticmethod
        def count() -> int:
            return stage.gpus

        def name(self) -> str:
            return f"Stand-in {self.index}"

        def compute_capability(self) -> tuple[int, int]:
            return (8, 9)

        def retain_primary_context(self) -> Context:
            stage.retained.append(self.index)
            return Context(self.index)

    class Stream:
        def __init__(self) -> None:
            self.handle = stage.open_stream()

        def synchronize(self) -> None:
            stage.synchronize(self.handle)

        def __del__(self) -> None:
            if hasattr(self, "handle"):
                stage.close_stream(self.handle)

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self.size = size
            self.address = stage.allocate(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            stage.require_context("cuMemFree")
            stage.free(self.address, self.size)

    class HostAllocation:
        def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
            stage.require_context("cuMemHostAlloc")
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            self.memory = (ctypes.c_uint8 * max(size, 1))()
            ctypes.memset(self.memory, POISON, size)
            self.address = ctypes.addressof(self.memory)
            stage.pin(self.address, size)
            typestr = np.dtype(dtype).str
            self.__array_interface__ = {"shape": shape, "typestr": typestr, "data": (self.address, False), "version": 3}

        def free(self) -> None:
            stage.require_context("cuMemFreeHost")
            stage.unpin(self.address)

    def pagelocked_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(HostAllocation(shape, dtype))

    def checked(memory: DeviceAllocation, array: np.ndarray, what: str) -> int:
        stage.require_context(what)
        if not array.flags.c_contiguous:
            raise LogicError(f"{what}: the array is not contiguous")
        if not stage.is_pinned(array):
            stage.faults.append(f"{what}: the array is not pinned, so the copy would wait")
        return array.nbytes

    def memcpy_htod_async(memory: DeviceAllocation, array: np.ndarray, stream: Stream) -> None:
        size, source = checked(memory, array, "cuMemcpyHtoDAsync"), array.ctypes.data
        target = int(memory)
        stage.launch(stream.handle, lambda: ctypes.memmove(stage.view(target, size).ctypes.data, source, size))

    def memcpy_dtoh_async(array: np.ndarray, memory: DeviceAllocation, stream: Stream) -> None:
        size, target = checked(memory, array, "cuMemcpyDtoHAsync"), array.ctypes.data
        source = int(memory)
        stage.launch(stream.handle, lambda: ctypes.memmove(target, stage.view(source, size).ctypes.data, size))

    def memcpy_dtod_async(target: int, source: int, size: int, stream: Stream) -> None:
        stage.require_context("cuMemcpyDtoDAsync")
        if abs(target - source) < size:
            stage.faults.append("cuMemcpyDtoDAsync: the two pieces of memory overlap")
        where = int(target), int(source)

        def copy() -> None:
            to, of = (stage.view(address, size) for address in where)
            to[:] = of

        stage.launch(stream.handle, copy)

    def mem_get_info() -> tuple[int, int]:
        stage.require_context("cuMemGetInfo")
        return stage.memory - stage.used, stage.memory

    for name, value in {
        "Error": Error, "LogicError": LogicError, "MemoryError": CudaMemoryError, "Context": Context, "Device": Device,
        "Stream": Stream, "init": lambda: None, "mem_alloc": DeviceAllocation, "pagelocked_empty": pagelocked_empty,
        "memcpy_htod_async": memcpy_htod_async, "memcpy_dtoh_async": memcpy_dtoh_async,
        "memcpy_dtod_async": memcpy_dtod_async, "mem_get_info": mem_get_info,
    }.items():  # fmt: skip
        setattr(module, name, value)
    return module
