"""The process that decodes one camera: it opens the source and writes its frames into shared memory.

It imports the decoder and little else, and ends with the main process, however that ended.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import threading
import time
import traceback
from dataclasses import asdict
from typing import Any

from streamad.frame import Frame
from streamad.sources import wire
from streamad.sources.base import Source
from streamad.sources.failures import FailureReason, SourceError, SourceTimeoutError, source_error
from streamad.sources.limits import end_with_parent, limit_memory
from streamad.sources.opening import open_source
from streamad.sources.shared_ring import Ring, RingError, RingFrame
from streamad.sources.spec import RtspSpec

_SLICE_SECONDS = 0.5
"""Longest wait between two looks at the socket, and two signs of life."""

_BURST_SECONDS = 3.0
"""FFmpeg holds back about a second of frames while it probes a stream, and then hands them out at once."""
_PATIENCE_SECONDS = 1.0
"""Longest wait for the reader in that burst, all in all, so that a slow reader adds no lasting latency."""


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The main process asked to stop, or is gone."""


class Worker:
    """Decodes one source into rings of shared memory.

    Args:
        link: the socket to the main process.
        job: what to decode, and how.
    """

    def __init__(self, link: socket.socket, job: wire.Job) -> None:
        self._link = link
        self._job = job
        self._ring: Ring | None = None
        self._retired: list[Ring] = []
        self._reported = 0
        self._first_at = 0.0
        self._waited = 0.0

    def run(self) -> None:
        """Decode until the source ends or fails, or the main process asks to stop."""
        job = self._job
        try:
            with open_source(job.spec, camera=job.camera, threads=job.threads, sleep=self._sleep) as source:
                wire.send(self._link, {"type": "info", "info": asdict(source.info)})
                self._pass_on(source)
        except Stopped:
            return
        except (SourceError, RingError) as error:
            reason = error.reason if isinstance(error, SourceError) else FailureReason.CRASHED
            self._end(reason, str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - the boundary of the process: reported, not swallowed
            if _is_want_of_memory(error):
                failure = source_error(
                    FailureReason.MEMORY, f"{job.camera}: its pictures take more memory than allowed"
                )
                self._end(failure.reason, str(failure), failure.hint)
                return
            self._end(FailureReason.CRASHED, f"{type(error).__name__}{self._details(error)}", None)
        else:
            if job.spec.live:
                self._end(FailureReason.ENDED, "the stream ended", None)
            else:
                self._end(None, "", None)

    def _pass_on(self, source: Source) -> None:
        try:
            for frame in source:
                self._look()
                self._put(frame)
                self._report(source)
        except SourceTimeoutError as error:
            # FFmpeg says "no data"; the operator also wants to know that there had been some.
            raise SourceTimeoutError(f"{error} (after {source.frames_decoded} frames)", hint=error.hint) from None
        self._report(source)

    def _put(self, frame: Frame) -> None:
        ring = self._ring_for(frame.pixels.size)
        while (slot := ring.claim(drop=self._job.drop and not self._patient())) is None:
            began = time.monotonic()
            self._wait(_SLICE_SECONDS)
            self._waited += time.monotonic() - began
        crossing = RingFrame(frame.index, frame.pts_seconds, frame.received_at, frame.flags, frame.pixels)
        if ring.publish(slot, crossing):
            wire.send(self._link, {"type": "wake"})

    def _patient(self) -> bool:
        """Whether a camera waits for the reader: in the burst of frames that came during probing."""
        self._first_at = self._first_at or time.monotonic()
        young = time.monotonic() - self._first_at < _BURST_SECONDS
        return self._job.spec.live and young and self._waited < _PATIENCE_SECONDS

    def _ring_for(self, size: int) -> Ring:
        """The ring that takes a frame of `size` bytes: a new one where it is larger than the slots."""
        if self._ring is not None and size <= self._ring.capacity:
            return self._ring
        if self._ring is not None:
            # At most one ring with unread frames is left behind, or sizes that keep growing would fill the
            # memory.
            self._retire(self._ring)
        self._ring = Ring.create(self._job.slots, size)
        wire.send(self._link, {"type": "ring"}, self._ring.descriptor)
        return self._ring

    def _retire(self, ring: Ring) -> None:
        for old in self._retired:
            if self._job.drop:
                old.discard()
            else:
                while old.ready:
                    self._wait(0.005)
            old.close()
        self._retired = [ring]

    def _report(self, source: Source) -> None:
        for problem in source.problems[self._reported :]:
            wire.send(self._link, {"type": "problem", "text": problem[: wire.MAX_TEXT]})
        self._reported = len(source.problems)

    def _end(self, reason: FailureReason | None, message: str, hint: str | None) -> None:
        end: dict[str, Any] = {
            "type": "end",
            "reason": reason,
            "message": message[: wire.MAX_TEXT],
            "hint": hint,
        }
        wire.send(self._link, end)

    def _details(self, error: Exception) -> str:
        """What an unexpected exception says; of a stream where it was raised, since its text may hold the address."""
        if not isinstance(self._job.spec, RtspSpec):
            return f": {error}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f" in {os.path.basename(where.filename)}, line {where.lineno}"

    def _look(self) -> None:
        """Stop where that was asked for. Costs a system call."""
        try:
            data = self._link.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if data in (wire.STOP, b""):
            raise Stopped

    def _wait(self, seconds: float) -> None:
        """Wait for a word of the main process, for at most so long, and show that this one lives."""
        if self._ring is not None:
            self._ring.beat()
        if select.select([self._link], [], [], seconds)[0]:
            self._look()

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._wait(min(left, _SLICE_SECONDS))


def main(descriptor: int) -> None:
    """Entry of the process. `descriptor` is the socket's; its first message is the job, pickled."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = socket.socket(fileno=descriptor)
    try:
        job: wire.Job = pickle.loads(link.recv(wire.MAX_MESSAGE))  # noqa: S301 - from the process that started this
        threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
        wire.send(link, {"type": "hello"})
        _quiet_libraries(job)
        limit_memory()
        Worker(link, job).run()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        os._exit(1)  # the main process is gone
    # FFmpeg's and OpenCV's clean-up at exit has hung before (PyAV issue 2276); all that matters is closed.
    os._exit(0)


def _is_want_of_memory(error: Exception) -> bool:
    import cv2

    return isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)


def _quiet_libraries(job: wire.Job) -> None:
    import cv2

    cv2.setNumThreads(1)
    if job.spec.type != "images":
        import av

        # FFmpeg's log callback can deadlock with the GIL (PyAV issue 751), and it prints addresses.
        av.logging.set_level(None)


def _end_with_parent(descriptor: int) -> None:
    # The socket hangs up when the main process dies, even by SIGKILL, and when it closes its side while it lives.
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)
