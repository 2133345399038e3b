"""RTSP with GStreamer's server: codecs, transports, credentials, and addresses that do not work."""

from __future__ import annotations

import codecs
import ipaddress
import socket
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rtsp_support
from program_support import program
from rtsp_support import RtspServer, frame_number, require_rtsp_server, write_video

from streamad.frame import Frame, FrameFlags
from streamad.sources import (
    FailureReason,
    FileSpec,
    ReconnectSpec,
    RtspSpec,
    SourceError,
    SupervisedSource,
    open_source,
)

pytestmark = pytest.mark.rtsp

USER, PASSWORD = "us er", "p@ss/#?:"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    require_rtsp_server()
    folder = tmp_path_factory.mktemp("rtsp")
    return {
        "h264": write_video(folder / "h264.mp4", frames=250),
        "h265": write_video(folder / "h265.mp4", frames=250, codec="libx265"),
    }


@pytest.fixture(scope="module")
def server(videos: dict[str, Path]) -> Iterator[RtspServer]:
    with RtspServer(videos) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(videos: dict[str, Path]) -> Iterator[RtspServer]:
    with RtspServer(videos, user=USER, password=PASSWORD) as server:
        yield server


def spec(url: str, **options: object) -> RtspSpec:
    return RtspSpec.model_validate({"url": url, "open_timeout_seconds": 4, "read_timeout_seconds": 2, **options})


def collect(source: SupervisedSource, count: int, seconds: float = 20.0) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + seconds
    while len(frames) < count and time.monotonic() < end and not source.over:
        frame = source.poll(0.5)
        if frame is not None:
            frames.append(frame)
    assert len(frames) == count, source.status
    return frames


def failure_of(wanted: RtspSpec) -> SourceError:
    """Return the error of a camera that cannot be opened; must be equal here and in the supervised process."""
    with pytest.raises(SourceError) as caught:
        open_source(wanted, camera="cam").close()
    with SupervisedSource("cam", wanted, ReconnectSpec(max_attempts=1)) as source:
        assert source.poll(20) is None
        status = source.status
    assert status.state == "failed"
    assert status.reason is caught.value.reason
    error = status.error()
    assert type(error) is type(caught.value)
    assert str(error) == str(caught.value)
    assert error is not None
    assert error.hint
    shown = "".join(traceback.format_exception(caught.value)) + repr(status) + repr(caught.value.__context__)
    for secret in (PASSWORD, "p%40ss", "hunter2"):
        assert secret not in shown
    return caught.value


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_every_frame_arrives_in_order(server: RtspServer, codec: str, transport: str) -> None:
    with SupervisedSource("cam", spec(server.url(codec), transport=transport)) as source:
        frames = collect(source, 40)
        status = source.status
    assert [frame_number(f.pixels) for f in frames] == list(range(40))
    assert [f.index for f in frames] == list(range(40))
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(40) / 25, atol=2e-3)
    assert [f.is_discontinuity for f in frames] == [True] + [False] * 39
    assert frames[0].flags & FrameFlags.KEY
    assert {f.camera for f in frames} == {"cam"}
    assert {f.shape for f in frames} == {(240, 320)}
    assert status.state == "up"
    assert status.reason is None
    assert status.dropped == {}
    assert status.info is not None
    assert (status.info.live, status.info.codec) == (True, {"h264": "h264", "h265": "hevc"}[codec])
    assert abs(time.monotonic() - frames[-1].received_at) < 5


def test_in_this_process_too(server: RtspServer) -> None:
    with open_source(spec(server.url("h264")), camera="cam") as source:
        frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    assert [frame_number(f.pixels) for f in frames] == list(range(10))


def test_the_end_of_a_stream_is_a_disconnect(tmp_path: Path) -> None:
    require_rtsp_server()
    short = write_video(tmp_path / "short.mp4", frames=40)
    once = ReconnectSpec(max_attempts=1)
    with (
        RtspServer({"short": short}) as server,
        SupervisedSource("cam", spec(server.url("short")), once) as source,
    ):
        collect(source, 40)
        assert source.poll(10) is None
        assert (source.status.state, source.status.reason) == ("failed", FailureReason.ENDED)


