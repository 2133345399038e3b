"""Cameras that fail in every way, with GStreamer's server: killed, frozen, gone for good, repaired."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rtsp_support import (
    RtspServer,
    frame_number,
    open_descriptors,
    require_rtsp_server,
    resident_mib,
    write_video,
)

from streamad.frame import Frame
from streamad.sources import (
    FailureReason,
    ReconnectSpec,
    RtspSpec,
    SupervisedSource,
    open_source,
    stop_all,
    wait_any,
)

pytestmark = pytest.mark.rtsp

QUICK = ReconnectSpec(initial_seconds=0.2, max_seconds=0.5, jitter=0.5)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_rtsp_server()
    return write_video(tmp_path_factory.mktemp("rtsp") / "long.mp4", frames=1500)


@pytest.fixture
def server(video: Path) -> Iterator[RtspServer]:
    with RtspServer({"cam": video}) as server:
        yield server


def camera(server: RtspServer, **options: object) -> RtspSpec:
    document = {"url": server.url("cam"), "open_timeout_seconds": 3, "read_timeout_seconds": 30, **options}
    return RtspSpec.model_validate(document)


def read_until(source: SupervisedSource, done: Callable[[list[Frame]], bool], seconds: float = 25) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = source.poll(0.02)
        if frame is not None:
            frames.append(frame)
        if done(frames):
            return frames
    raise AssertionError(f"not in {seconds} s: {source.status}, {len(frames)} frames")


def check_continuity(before: list[Frame], after: list[Frame], away_seconds: float) -> None:
    """Check that numbers and times continue, the gap has the right length, and the first frame after it is flagged."""
    frames = before + after
    assert all(a.index < b.index for a, b in pairwise(frames))
    assert all(a.pts_seconds < b.pts_seconds for a, b in pairwise(frames))
    assert [f.index for f in frames if f.is_discontinuity] == [before[0].index, after[0].index]
    gap = after[0].pts_seconds - before[-1].pts_seconds
    assert gap == pytest.approx(after[0].received_at - before[-1].received_at, abs=2.0)
    assert gap > away_seconds / 2
    assert frame_number(after[0].pixels) < 50, "the server plays from the start"
    assert all(f.shape == before[0].shape for f in after)


@pytest.mark.parametrize("transport", ["tcp", pytest.param("udp", marks=pytest.mark.slow)])
def test_a_killed_server_is_reconnected_to(server: RtspServer, transport: str) -> None:
    options = {"transport": transport, "stall_timeout_seconds": 3}
    with SupervisedSource("cam", camera(server, **options), QUICK) as source:
        before = read_until(source, lambda f: len(f) >= 30)
        server.kill()
        before += read_until(source, lambda _: source.status.state == "backoff")
        first = source.status
        assert first.reason in (FailureReason.ENDED, FailureReason.STALLED)
        assert first.reason is FailureReason.ENDED or transport == "udp"
        assert first.message
        read_until(source, lambda _: source.status.reconnects.get(FailureReason.REFUSED, 0) >= 1)
        time.sleep(0.5)
        server.restart()
        after = read_until(source, lambda f: len(f) >= 10)
        status = source.status
    check_continuity(before, after, 0.5)
    assert status.state == "up"
    assert (status.reason, status.message) == (None, None)
    assert sum(status.reconnects.values()) >= 2
    assert status.frames_decoded >= len(before) + len(after)


def test_a_frozen_server_is_noticed_and_reconnected_to(server: RtspServer) -> None:
    with SupervisedSource("cam", camera(server, stall_timeout_seconds=2), QUICK) as source:
        before = read_until(source, lambda f: len(f) >= 30)
        old = source._process
        assert old is not None
        server.freeze()
        frozen_at = time.monotonic()
        before += read_until(source, lambda _: source.status.state == "stale")
        assert 0.5 < time.monotonic() - frozen_at < 3
        read_until(source, lambda _: source.status.state == "backoff")
        assert 1.5 < time.monotonic() - frozen_at < 5
        assert source.status.reason is FailureReason.STALLED
        assert not Path(f"/proc/{old.pid}").exists(), "killed and reaped"
        server.thaw()
        after = read_until(source, lambda f: len(f) >= 10)
        assert source.status.reconnects[FailureReason.STALLED] == 1
    check_continuity(before, after, 1.5)


def test_a_decoder_that_is_killed_is_replaced(server: RtspServer) -> None:
    with SupervisedSource("cam", camera(server), QUICK) as source:
        before = read_until(source, lambda f: len(f) >= 30)
        assert source._process is not None
        os.kill(source._process.pid, signal.SIGKILL)
        before += read_until(source, lambda _: source.status.state == "backoff")
        assert source.status.reason is FailureReason.CRASHED
        assert "signal 9" in str(source.status.message)
        after = read_until(source, lambda f: len(f) >= 10)
    check_continuity(before, after, 0.0)


def test_a_stopped_decoder_is_replaced(server: RtspServer) -> None:
    with SupervisedSource("cam", camera(server, stall_timeout_seconds=1), QUICK) as source:
        read_until(source, lambda f: len(f) >= 30)
        assert source._process is not None
        os.kill(source._process.pid, signal.SIGSTOP)
        read_until(source, lambda _: source.status.state == "backoff")
        read_until(source, lambda f: len(f) >= 10)


def test_attempts_run_out(server: RtspServer) -> None:
    server.kill()
    given = QUICK.model_copy(update={"max_attempts": 3})
    with SupervisedSource("cam", camera(server), given) as source:
        assert source.poll(20) is None
        status = source.status
    assert (status.state, status.attempts, status.reason) == ("failed", 3, FailureReason.REFUSED)
    assert status.reconnects == {FailureReason.REFUSED: 2}


def test_one_dead_camera_disturbs_no_other(server: RtspServer) -> None:
    dead = RtspSpec.model_validate({"url": "rtsp://127.0.0.1:1/cam", "open_timeout_seconds": 2})
    sources = [
        SupervisedSource("one", camera(server)),
        SupervisedSource("dead", dead, ReconnectSpec(initial_seconds=0.1, max_seconds=0.2)),
        SupervisedSource("two", camera(server, transport="udp")),
    ]
    frames: dict[str, list[Frame]] = {s.camera: [] for s in sources}
    for source in sources:
        source.start()
    polls = 0
    end = time.monotonic() + 20
    while min(len(frames["one"]), len(frames["two"])) < 60 and time.monotonic() < end:
        for source in wait_any(sources, 1.0):
            polls += 1
            frame = source.poll()
            if frame is not None:
                frames[source.camera].append(frame)
    began = time.monotonic()
    stop_all(sources)
    assert time.monotonic() - began < 3
    assert [s.status.state for s in sources] == ["stopped"] * 3
    assert [frame_number(f.pixels) for f in frames["one"][:60]] == list(range(60))
    assert [frame_number(f.pixels) for f in frames["two"][:60]] == list(range(60))
    assert not frames["dead"]
    assert sources[1].status.attempts >= 3  # each needs a process, which is slow on a busy machine
    assert polls < 5 * sum(map(len, frames.values())), "no busy loop"


def test_a_reader_that_is_late_gets_the_newest_frames(server: RtspServer) -> None:
    with SupervisedSource("cam", camera(server), slots=4) as source:
        read_until(source, lambda f: len(f) >= 60)
        time.sleep(3)
        frames = read_until(source, lambda f: len(f) >= 8)
        status = source.status
    assert frames[0].received_at > time.monotonic() - 2.0
    assert status.dropped["queue_full"] > 20
    # Frames decoded and not dropped were read, except for the few in the ring.
    assert status.frames_decoded - status.dropped["queue_full"] - (60 + len(frames)) <= 5
    assert frames[0].index - 60 >= status.dropped["queue_full"] - 5, "holes in the numbers show the drops"


def test_the_decoder_ends_with_a_killed_main_process(server: RtspServer) -> None:
    code = (
        "import sys, time; from streamad.sources import SupervisedSource, RtspSpec, Url\n"
        "source = SupervisedSource('cam', RtspSpec(url=Url(sys.argv[1]))); source.start()\n"
        "while source.poll(1) is None: pass\n"
        "print(source._process.pid, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, server.url("cam")], stdout=subprocess.PIPE, env=environment
    ) as main:
        assert main.stdout is not None
        pid = int(main.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        main.kill()
    end = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_opening_and_closing_leaves_memory_flat(server: RtspServer) -> None:
    """A short soak of the decode path. The long one has 300 cycles (measured flat)."""

    def cycle() -> None:
        wanted = camera(server, open_timeout_seconds=10)
        with open_source(wanted, camera="cam") as source:
            assert next(iter(source)).shape == (240, 320)

    for _ in range(3):
        cycle()
    before, descriptors = resident_mib(), open_descriptors()
    for _ in range(5):
        cycle()
    assert resident_mib() - before < 16
    assert open_descriptors() <= descriptors
