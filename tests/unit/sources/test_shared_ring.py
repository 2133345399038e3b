"""The ring in shared memory: nothing torn, oldest first, drops counted, both ends real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streamad.frame import FrameFlags
from streamad.sources import SourceMemoryError
from streamad.sources.shared_ring import Ring, RingError, RingFrame


def picture(index: int, height: int = 4, width: int = 6) -> RingFrame:
    flags = FrameFlags.DISCONTINUITY if index == 0 else FrameFlags.KEY
    return RingFrame(index, index / 25, float(index), flags, np.full((height, width), index % 256, np.uint8))


@pytest.fixture
def ring() -> Iterator[Ring]:
    with Ring.create(3, 24) as ring:
        yield ring


def put(ring: Ring, index: int, *, drop: bool) -> bool:
    slot = ring.claim(drop=drop)
    if slot is None:
        return False
    ring.publish(slot, picture(index))
    return True


def take(ring: Ring) -> list[int]:
    return [frame.index for frame in iter(ring.read, None)]


def test_frames_cross_whole(ring: Ring) -> None:
    assert ring.read() is None
    put(ring, 7, drop=False)
    frame = ring.read()
    assert frame is not None
    assert (frame.index, frame.pts_seconds, frame.received_at, frame.flags) == (
        7,
        7 / 25,
        7.0,
        FrameFlags.KEY,
    )
    assert frame.pixels.tolist() == [[7] * 6] * 4
    put(ring, 8, drop=False)
    assert frame.pixels.max() == 7, "pixels are a copy"


def test_without_drops_a_full_ring_refuses(ring: Ring) -> None:
    assert [put(ring, i, drop=False) for i in range(5)] == [True, True, True, False, False]
    assert (ring.frames, ring.dropped) == (3, 0)
    assert take(ring) == [0, 1, 2]
    assert ring.release(), "the writer had asked to be told"
    assert not ring.release()


def test_with_drops_the_newest_stay(ring: Ring) -> None:
    assert all(put(ring, i, drop=True) for i in range(10))
    assert (ring.frames, ring.dropped) == (10, 7)
    first = ring.read()
    assert first is not None
    assert first.index == 7
    assert first.flags & FrameFlags.DISCONTINUITY, "the gap that a dropped frame announced is still announced"
    rest = list(iter(ring.read, None))
    assert [frame.index for frame in rest] == [8, 9]
    assert not any(frame.flags & FrameFlags.DISCONTINUITY for frame in rest)


def test_one_wake_for_many_frames(ring: Ring) -> None:
    def publish(index: int) -> bool:
        slot = ring.claim(drop=True)
        assert slot is not None
        return ring.publish(slot, picture(index))

    assert [publish(i) for i in range(4)] == [True, False, False, False]
    take(ring)
    assert [publish(i) for i in range(2)] == [True, False]
    assert ring.read() is not None
    assert not publish(2), "one still waits, which a reader sees"
    assert ring.read() is not None
    assert ring.read() is not None
    assert publish(3), "the last one was read, without looking for another"


def test_smaller_frames_fit_and_discard_counts(ring: Ring) -> None:
    slot = ring.claim(drop=False)
    assert slot is not None
    ring.publish(slot, picture(0, 1, 1))
    frame = ring.read()
    assert frame is not None
    assert frame.pixels.shape == (1, 1)
    put(ring, 1, drop=False)
    put(ring, 2, drop=False)
    ring.discard()
    assert not ring.ready
    assert ring.dropped == 2


def test_too_large_pictures_are_a_typed_error() -> None:
    with pytest.raises(SourceMemoryError, match="shared memory of a camera"):
        Ring.create(3, 1 << 30)
    with pytest.raises(ValueError, match="3 slots"):
        Ring.create(2, 1)


WRITE = """
for index in range(int(sys.argv[2])):
    while (slot := ring.claim(drop=sys.argv[3] == "True")) is None:
        time.sleep(0.0001)
    pixels = np.full((4, 6), index % 256, np.uint8)
    ring.publish(slot, RingFrame(index, 0.0, 0.0, FrameFlags.NONE, pixels))
"""
HOLD = """
with ring._lock():
    os.kill(os.getpid(), signal.SIGSTOP)
"""
PREAMBLE = """
import os, signal, sys, time
import numpy as np
from streamad.frame import FrameFlags
from streamad.sources.shared_ring import Ring, RingFrame
ring = Ring(int(sys.argv[1]))
"""


@pytest.fixture
def writer(ring: Ring) -> Iterator[Callable[..., int]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, *arguments: object) -> int:
        descriptor = ring.descriptor
        command = [sys.executable, "-c", PREAMBLE + code, str(descriptor), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(subprocess.Popen(command, pass_fds=[descriptor], env=environment))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("drop", [False, True])
def test_two_processes(ring: Ring, writer: Callable[..., int], drop: bool) -> None:
    writer(WRITE, 3000, drop)
    seen: list[int] = []
    end = time.monotonic() + 20
    while (not seen or seen[-1] != 2999) and time.monotonic() < end:
        frame = ring.read()
        if frame is not None:
            seen.append(frame.index)
            assert np.all(frame.pixels == frame.index % 256), "torn"
    assert seen == sorted(set(seen))
    assert seen[-1] == 2999
    assert len(seen) + ring.dropped == 3000
    if not drop:
        assert len(seen) == 3000


def test_a_stopped_holder_of_the_lock_does_not_hang_the_reader(ring: Ring, writer: Callable[..., int]) -> None:
    pid = writer(HOLD)
    end = time.monotonic() + 20
    while "\nState:\tT" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(RingError, match="suspended"):
        ring.read()
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            assert ring.read() is None
            break
        except RingError:
            continue
    else:
        pytest.fail("the lock of a killed process was not released")
