"""DecoderProcess: handle of the main process for one decoder process, without any policy."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streamad.sources import color, wire
from streamad.sources.shared_ring import Ring, RingError, RingFrame

_log = logging.getLogger(__name__)

_starter: ThreadPoolExecutor | None = None


def _started(command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lives as long as this process, whose end makes the kernel kill decoders."""
    global _starter
    if _starter is None:
        _starter = ThreadPoolExecutor(1, "streamad-decoders")
    return _starter.submit(
        subprocess.Popen,
        command,
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the main program's stdout carries data
        start_new_session=True,
    ).result()


def _forget_starter() -> None:
    global _starter
    _starter = None  # a forked child has none of its parent's threads


os.register_at_fork(after_in_child=_forget_starter)


class DecoderProcess:
    """One started decoder process.

    It is a plain subprocess rather than one of `multiprocessing`, which would import the main program's module (for
    the command line, that is everything) and require a guard in every script. It runs in its own session, so that
    Ctrl-C in the terminal does not reach it.

    Args:
        job: The decoding job to run.
    """

    def __init__(self, job: wire.Job) -> None:
        self._rings: list[Ring] = []
        self._dropped = 0
        self._frames = 0
        self.ended = False
        """Whether the process has closed its side of the link, by ending or dying."""
        self.link, theirs = wire.pair()
        with theirs:
            entry = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from streamad.sources.worker import main; main({theirs.fileno()})"
            )
            self._process = _started([sys.executable, "-c", entry], theirs.fileno())
        self.link.send(pickle.dumps(job))
        self.link.setblocking(False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived. Rings are stored here and not returned.

        Raises:
            RingError: If a ring cannot be mapped.
        """
        result: list[dict[str, Any]] = []
        while not self.ended:
            try:
                received = wire.receive(self.link)
            except BlockingIOError:
                break
            if received is None:
                self.ended = True
                break
            message, descriptor = received
            if message["type"] == "picture":
                if descriptor is not None:  # otherwise none is left for it
                    result.append({**message, "jpeg": color.received(descriptor)})
            elif message["type"] != "ring":
                result.append(message)
            elif descriptor is None:
                raise RingError("no file descriptor left for the shared frames", hint="raise the limit: ulimit -n")
            else:
                self._rings.append(Ring(descriptor))
        return result

    @property
    def ready(self) -> bool:
        """Whether a frame is waiting to be read."""
        return any(ring.ready for ring in self._rings)

    def read(self) -> RingFrame | None:
        """Return the oldest frame; None if there is none.

        Raises:
            RingError: If the process is suspended in the middle of a write.
        """
        while self._rings:
            ring = self._rings[0]
            frame = ring.read()
            if ring.release() and not self.ended:
                self._send(wire.SPACE)
            if frame is not None or len(self._rings) == 1:
                return frame
            # The writer has moved on to a larger ring, and this one has been read to its end.
            self._drop_ring()
        return None

    @property
    def frames(self) -> int:
        """Number of frames decoded so far, including dropped ones."""
        return self._frames + sum(ring.frames for ring in self._rings)

    @property
    def dropped(self) -> int:
        """Number of frames dropped because they were not read in time."""
        return self._dropped + sum(ring.dropped for ring in self._rings)

    @property
    def heartbeat(self) -> float:
        """Time of the last sign of life in shared memory, seconds of `time.monotonic()`."""
        return max((ring.heartbeat for ring in self._rings), default=0.0)

    def record(self, request: dict[str, Any]) -> bool:
        """Begin a clip or change its end.

        Args:
            request: The arguments of `ClipRecorder.request`.

        Returns:
            Whether the process was reached.
        """
        return not self.ended and self._send(json.dumps(request).encode())

    def look(self) -> None:
        """Ask for the next frame in color; a message "picture" has it."""
        if not self.ended:
            self._send(wire.LOOK)

    def release_rings(self) -> None:
        """Free the shared frames; the process continues for clips."""
        while self._rings:
            self._drop_ring()

    def ask_to_stop(self) -> None:
        """Ask the process to close its connection and exit."""
        if not self.ended:
            self._send(wire.STOP)

    def wait(self, seconds: float) -> None:
        """Wait for the process to end, at most so long."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)

    def kill(self) -> int | None:
        """End the process by SIGKILL if it has not ended, and free its memory.

        Returns:
            The exit status (negative for a signal); None if the system has not reaped the process yet.
        """
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self.release_rings()
        self.link.close()
        self.ended = True
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            # Blocked in the kernel on a hung disk or driver. It ends when the call returns.
            _log.warning("the decoder process %d is blocked in the kernel until its device responds", self.pid)
            return None

    def _send(self, word: bytes) -> bool:
        try:
            self.link.send(word)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            # It is behind with its messages and checks again within half a second, or it is gone, which shows by
            # itself.
            _log.debug("decoder process %d could not be reached: %s", self.pid, type(error).__name__)
            return False
        return True

    def _drop_ring(self) -> None:
        ring = self._rings.pop(0)
        self._frames += ring.frames
        self._dropped += ring.dropped
        ring.close()

    def __del__(self) -> None:
        link: socket.socket | None = getattr(self, "link", None)
        if link is not None:
            link.close()  # closing the link ends the process
