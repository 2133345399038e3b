"""DecoderProcess: the main process' handle of one decoder process, without any policy."""

from __future__ import annotations

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

from streamad.sources import wire
from streamad.sources.shared_ring import Ring, RingError, RingFrame

_log = logging.getLogger(__name__)

_starter: ThreadPoolExecutor | None = None


def _started(command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process from a thread that lives as long as this process: the kernel kills decoders when it ends."""
    global _starter
    if _starter is None:
        _starter = ThreadPoolExecutor(1, "streamad-decoders")
    return _starter.submit(
        subprocess.Popen,
        command,
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the main program's stdout is data
        start_new_session=True,
    ).result()


def _forget_starter() -> None:
    global _starter
    _starter = None  # a forked process has none of its parent's threads


os.register_at_fork(after_in_child=_forget_starter)


class DecoderProcess:
    """One started decoder process.

    It is a plain subprocess and not one of `multiprocessing`, which would import the main program's module
    into it (for the command line that is everything), and needs a guard in every script. A session of its own
    keeps the terminal's Ctrl-C from it.

    Args:
        job: what it has to do.
    """

    def __init__(self, job: wire.Job) -> None:
        self._rings: list[Ring] = []
        self._dropped = 0
        self._frames = 0
        self._heartbeat = 0.0
        self.ended = False
        """The process has closed its side: it ended or died."""
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
        """Its process id."""
        return self._process.pid

    def messages(self) -> list[dict[str, Any]]:
        """The messages that have arrived; rings are taken in here and not returned.

        Raises:
            RingError: the ring cannot be mapped.
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
            if message["type"] != "ring":
                result.append(message)
            elif descriptor is None:
                raise RingError("no file descriptor left for the frames", hint="raise the limit: ulimit -n")
            else:
                self._rings.append(Ring(descriptor))
        return result

    @property
    def ready(self) -> bool:
        """Whether a frame waits."""
        return any(ring.ready for ring in self._rings)

    def read(self) -> RingFrame | None:
        """The oldest frame, None where there is none.

        Raises:
            RingError: the process is stopped in mid-write.
        """
        while self._rings:
            ring = self._rings[0]
            frame = ring.read()
            if ring.release() and not self.ended:
                self._tell(wire.SPACE)
            if frame is not None or len(self._rings) == 1:
                return frame
            # The writer has gone on to a larger ring, and this one is read to its end.
            self._drop_ring()
        return None

    @property
    def frames(self) -> int:
        """Frames decoded so far, the dropped ones too."""
        return self._frames + sum(ring.frames for ring in self._rings)

    @property
    def dropped(self) -> int:
        """Frames dropped because nobody read them in time."""
        return self._dropped + sum(ring.dropped for ring in self._rings)

    @property
    def heartbeat(self) -> float:
        """Last sign of life in shared memory, seconds of `time.monotonic()`."""
        return max((ring.heartbeat for ring in self._rings), default=0.0)

    def ask_to_stop(self) -> None:
        """Ask it to close its connection and end."""
        if not self.ended:
            self._tell(wire.STOP)

    def kill(self, *, grace_seconds: float = 0.0) -> int | None:
        """End it, by SIGKILL after the grace, and free its memory.

        Returns:
            Its exit status (negative: the signal), None where the system has not let go of it yet.
        """
        deadline = time.monotonic() + grace_seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        while self._rings:
            self._drop_ring()
        self.link.close()
        self.ended = True
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            # In the kernel, on a hung disk or driver: it ends when that lets go of it.
            _log.warning("the decoder process %d hangs in the kernel; it ends when its device answers", self.pid)
            return None

    def _tell(self, word: bytes) -> None:
        try:
            self.link.send(word)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            # Behind with its messages, or gone: it looks again after half a second, or its end shows by
            # itself.
            _log.debug("decoder process %d was not reached: %s", self.pid, type(error).__name__)

    def _drop_ring(self) -> None:
        ring = self._rings.pop(0)
        self._frames += ring.frames
        self._dropped += ring.dropped
        ring.close()

    def __del__(self) -> None:
        link: socket.socket | None = getattr(self, "link", None)
        if link is not None:
            link.close()  # hangs up, which ends the process
