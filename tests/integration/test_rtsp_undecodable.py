"""Cameras that connect and send data that never becomes a picture, and JPEG over RTP that does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bundle_support import THRESHOLD
from cli_support import streamad
from rtsp_support import RtspServer, require_rtsp_server

from streamad.errors import ExitCode
from streamad.frame import FrameFlags
from streamad.sources import (
    FailureReason,
    ReconnectSpec,
    RtspSpec,
    SourceCodecError,
    SupervisedSource,
    open_source,
)

pytestmark = [pytest.mark.rtsp, pytest.mark.timeout(180)]

JPEG = "video/x-raw,width={},height={},framerate=25/1,format=I420 ! jpegenc quality=40 ! rtpjpegpay name=pay0 pt=26"
MOUNTS = {
    # RTP's JPEG header cannot represent a width over 2040, so FFmpeg rejects each picture.
    "ends": "videotestsrc is-live=true num-buffers=60 ! " + JPEG.format(2688, 64),
    "goes_on": "videotestsrc is-live=true ! " + JPEG.format(2688, 64),
    "fits": "videotestsrc is-live=true pattern=ball num-buffers=60 ! " + JPEG.format(320, 240),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    require_rtsp_server()
    with RtspServer(MOUNTS) as server:
        yield server


def spec(server: RtspServer, mount: str) -> RtspSpec:
    return RtspSpec.model_validate(
        {"url": server.url(mount), "open_timeout_seconds": 10, "read_timeout_seconds": 3, "stall_timeout_seconds": 5}
    )


def test_a_stream_that_ends_without_a_picture(server: RtspServer) -> None:
    with (
        pytest.raises(SourceCodecError, match=r"no picture could be decoded \(\d+ damaged packets\)") as caught,
        open_source(spec(server, "ends"), camera="cam") as source,
    ):
        list(source)
    assert caught.value.hint == "choose H.264 or H.265, or a smaller picture"
    assert caught.value.exit_code is ExitCode.SOURCE


def test_a_stream_that_goes_on_without_a_picture(server: RtspServer) -> None:
    with SupervisedSource("cam", spec(server, "goes_on"), ReconnectSpec(max_attempts=1)) as source:
        end = time.monotonic() + 60
        while not source.over and time.monotonic() < end:
            assert source.poll(0.5) is None
        status = source.status
    assert (status.state, status.reason) == ("failed", FailureReason.CODEC)
    assert status.message is not None
    assert "damaged packets" in status.message


@pytest.mark.slow
def test_commands_end_with_the_reason_and_write_nothing(server: RtspServer, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = streamad("score", server.url("ends"), "-m", str(small_bundle), "--out", str(out), cwd=tmp_path)
    assert done.code == ExitCode.SOURCE
    assert "no picture could be decoded" in done.err
    assert "mp4" not in done.out + done.err
    assert [path for path in out.rglob("*") if path.is_file()] == []
    camera = {"id": "yard", "threshold": THRESHOLD, "source": spec(server, "goes_on").model_dump(mode="json")}
    camera["source"]["url"] = server.url("goes_on")
    site = {"model": str(small_bundle), "cameras": [camera], "reconnect": {"max_attempts": 1}, "web": {"port": 0}}
    site["events"] = {"path": str(tmp_path / "events.sqlite")}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    done = streamad("run", "site.yaml", "--once", cwd=tmp_path, timeout=120)
    assert done.code == ExitCode.SOURCE, done.err
    assert "codec" in done.err
    assert "no picture could be decoded" in done.err


def test_jpeg_over_rtp_is_decoded_and_flagged_nowhere(server: RtspServer) -> None:
    with open_source(spec(server, "fits"), camera="cam") as source:
        frames = list(source)
    assert len(frames) >= 50
    assert {frame.shape for frame in frames} == {(240, 320)}
    assert not any(frame.flags & FrameFlags.CORRUPT for frame in frames)
