"""A running `streamad run` in its own process, observed through its HTTP endpoints and /proc."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cli_support import command


class Running:
    """A `streamad run` in its own process.

    Args:
        config: The configuration. Its folder becomes the working directory.
        descriptors: Maximum number of file descriptors for it and its decoders.
        arguments: Further arguments of the command.
        stdout: Destination of its standard output.
    """

    def __init__(
        self,
        config: Path,
        *,
        descriptors: int | None = None,
        arguments: Sequence[str | Path] = (),
        stdout: int = subprocess.PIPE,
    ) -> None:
        limit = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}:{descriptors}"]
        self.process = subprocess.Popen(
            [*limit, *command("run", config, *arguments)],
            cwd=config.parent,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.heard: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = self.eventually(self._page)

    def get(self, path: str) -> Any:
        """Return the JSON document at a path."""
        return httpx.get(self.url + path, timeout=10).json()

    def camera(self, name: str) -> dict[str, Any]:
        """Return a camera's entry in `/status`."""
        (found,) = [c for c in self.get("/status")["cameras"] if c["id"] == name]
        assert isinstance(found, dict)
        return found

    def events(self, camera: str) -> list[dict[str, Any]]:
        """Return a camera's events, newest first."""
        events = self.get(f"/api/v1/events?camera={camera}")["events"]
        assert isinstance(events, list)
        return events

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of all series of a metric with these labels."""
        total = 0.0
        for line in httpx.get(self.url + "/metrics", timeout=10).text.splitlines():
            if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def eventually(self, question: Callable[[], Any], seconds: float = 45) -> Any:
        """Return the first result of `question` that is true."""
        deadline = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"not within {seconds:g} s; output:\n{''.join(self.heard)}")
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    @property
    def text(self) -> str:
        """Everything written to standard error so far."""
        return "".join(self.heard)

    def _page(self) -> str | None:
        found = re.search(r"/status: (http://\S+)", self.text)
        return found[1] if found else None

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.heard.append(line)


@contextmanager
def running(
    config: Path,
    *,
    descriptors: int | None = None,
    arguments: Sequence[str | Path] = (),
    stdout: int = subprocess.PIPE,
) -> Iterator[Running]:
    """Start a run, and leave no process behind in any case; see `Running`."""
    started: Running | None = None
    try:
        started = Running(config, descriptors=descriptors, arguments=arguments, stdout=stdout)
        yield started
    finally:
        if started is not None:
            started.end(signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Return the process's children, started by any of its threads."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(word) for text in texts for word in text.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