@pytest.mark.parametrize("way", ["address", "environment", "file", "environment, newline", "file, BOM, CRLF"])
def test_digest_authentication(guarded: RtspServer, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = guarded.url("h264", credentials=False)
    if way == "address":
        wanted = spec(guarded.url("h264"))
    elif "environment" in way:
        end = "\n" if "newline" in way else ""
        monkeypatch.setenv("CAM_USER", USER + end)
        monkeypatch.setenv("CAM_PASSWORD", PASSWORD + end)
        wanted = spec(bare, username_env="CAM_USER", password_env="CAM_PASSWORD")
    else:
        secret = tmp_path / "secret"
        start, end = (codecs.BOM_UTF8, b"\r\n") if "BOM" in way else (b"", b"\n")
        secret.write_bytes(start + f"{USER}:{PASSWORD}".encode() + end)
        wanted = spec(bare, secret_file=secret)
    with SupervisedSource("cam", wanted) as source:
        assert frame_number(collect(source, 1)[0].pixels) == 0


def test_ipv6_address_with_a_zone(tmp_path: Path) -> None:
    require_rtsp_server()
    zone, address = link_local()
    with RtspServer({"short": write_video(tmp_path / "short.mp4", frames=40)}, address="::") as server:
        for host in (f"[{address}%25{zone}]", f"[{address}%{zone}]"):
            with SupervisedSource("cam", spec(f"rtsp://{host}:{server.port}/short")) as source:
                assert frame_number(collect(source, 1)[0].pixels) == 0


def link_local() -> tuple[str, str]:
    """Find (zone, address) of an interface with a link-local IPv6 address."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        packed, *_, name = line.split()
        if (found := ipaddress.IPv6Address(bytes.fromhex(packed))).is_link_local:
            return name, str(found)
    pytest.skip("no interface here has a link-local IPv6 address")


def test_wrong_and_missing_credentials(guarded: RtspServer) -> None:
    bare = guarded.url("h264", credentials=False)
    for url in (bare, bare.replace("rtsp://", "rtsp://root:hunter2@")):
        error = failure_of(spec(url))
        assert error.reason is FailureReason.AUTH
        assert isinstance(error, PermissionError)


def test_a_variable_that_is_not_set(server: RtspServer) -> None:
    error = failure_of(spec(server.url("h264"), username_env="NO_SUCH_USER", password_env="NO_SUCH_PASSWORD"))
    assert error.reason is FailureReason.AUTH
    assert "NO_SUCH_USER" in str(error)


def test_no_such_stream(server: RtspServer) -> None:
    error = failure_of(spec(server.url("nothing_here")))
    assert error.reason is FailureReason.NOT_FOUND
    assert isinstance(error, FileNotFoundError)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nothing_listens() -> None:
    error = failure_of(spec(f"rtsp://root:hunter2@127.0.0.1:{free_port()}/a"))
    assert error.reason is FailureReason.REFUSED
    assert isinstance(error, ConnectionRefusedError)


def test_accepted_and_never_answered() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        error = failure_of(spec(f"rtsp://root:hunter2@127.0.0.1:{silent.getsockname()[1]}/a", open_timeout_seconds=1))
    assert error.reason is FailureReason.TIMEOUT
    assert isinstance(error, TimeoutError)


def test_a_host_without_an_address() -> None:
    error = failure_of(spec("rtsp://root:hunter2@no-such-camera.invalid/a"))
    assert error.reason is FailureReason.NETWORK
    assert "no-such-camera.invalid" in str(error)


@pytest.fixture(scope="module")
def encrypted(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RtspServer, Path]]:
    program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    with RtspServer(videos, certificate=both) as server:
        yield server, certificate


def test_encrypted_with_a_known_certificate(encrypted: tuple[RtspServer, Path]) -> None:
    server, certificate = encrypted
    for options in ({"ca_file": certificate}, {"tls_verify": False}):
        with SupervisedSource("cam", spec(server.url("h264"), **options)) as source:
            assert frame_number(collect(source, 1)[0].pixels) == 0


def test_a_certificate_that_is_not_trusted(encrypted: tuple[RtspServer, Path]) -> None:
    error = failure_of(spec(encrypted[0].url("h264")))
    assert error.reason is FailureReason.TLS
    assert "ca_file" in str(error.hint)


def test_a_server_without_encryption(server: RtspServer) -> None:
    error = failure_of(spec(server.url("h264").replace("rtsp://", "rtsps://")))
    assert error.reason is FailureReason.TLS


def test_a_missing_server_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_support, "SYSTEM_PYTHON", "/no/such/python")
    rtsp_support._missing.cache_clear()
    try:
        monkeypatch.delenv("STREAMAD_REQUIRE_RTSP", raising=False)
        with pytest.raises(pytest.skip.Exception, match="no RTSP server"):
            require_rtsp_server()
        monkeypatch.setenv("STREAMAD_REQUIRE_RTSP", "1")
        with pytest.raises(pytest.fail.Exception, match="no RTSP server"):
            require_rtsp_server()
    finally:
        rtsp_support._missing.cache_clear()


def test_the_recording_command_of_the_docs_takes_any_stream(videos: dict[str, Path], tmp_path: Path) -> None:
    """Streams with B-frames too: RTSP has no decoding times, and ffmpeg's Matroska writer refuses such a stream."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")
    command = page.partition("ffmpeg ")[2].partition("```")[0].replace("\\\n", " ").replace("600", "4")
    reordered = tmp_path / "reordered.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(videos["h264"]), "-c:v", "libx264", "-bf", "3", "-g", "25", str(reordered)],
        check=True,
    )
    (tmp_path / "recordings" / "train").mkdir(parents=True)
    with RtspServer({"stream1": reordered}) as server:
        argv = ["ffmpeg", "-v", "error", *command.replace("rtsp://CAMERA/stream1", server.url("stream1")).split()]
        subprocess.run(argv, check=True, cwd=tmp_path, timeout=60)
    recorded = sorted((tmp_path / "recordings" / "train").iterdir())
    assert len(recorded) >= 2
    frames = []
    for path in recorded:
        with open_source(FileSpec(path=path), camera="gate") as source:
            frames += [frame_number(frame.pixels) for frame in source]
    assert frames == sorted(set(frames))
    assert len(frames) > 240
