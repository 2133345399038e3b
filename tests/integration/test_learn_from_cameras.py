"""`streamad learn` on cameras that never come up ends soon, with the reason; one that was up before is waited for."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_support import write_mp4
from cli_support import streamad
from quality_support import watched
from rtsp_support import RtspServer, require_rtsp_server

PATIENCE = 60.0
"""Three times as long as `learn` waits for a camera that never came up; it used to wait 30 minutes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    require_rtsp_server()
    path = write_mp4(tmp_path_factory.mktemp("camera") / "cam.mp4", watched(250, size=(160, 90)), fps=25)
    with RtspServer({"cam": path}, user="user", password="right") as server:
        yield server


def refused(url: str, reason: str, cwd: Path) -> str:
    began = time.monotonic()
    ran = streamad("learn", url, "--out", "models/gate", "--json", cwd=cwd, timeout=2 * PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert ran.code == 3, ran.err
    error = ran.error()
    assert error["reason"] == reason
    assert error["hint"]
    assert not (cwd / "models" / "gate" / "current").exists()
    return str(error["message"])


@pytest.mark.rtsp
def test_a_wrong_path_and_a_wrong_password(server: RtspServer, tmp_path: Path) -> None:
    assert "no such stream" in refused(server.url("nothing"), "not_found", tmp_path)
    wrong = server.url("cam").replace("right", "wrong")
    assert "wrong" not in refused(wrong, "auth", tmp_path)


@pytest.mark.rtsp
@pytest.mark.slow
def test_a_port_where_nothing_listens_or_nothing_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert "refused" in refused(f"rtsp://127.0.0.1:{port}/cam", "refused", tmp_path)
        silent.listen()
        refused(f"rtsp://127.0.0.1:{port}/cam", "timeout", tmp_path)


@pytest.mark.slow
@pytest.mark.rtsp
@pytest.mark.timeout(300)
def test_half_a_minute_of_a_camera_is_enough(tmp_path: Path) -> None:
    require_rtsp_server()
    path = write_mp4(tmp_path / "cam.mp4", watched(40 * 12, size=(160, 90)), fps=12)
    with RtspServer({"cam": path}) as server:
        ran = streamad("learn", server.url("cam"), "--minutes", "0.5", "--out", "gate", cwd=tmp_path, timeout=240)
    assert ran.code == 0, ran.err
    assert streamad("models", "show", "gate", cwd=tmp_path).code == 0
