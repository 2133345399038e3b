"""Helpers for the soak test: a proxy that damages a stream, and a site under observation."""

from __future__ import annotations

import json
import random
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
from run_support import Running

_RTP_HEADER = 12


class DamagingProxy:
    """A proxy between a camera and its reader that forwards RTSP over TCP and damages pictures on request.

    Only the payload of RTP packets to the reader is damaged, so that the protocol stays intact and only the decoder
    meets the fault, as with a bad cable or a weak radio link.

    Args:
        port: The server's port.
        share: Share of packets that are damaged while `damaging` is set.
    """

    def __init__(self, port: int, *, share: float = 0.2) -> None:
        self.damaging = threading.Event()
        self.damaged = 0
        self._to = port
        self._share = share
        self._random = random.Random(7)
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(0.2)
        while not self._closed.is_set():
            try:
                reader, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._pass_on, args=(reader,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, reader: socket.socket) -> None:
        with reader, selectors.DefaultSelector() as selector:
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                return
            with server:
                rest = b""
                selector.register(reader, selectors.EVENT_READ)
                selector.register(server, selectors.EVENT_READ)
                while not self._closed.is_set():
                    for key, _ in selector.select(timeout=0.2):
                        try:
                            data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                            if not data:
                                return
                            if key.fileobj is reader:
                                server.sendall(data)
                            else:
                                whole, rest = self._whole_packets(rest + data)
                                reader.sendall(whole)
                        except OSError:
                            return

    def _whole_packets(self, data: bytes) -> tuple[bytes, bytes]:
        """Split off complete interleaved packets (RFC 2326, 10.12: $, channel, length), damaging some of them."""
        out, at = bytearray(), 0
        while at < len(data):
            if data[at : at + 1] != b"$":  # RTSP messages are forwarded unchanged
                following = data.find(b"$", at)
                following = len(data) if following < 0 else following
                out += data[at:following]
                at = following
                continue
            if at + 4 > len(data):
                break
            end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            if end > len(data):
                break
            packet = bytearray(data[at:end])
            payload = at + 4 + _RTP_HEADER + 8  # the first bytes identify the slice; without them, all would be dropped
            is_rtp = data[at + 1] % 2 == 0
            if is_rtp and end > payload and self.damaging.is_set() and self._random.random() < self._share:
                self.damaged += 1
                for _ in range(4):
                    packet[self._random.randrange(payload - at, end - at)] ^= 0x55
            out += packet
            at = end
        return bytes(out), data[at:]


@dataclass(frozen=True)
class Reading:
    """One observation of the running program.

    Attributes:
        at: Time, seconds of `time.monotonic()`.
        scored: Number of frames scored so far, by camera.
        threads: Number of threads of the main process.
        descriptors: Number of open descriptors of the main process.
        memory: Resident memory of the main process, bytes.
    """

    at: float
    scored: dict[str, float]
    threads: int
    descriptors: int
    memory: int


@dataclass
class Observer:
    """Observes a running program repeatedly.

    Attributes:
        run: The program.
        cameras: Cameras whose rates are recorded.
        readings: Readings so far, in order.
    """

    run: Running
    cameras: tuple[str, ...]
    readings: list[Reading] = field(default_factory=list)

    def look(self) -> Reading:
        """Take and store one reading."""
        process = psutil.Process(self.run.process.pid)
        scored = {c: self.run.metric("streamad_frames_total", camera=c, stage="scored") for c in self.cameras}
        with process.oneshot():
            reading = Reading(
                time.monotonic(), scored, process.num_threads(), process.num_fds(), process.memory_info().rss
            )
        self.readings.append(reading)
        return reading

    def watch(self, seconds: float) -> list[Reading]:
        """Take two readings per second for `seconds`. The program must stay alive and healthy."""
        end, taken = time.monotonic() + seconds, [self.look()]
        while time.monotonic() < end:
            time.sleep(0.5)
            assert self.run.process.poll() is None, f"the program ended:\n{self.run.text}"
            assert httpx.get(f"{self.run.url}/healthz", timeout=10).status_code == 200
            taken.append(self.look())
        return taken


def rate(readings: list[Reading], camera: str) -> float:
    """Frames scored per second between the first and the last reading."""
    first, last = readings[0], readings[-1]
    return (last.scored[camera] - first.scored[camera]) / (last.at - first.at)


def median(readings: list[Reading], of: Callable[[Reading], float]) -> float:
    """Median of a quantity over the readings."""
    return statistics.median(of(reading) for reading in readings)


def decoder_of(run: Running, port: int) -> int:
    """Process id of the decoder that is connected to a server's port."""
    for child in psutil.Process(run.process.pid).children():
        if any(c.raddr and c.raddr.port == port for c in child.net_connections(kind="tcp")):
            return child.pid
    raise LookupError(f"no decoder is connected to port {port}")


def delivered(path: Path) -> list[dict[str, Any]]:
    """Read the alerts from a file of JSON lines, one dictionary per change."""
    return [d for d in map(json.loads, path.read_text().splitlines()) if d.get("type") != "health"]
