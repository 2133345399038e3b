"""The decoder process of one camera: it opens the source and writes the frames to shared memory.

It imports the decoder and little else, and ends with the main process, however that ends.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import socket
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from streamad.frame import Frame
from streamad.sources import color, wire
from streamad.sources.base import Source
from streamad.sources.failures import FailureReason, SourceError, SourceTimeoutError, source_error
from streamad.sources.limits import end_with_parent, limit_memory
from streamad.sources.opening import open_source
from streamad.sources.shared_ring import Ring, RingError, RingFrame
from streamad.sources.spec import RtspSpec

if TYPE_CHECKING:
    from streamad.sources.recording import ClipRecorder

_SLICE_SECONDS = 0.5
"""Longest time between two checks of the socket, and between two signs of life."""

_FINISH_SECONDS = 0.8
"""Time to complete clips at the end; the main process waits for a second."""

_BURST_SECONDS = 3.0
"""FFmpeg buffers about a second of frames while it probes a stream and then delivers them in one burst."""
_MAX_READER_WAIT_SECONDS = 1.0
"""Total time to wait for the reader during that burst, so that a slow reader adds no lasting latency."""


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The main process asked this one to stop, or is gone."""


class Worker:
    """Decodes one source into shared-memory rings.

    Args:
        link: The socket to the main process.
        job: The decoding job.
    """

    def __init__(self, link: socket.socket, job: wire.Job) -> None:
        self._link = link
        self._job = job
        self._ring: Ring | None = None
        self._retired: list[Ring] = []
        self._reported = 0
        self._first_at = 0.0
        self._waited = 0.0
        self._is_looked_at = False
        self._recorder: ClipRecorder | None = None
        if job.recording is not None:
            from streamad.sources.recording import ClipRecorder

            self._recorder = ClipRecorder(job.recording, self._report_clip)

    def run(self) -> None:
        """Decode until the source ends or fails, or the main process asks this one to stop."""
        try:
            self._decode()
            if self._recorder is not None and not self._recorder.is_empty:
                self._linger(self._recorder)
        except Stopped:
            pass
        finally:
            if self._recorder is not None:
                self._recorder.finish(_FINISH_SECONDS)

    def _linger(self, recorder: ClipRecorder) -> None:
        """Serve clips from the ring after the end of the stream: an alert is known some frames later."""
        recorder.stream_ended()
        self._sleep(wire.LINGER_SECONDS)

    def _decode(self) -> None:
        job = self._job
        on_packet = None if self._recorder is None else self._recorder.add
        try:
            with open_source(
                job.spec, camera=job.camera, sleep=self._sleep, on_packet=on_packet, decode=job.decode
            ) as source:
                wire.send(self._link, {"type": "info", "info": asdict(source.info)})
                self._forward_frames(source)
        except Stopped:
            raise
        except (SourceError, RingError) as error:
            reason = error.reason if isinstance(error, SourceError) else FailureReason.CRASHED
            self._end(reason, str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - process boundary: the error is reported to the main process
            if _is_out_of_memory(error):
                failure = source_error(
                    FailureReason.MEMORY, f"{job.camera}: its pictures exceed the decoder's memory limit"
                )
                self._end(failure.reason, str(failure), failure.hint)
                return
            self._end(FailureReason.CRASHED, f"{type(error).__name__}{self._details(error)}", None)
        else:
            if job.spec.live:
                self._end(FailureReason.ENDED, "the stream ended", None)
            else:
                self._end(None, "", None)

    def _forward_frames(self, source: Source) -> None:
        try:
            for frame in source:
                self._check_stop()
                self._put(frame)
                if self._is_looked_at:
                    self._show(source, frame)
                self._report(source)
        except SourceTimeoutError as error:
            # FFmpeg only reports missing data. Add that frames had arrived before.
            raise SourceTimeoutError(f"{error} (after {source.frames_decoded} frames)", hint=error.hint) from None
        self._report(source)

    def _show(self, source: Source, frame: Frame) -> None:
        """Send a frame in color, after it was handed on for scoring."""
        self._is_looked_at = False
        if (picture := source.color()) is not None and len(picture) <= color.MAX_BYTES:
            descriptor = color.shared(picture)
            try:
                wire.send(self._link, {"type": "picture", "index": frame.index}, descriptor)
            finally:
                os.close(descriptor)

    def _put(self, frame: Frame) -> None:
        ring = self._ring_for(frame.pixels.size)
        while (slot := ring.claim(drop=self._job.drop and not self._waits_for_reader())) is None:
            began = time.monotonic()
            self._wait(_SLICE_SECONDS)
            self._waited += time.monotonic() - began
        crossing = RingFrame(frame.index, frame.pts_seconds, frame.received_at, frame.flags, frame.pixels)
        if ring.publish(slot, crossing):
            wire.send(self._link, {"type": "wake"})

    def _waits_for_reader(self) -> bool:
        """Whether the decoder waits for the reader: for a camera, during the burst after probing."""
        self._first_at = self._first_at or time.monotonic()
        young = time.monotonic() - self._first_at < _BURST_SECONDS
        return self._job.spec.live and young and self._waited < _MAX_READER_WAIT_SECONDS

    def _ring_for(self, size: int) -> Ring:
        """Return the ring for a frame of `size` bytes: a new one if the frame exceeds the current slots."""
        if self._ring is not None and size <= self._ring.capacity:
            return self._ring
        if self._ring is not None:
            # Keep at most one old ring with unread frames, so that growing frame sizes cannot fill the memory.
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

    def _report_clip(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the main process is gone
            wire.send(self._link, message)

    def _details(self, error: Exception) -> str:
        """Describe an unexpected exception. For a stream, give only its location: its text may contain the address."""
        if not isinstance(self._job.spec, RtspSpec):
            return f": {error}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f" in {os.path.basename(where.filename)}, line {where.lineno}"

    def _check_stop(self) -> None:
        """Handle a message of the main process; raise `Stopped` if it asks for it. Costs one system call."""
        try:
            data = self._link.recv(wire.MAX_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if data in (wire.STOP, b""):
            raise Stopped
        if data == wire.LOOK:
            self._is_looked_at = True
        elif data != wire.SPACE and self._recorder is not None:
            request = json.loads(data)
            (self._recorder.picture if "at" in request else self._recorder.request)(**request)

    def _wait(self, seconds: float) -> None:
        """Wait for a message of the main process for at most `seconds`, after a sign of life."""
        if self._ring is not None:
            self._ring.beat()
        if select.select([self._link], [], [], seconds)[0]:
            self._check_stop()

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._wait(min(left, _SLICE_SECONDS))


def main(descriptor: int) -> None:
    """Entry point of the process. The first message on the socket `descriptor` is the pickled job."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = socket.socket(fileno=descriptor)
    try:
        job: wire.Job = pickle.loads(link.recv(wire.MAX_MESSAGE))  # noqa: S301 - from the process that started this
        threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
        wire.send(link, {"type": "hello"})
        _silence_libraries(job)
        limit_memory()
        Worker(link, job).run()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        os._exit(1)  # the main process is gone
    # Skip the exit handlers of FFmpeg and OpenCV, which have hung before (PyAV issue 2276). Everything is closed.
    os._exit(0)


def _is_out_of_memory(error: Exception) -> bool:
    import cv2

    return isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)


def _silence_libraries(job: wire.Job) -> None:
    import cv2

    cv2.setNumThreads(1)
    if job.spec.type != "images":
        import av

        # FFmpeg's log callback can deadlock with the GIL (PyAV issue 751), and it prints addresses.
        av.logging.set_level(None)


def _end_with_parent(descriptor: int) -> None:
    # The socket hangs up when the main process dies, even by SIGKILL, or closes its side.
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)
