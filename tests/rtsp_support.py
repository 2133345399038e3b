"""Helpers for tests of streams: GStreamer's RTSP server, and videos whose frames contain their number."""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import av
import numpy as np
import numpy.typing as npt
import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).parent / "servers" / "gst_rtsp_server.py"

_BITS = 16
_BLOCK = 16


class RtspServer:
    """GStreamer's RTSP server in its own process: a context manager that serves while entered.

    Every client sees a mount's video from its start, in real time, and the stream ends with it.

    Args:
        mounts: Name of each mount -> mp4 file (H.264 or H.265), or a GStreamer pipeline as text.
        port: Port; 0 picks a free one, which `restart` keeps.
        user: User name for digest authentication. Default: no authentication.
        password: Password of that user.
        certificate: PEM file with certificate and key. If given, the server uses rtsps.
        address: Address to listen on.
    """

    def __init__(
        self,
        mounts: Mapping[str, Path | str],
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        *,
        certificate: Path | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.mounts = mounts
        self.port = port
        self.user, self.password, self.certificate = user, password, certificate
        self.address = address
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server and wait until it listens."""
        settings: dict[str, Any] = {
            "port": self.port,
            "address": self.address,
            "mounts": {
                n: {"launch": p} if isinstance(p, str) else {"path": str(p), "codec": _codec(p)}
                for n, p in self.mounts.items()
            },
            "user": self.user,
            "password": self.password,
            "certificate": str(self.certificate) if self.certificate else None,
        }
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), json.dumps(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(timeout=20) else b""
        if not line:
            process, self._process = self._process, None
            process.kill()
            _, said = process.communicate()
            raise RuntimeError(f"the RTSP server did not start: {said.decode(errors='replace')[-2000:]}")
        self.port = json.loads(line)["port"]

    def url(self, mount: str, *, credentials: bool = True) -> str:
        """Return the address of a mount, with user and password if the server requires them."""
        secret = ""
        if credentials and self.user is not None:
            secret = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        scheme = "rtsps" if self.certificate else "rtsp"
        return f"{scheme}://{secret}127.0.0.1:{self.port}/{mount}"

    def kill(self) -> None:
        """Send SIGKILL, as in a power failure."""
        if self._process is not None:
            self._process.kill()  # ends a stopped process too
            self._process.communicate()
            self._process = None

    def restart(self) -> None:
        """Kill the server and start it again on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open, but nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def require_rtsp_server() -> None:
    """Skip the test if GStreamer's RTSP server is missing; fail if STREAMAD_REQUIRE_RTSP=1."""
    problem = _missing()
    if problem is None:
        return
    message = f"no RTSP server for the test: {problem} (see CONTRIBUTING.md)"
    if os.environ.get("STREAMAD_REQUIRE_RTSP") == "1":
        pytest.fail(message)
    pytest.skip(message)


@cache
def _missing() -> str | None:
    if not Path(SYSTEM_PYTHON).exists():
        return f"no {SYSTEM_PYTHON}"
    run = subprocess.run([SYSTEM_PYTHON, str(SERVER), "{}"], capture_output=True, text=True, timeout=60, check=False)
    return None if run.returncode == 0 else run.stderr.strip().splitlines()[-1]


@cache
def _codec(path: Path) -> str:
    with av.open(str(path)) as container:
        name = container.streams.video[0].codec_context.name
    return {"h264": "h264", "hevc": "h265"}[name]


def pictures(frames: int, size: tuple[int, int] = (320, 240), first: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
    """Generate (H, W) gray pictures with a moving square and their number in 16 blocks at the top (`frame_number`).

    Args:
        frames: Number of pictures.
        size: Width and height; the number needs a width of 256.
        first: Number of the first picture.
    """
    width, height = size
    background = np.tile(np.linspace(60, 160, width, dtype=np.uint8), (height, 1))
    for number in range(first, first + frames):
        picture = background.copy()
        for bit in range(min(_BITS, width // _BLOCK)):
            picture[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = 220 if number >> bit & 1 else 30
        left = number * 3 % max(1, width - 40)
        picture[height // 2 : height // 2 + 40, left : left + 40] = 235
        yield picture


def frame_number(pixels: npt.NDArray[np.uint8]) -> int:
    """Read the number in a picture of `pictures`, after any lossy coding."""
    half = _BLOCK // 2
    return sum(1 << bit for bit in range(_BITS) if pixels[half - 3 : half + 3, bit * _BLOCK + half].mean() > 128)


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def open_descriptors() -> int:
    gc.collect()  # what an earlier test left in a reference cycle is closed before counting, not between two counts
    return len(os.listdir("/proc/self/fd"))


def write_video(
    path: Path,
    *,
    frames: int,
    size: tuple[int, int] = (320, 240),
    fps: int = 25,
    codec: str = "libx264",
    container_format: str | None = None,
    pixel_format: str = "yuv420p",
    first: int = 0,
) -> Path:
    """Encode `pictures` with a key frame each second. The suffix selects the container. Returns the path."""
    options = {
        "libx264": {"preset": "ultrafast", "crf": "18"},
        "libx265": {"preset": "ultrafast", "x265-params": f"log-level=none:keyint={fps}"},
    }.get(codec, {})
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = fps
        for picture in pictures(frames, size, first):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    return path
