"""A ring of frames in shared memory, from a decoder process to the main process.

The memory is an anonymous file (`memfd`) passed as a descriptor. It has no name that could be left behind, is not
limited by the size of /dev/shm (64 MB in containers), and is freed by the kernel when both processes are gone, however
they ended.

One process writes and one reads. A POSIX record lock, which the kernel releases when its holder dies, guards the header
and the slot states. Pixels are copied outside the lock, while the slot's state reserves it for one side.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from streamad.errors import StreamadError
from streamad.frame import FrameFlags, UInt8Image
from streamad.protocols import Closeable
from streamad.sources.failures import FailureReason, source_error

_HEADER = struct.Struct("=QQQQII")  # slots, capacity, frames, dropped, notified, waiting
_HEARTBEAT = struct.Struct("=d")
_HEARTBEAT_AT = 56  # aligned, so that it can be written atomically without the lock
_SLOT = struct.Struct("=IIQQddII")  # state, flags, sequence, index, pts_seconds, received_at, height, width
_HEADER_BYTES = 64
_SLOT_BYTES = 64
_MAX_BYTES = 1 << 29
"""Maximum size of one ring: six pictures of 85 megapixels, twice the area of 8K. Chosen without measurement."""
_LOCK_SECONDS = 1.0
"""The lock is normally held for microseconds. A longer hold means that its holder is suspended."""


class RingError(StreamadError, RuntimeError):
    """The shared memory is unavailable, or the other process holds its lock for too long."""


class _State(IntEnum):
    FREE, WRITING, READY, READING = range(4)


@dataclass(frozen=True, slots=True)
class RingFrame:
    """A frame as passed through shared memory.

    Attributes:
        index: Frame number in the decoder process, from 0.
        pts_seconds: Seconds since that process's first frame.
        received_at: Seconds of `time.monotonic()`, which all processes of the machine share.
        flags: The frame's flags, plus DISCONTINUITY inherited from frames dropped before it.
        pixels: (H, W) uint8 pixels, full range; a copy.
    """

    index: int
    pts_seconds: float
    received_at: float
    flags: FrameFlags
    pixels: UInt8Image


class Ring(Closeable):
    """One process's view of a ring. The methods are marked by the side that may call them.

    Args:
        descriptor: Descriptor of the anonymous file. The ring takes ownership.

    Raises:
        RingError: If the file cannot be mapped.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        try:
            self._map = mmap.mmap(descriptor, 0)
        except (OSError, ValueError) as error:
            os.close(descriptor)
            raise RingError(f"cannot map the shared frames: {error}") from error
        self.slots, self.capacity = _HEADER.unpack_from(self._map)[:2]
        self._data_at = _HEADER_BYTES + self.slots * _SLOT_BYTES
        self._closed = False

    @classmethod
    def create(cls, slots: int, capacity: int) -> Ring:
        """Create a ring of `slots` slots of `capacity` bytes each.

        At least 3 slots are required: one being read, one being written and one waiting.

        Raises:
            SourceMemoryError: If it exceeds a camera's share of memory.
            RingError: If the system cannot provide the memory.
        """
        if slots < 3 or capacity < 1:
            raise ValueError(f"a ring needs at least 3 slots of at least 1 byte, got {slots} of {capacity}")
        size = _HEADER_BYTES + slots * (_SLOT_BYTES + capacity)
        if size > _MAX_BYTES:
            raise source_error(
                FailureReason.MEMORY,
                f"{slots} frames of {capacity} bytes exceed the shared memory of a camera ({_MAX_BYTES >> 20} MiB)",
            )
        try:
            descriptor = os.memfd_create("streamad-frames", os.MFD_CLOEXEC)
        except OSError as error:
            raise RingError(f"no shared memory for frames: {error.strerror}") from error
        # Sparse: a slot takes memory only once it has been written.
        os.truncate(descriptor, size)
        os.pwrite(descriptor, _HEADER.pack(slots, capacity, 0, 0, 0, 0), 0)
        return cls(descriptor)

    def close(self) -> None:
        """Unmap the ring. The memory is freed when the other side has closed it too or died."""
        if not self._closed:
            self._closed = True
            self._map.close()
            os.close(self.descriptor)

    @property
    def frames(self) -> int:
        """Number of frames written so far, including dropped ones."""
        return int(_HEADER.unpack_from(self._map)[2])

    @property
    def dropped(self) -> int:
        """Number of frames overwritten or discarded before they were read."""
        return int(_HEADER.unpack_from(self._map)[3])

    @property
    def ready(self) -> bool:
        """Whether a frame is waiting to be read. Takes no lock, so it is only a hint; `read` is exact."""
        return any(self._slot_state(slot) == _State.READY for slot in range(self.slots))

    def beat(self) -> None:
        """Writer: record a sign of life when no frame is written."""
        _HEARTBEAT.pack_into(self._map, _HEARTBEAT_AT, time.monotonic())

    @property
    def heartbeat(self) -> float:
        """Time of the writer's last sign of life, seconds of `time.monotonic()`; 0 before the first."""
        return float(_HEARTBEAT.unpack_from(self._map, _HEARTBEAT_AT)[0])

    def claim(self, *, drop: bool) -> int | None:
        """Writer: reserve a slot.

        Args:
            drop: Whether to take the slot of the oldest unread frame if all are full. That frame counts as dropped.

        Returns:
            The slot; None if all are full. The reader must then report when a slot becomes free (`release`).
        """
        with self._lock():
            slot = self._find(_State.FREE)
            if slot is None and drop:
                slot = self._discard_oldest()
            if slot is None:
                self._set(waiting=1)
                return None
            self._write_slot(slot, state=_State.WRITING)
            return slot

    def publish(self, slot: int, frame: RingFrame) -> bool:
        """Writer: fill a reserved slot and pass it to the reader.

        Returns:
            Whether the reader must be woken.
        """
        height, width = frame.pixels.shape
        start = self._data_at + slot * self.capacity
        target = np.frombuffer(self._map, np.uint8, count=height * width, offset=start)
        target.reshape(height, width)[:] = frame.pixels
        del target  # a remaining view would prevent closing the map
        with self._lock():
            sequence = self.frames
            # Keep flags that a dropped older frame left in this slot: they describe the gap before this frame.
            flags = int(frame.flags) | self._slot(slot)[1]
            _SLOT.pack_into(
                self._map,
                self._slot_at(slot),
                _State.READY,
                flags,
                sequence,
                frame.index,
                frame.pts_seconds,
                frame.received_at,
                height,
                width,
            )
            wake = not _HEADER.unpack_from(self._map)[4]
            self._set(frames=sequence + 1, notified=1)
        self.beat()
        return wake

    def discard(self) -> None:
        """Writer: discard all unread frames. They count as dropped."""
        with self._lock():
            while (slot := self._discard_oldest()) is not None:
                self._write_slot(slot, state=_State.FREE)

    def read(self) -> RingFrame | None:
        """Reader: return a copy of the oldest frame; None if there is none. Call `release` afterwards."""
        with self._lock():
            slot = self._oldest_ready()
            if slot is not None:
                self._write_slot(slot, state=_State.READING)
            if self._find(_State.READY) is None:
                self._set(notified=0)  # the next frame must wake the reader
        if slot is None:
            return None
        _, flags, _, index, pts_seconds, received_at, height, width = self._slot(slot)
        start = self._data_at + slot * self.capacity
        pixels = np.frombuffer(self._map, np.uint8, count=height * width, offset=start).reshape(height, width).copy()
        with self._lock():
            _SLOT.pack_into(self._map, self._slot_at(slot), _State.FREE, 0, 0, 0, 0.0, 0.0, 0, 0)
        return RingFrame(index, pts_seconds, received_at, FrameFlags(flags), pixels)

    def release(self) -> bool:
        """Reader: return whether the writer is waiting and must be notified of free space."""
        if not _HEADER.unpack_from(self._map)[5]:
            return False
        with self._lock():
            self._set(waiting=0)
        return True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        deadline: float | None = None
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
                break
            except (BlockingIOError, PermissionError):
                now = time.monotonic()
                deadline = deadline or now + _LOCK_SECONDS
                if now > deadline:
                    raise RingError("the other process is suspended and holds the lock of the ring") from None
                time.sleep(0.00005)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1)

    def _slot_at(self, slot: int) -> int:
        return _HEADER_BYTES + slot * _SLOT_BYTES

    def _slot(self, slot: int) -> tuple[int, int, int, int, float, float, int, int]:
        return _SLOT.unpack_from(self._map, self._slot_at(slot))

    def _slot_state(self, slot: int) -> int:
        return int(self._slot(slot)[0])

    def _write_slot(self, slot: int, *, state: _State) -> None:
        struct.pack_into("=I", self._map, self._slot_at(slot), state)

    def _add_flags(self, slot: int, flags: int) -> None:
        struct.pack_into("=I", self._map, self._slot_at(slot) + 4, self._slot(slot)[1] | flags)

    def _find(self, state: _State) -> int | None:
        return next((slot for slot in range(self.slots) if self._slot_state(slot) == state), None)

    def _oldest_ready(self) -> int | None:
        ready = [(self._slot(slot)[2], slot) for slot in range(self.slots) if self._slot_state(slot) == _State.READY]
        return min(ready)[1] if ready else None

    def _discard_oldest(self) -> int | None:
        slot = self._oldest_ready()
        if slot is None:
            return None
        # Pass the discontinuity on to the next frame, so that stateful consumers still see the gap.
        carried = self._slot(slot)[1] & int(FrameFlags.DISCONTINUITY)
        _SLOT.pack_into(self._map, self._slot_at(slot), _State.FREE, 0, 0, 0, 0.0, 0.0, 0, 0)
        self._set(dropped=self.dropped + 1)
        heir = self._oldest_ready()
        self._add_flags(slot if heir is None else heir, carried)
        return slot

    def _set(
        self,
        *,
        frames: int | None = None,
        dropped: int | None = None,
        notified: int | None = None,
        waiting: int | None = None,
    ) -> None:
        old = _HEADER.unpack_from(self._map)
        new = (frames, dropped, notified, waiting)
        _HEADER.pack_into(self._map, 0, *old[:2], *(o if n is None else n for o, n in zip(old[2:], new, strict=True)))
