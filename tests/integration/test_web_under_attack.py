"""A run whose web port is abused continues: decoders restart, probes are answered, descriptors remain."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from rtsp_support import RtspServer, require_rtsp_server
from run_support import Running, children, running

pytestmark = [pytest.mark.timeout(400), pytest.mark.rtsp]

DESCRIPTORS = 256
SOCKETS = 300


def is_restarted(run: Running, times: int) -> bool:
    restarted = run.metric("streamad_reconnects_total", reason="crashed") >= times
    return restarted and {run.camera(name)["state"] for name in "ab"} == {"up"}


@pytest.mark.parametrize(
    "request_bytes",
    [b"", pytest.param(b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: ", marks=pytest.mark.slow)],
    ids=["silent", "half a request"],
)
def test_a_decoder_restarts_while_hundreds_of_sockets_idle(
    small_bundle: Path, tmp_path: Path, request_bytes: bytes
) -> None:
    require_rtsp_server()
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(1200, shapes=3), fps=15)
    with RtspServer({"cam": video}) as server:
        document = {
            "model": str(small_bundle),
            "cameras": [
                {"id": name, "source": {"type": "rtsp", "url": server.url("cam")}, "threshold": THRESHOLD}
                for name in "ab"
            ],
            "engine": {"threads": 1},
            "reconnect": {"initial_seconds": 0.2, "max_seconds": 0.5},
            "events": {"path": "events.sqlite"},
            "web": {"port": 0},
        }
        file = tmp_path / "site.yaml"
        file.write_text(yaml.safe_dump(document))
        with running(file, descriptors=DESCRIPTORS) as run, ExitStack() as stack:
            run.eventually(lambda: {run.camera(name)["state"] for name in "ab"} == {"up"})
            port = httpx.URL(run.url).port
            assert port is not None

            def hold() -> None:
                # Reopen dropped connections, as an attacker would.
                with suppress(OSError):
                    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                    client.sendall(request_bytes)

            for _ in range(SOCKETS):
                hold()
            open_files = Path(f"/proc/{run.process.pid}/fd")

            def watched() -> int:
                """Return the smaller number of frames of the two cameras."""
                return min(run.camera(name)["frames"] for name in "ab")

            for restarts in range(3):
                decoder = children(run.process.pid)[0]
                os.kill(decoder, signal.SIGKILL)
                for _ in range(50):
                    hold()
                run.eventually(partial(is_restarted, run, restarts + 1), seconds=90)
                frames = watched()
                run.eventually(partial(lambda before: watched() > before + 10, frames), seconds=90)
                assert len(list(open_files.iterdir())) < DESCRIPTORS - 64, "a reserve is left"
            assert run.get("/healthz")["ok"]
            assert run.metric("streamad_reconnects_total", reason="crashed") >= 3
            assert "no file descriptor" not in run.text
            assert "Too many open files" not in run.text
            stack.close()
            time.sleep(1.5)
            assert len(list(open_files.iterdir())) < 64 + len(children(run.process.pid)) * 8
            assert run.end() == 0
            assert "Traceback" not in run.text
