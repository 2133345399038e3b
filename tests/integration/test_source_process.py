"""The decoder process with files: nothing is lost and nothing left behind, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from rtsp_support import frame_number, open_descriptors, resident_mib, write_video

from streamad.frame import Frame
from streamad.sources import (
    FailureReason,
    FileSpec,
    ImagesSpec,
    ReconnectSpec,
    RtspSpec,
    SourceNotFoundError,
    SupervisedSource,
    Url,
    open_source,
    wait_any,
)

pytestmark = pytest.mark.alone  # depends on wall-clock timing
FRAMES = 200


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("process") / "a.mp4", frames=FRAMES)


def drain(source: SupervisedSource, seconds: float = 30) -> list[Frame]:
    frames = []
    end = time.monotonic() + seconds
    while not source.over:
        assert time.monotonic() < end, source.status
        frame = source.poll(1.0)
        if frame is not None:
            frames.append(frame)
    return frames


def test_the_same_frames_as_in_this_process(video: Path) -> None:
    with open_source(FileSpec(path=video), camera="cam") as source:
        expected = list(source)
    with SupervisedSource("cam", FileSpec(path=video)) as supervised:
        frames = drain(supervised)
        status = supervised.status
        assert supervised.poll(1.0) is None
    assert len(frames) == len(expected) == FRAMES
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.pixels, other.pixels)
        assert (frame.index, frame.pts_seconds, frame.flags) == (other.index, other.pts_seconds, other.flags)
    assert (status.state, status.reason, status.dropped) == ("ended", None, {})
    assert status.frames_decoded == FRAMES
    assert status.info == source.info
    assert supervised.status.state == "ended", "stopping changes nothing any more"


def test_a_slow_reader_makes_the_decoder_wait(video: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=video), slots=3) as source:
        first = source.poll(20)
        assert first is not None
        time.sleep(1.5)
        assert source.status.frames_decoded <= 5
        assert [frame_number(f.pixels) for f in [first, *drain(source)]] == list(range(FRAMES))


def test_growing_pictures_get_larger_rings(tmp_path: Path) -> None:
    sizes = [1, 5, 40, 40, 7, 90, 200, 3, 300, 300, 500, 640]
    for number, size in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((size, size + 1), number, np.uint8))
    with SupervisedSource("cam", ImagesSpec(path=tmp_path)) as source:
        frames = drain(source)
    assert [f.shape for f in frames] == [(s, s + 1) for s in sizes]
    assert [int(f.pixels.mean()) for f in frames] == list(range(len(sizes)))
    assert all(f.pixels.min() == f.pixels.max() for f in frames)


def test_a_realtime_replay_drops_what_nobody_reads(video: Path) -> None:
    spec = FileSpec(path=video, realtime=True, loop=True)
    with SupervisedSource("cam", spec, slots=3) as source:
        began = time.monotonic()
        first = source.poll(20)
        assert first is not None
        time.sleep(1.5)
        late = source.poll(1)
        assert late is not None
        assert late.index > 25
        assert time.monotonic() - late.received_at < 0.5
        assert source.status.dropped["queue_full"] > 20
        assert late.pts_seconds < time.monotonic() - began


def test_a_replay_that_rarely_shows_a_frame_is_not_stalled(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSpec, "stall_timeout_seconds", 1.2)
    spec = FileSpec(path=video, realtime=True, speed=0.01)  # one frame in four seconds
    with SupervisedSource("cam", spec) as source:
        assert source.poll(20) is not None
        second = source.poll(20)
        assert second is not None
        assert second.index == 1
        assert source.status.reconnects == {}


def test_failures_of_files_are_final(tmp_path: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=tmp_path / "missing.mp4")) as source:
        assert drain(source) == []
        status = source.status
    assert (status.state, status.reason) == ("failed", FailureReason.NOT_FOUND)
    assert isinstance(status.error(), SourceNotFoundError)
    assert "no such file" in str(status.error())


def refusing_camera() -> RtspSpec:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return RtspSpec(url=Url(f"rtsp://127.0.0.1:{probe.getsockname()[1]}/cam"))


def poll_until(source: SupervisedSource, state: str) -> None:
    end = time.monotonic() + 20
    while source.status.state != state:
        assert time.monotonic() < end, source.status
        assert source.poll() is None
        time.sleep(0.005)


def test_reconnects_follow_the_injected_clock() -> None:
    now = [1000.0]
    waits = ReconnectSpec(initial_seconds=10, max_seconds=25, jitter=0, max_attempts=4)
    with SupervisedSource("cam", refusing_camera(), waits, clock=lambda: now[0]) as source:
        for attempt, wait in enumerate([10, 20, 25], start=1):
            poll_until(source, "backoff")
            assert (source.status.attempts, source.status.reconnects) == (attempt, {FailureReason.REFUSED: attempt})
            assert source.next_deadline == now[0] + wait
            now[0] += wait - 0.1
            assert source.poll() is None
            assert source.status.state == "backoff"
            assert source.connection is None
            now[0] += 0.1
            assert source.poll() is None
            assert source.status.state == "starting"
        poll_until(source, "failed")
        assert source.next_deadline is None


def test_a_decoder_that_never_opens_is_killed() -> None:
    now = [1000.0]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        spec = RtspSpec(url=Url(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"), open_timeout_seconds=300)
        with SupervisedSource("cam", spec, clock=lambda: now[0]) as source:
            assert source.poll() is None
            now[0] += 1000
            poll_until(source, "backoff")
            assert source.status.reason is FailureReason.TIMEOUT
            assert source.connection is None


def test_damage_is_reported(video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ts"
    whole = write_video(tmp_path / "whole.ts", frames=50)
    cut.write_bytes(whole.read_bytes()[:-100])
    with SupervisedSource("cam", FileSpec(path=cut)) as source:
        assert len(drain(source)) > 40
        assert source.status.state == "ended"
        assert "truncated" in source.status.problems[0]


def test_a_killed_decoder_of_a_file_fails_it(video: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=video)) as source:
        assert source.poll(20) is not None
        assert source._process is not None
        os.kill(source._process.pid, signal.SIGKILL)
        rest = drain(source)
        assert len(rest) <= 7
        assert (source.status.state, source.status.reason) == ("failed", FailureReason.CRASHED)


def test_many_at_once(video: Path) -> None:
    sources = [SupervisedSource(f"cam{i}", FileSpec(path=video)) for i in range(3)]
    numbers: dict[str, list[int]] = {s.camera: [] for s in sources}
    for source in sources:
        source.start()
    end = time.monotonic() + 30
    while not all(s.over for s in sources) and time.monotonic() < end:
        for source in wait_any(sources, 1.0):
            frame = source.poll()
            if frame is not None:
                numbers[source.camera].append(frame_number(frame.pixels))
    for source in sources:
        source.stop()
    assert all(seen == list(range(FRAMES)) for seen in numbers.values())
    assert wait_any(sources, 0.0) == []


def test_stop_and_start_again(video: Path) -> None:
    source = SupervisedSource("cam", FileSpec(path=video, realtime=True))
    assert source.status.state == "stopped"
    assert source.poll() is None
    source.start()
    assert source.poll(20) is not None
    pid = source._process.pid if source._process else 0
    began = time.monotonic()
    source.stop()
    source.stop()
    assert time.monotonic() - began < 2
    assert not Path(f"/proc/{pid}").exists()
    source.start()
    again = source.poll(20)
    assert again is not None
    assert again.index >= 1
    assert again.is_discontinuity
    source.stop()


def test_interrupt_reaches_the_main_process_alone(video: Path) -> None:
    """Ctrl-C is sent to the whole foreground group; the decoder must not die of it with a traceback."""
    code = (
        "import sys, time; from pathlib import Path; from streamad.sources import SupervisedSource, FileSpec\n"
        "try:\n"
        "    with SupervisedSource('cam', FileSpec(path=Path(sys.argv[1]), realtime=True, loop=True)) as s:\n"
        "        print('ready', flush=True)\n"
        "        while True: s.poll(1)\n"
        "except KeyboardInterrupt: print(s.status.state, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(video)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as main:
        assert main.stdout is not None
        assert main.stdout.readline() == "ready\n"
        time.sleep(0.15)  # while the decoder is starting
        os.killpg(main.pid, signal.SIGINT)
        out, err = main.communicate(timeout=20)
    assert (out, err) == ("stopped\n", "")


def test_a_hundred_openings_leave_memory_flat(video: Path) -> None:
    def cycle() -> None:
        with open_source(FileSpec(path=video), camera="cam") as source:
            assert next(iter(source)).index == 0

    for _ in range(20):
        cycle()
    before, descriptors = resident_mib(), open_descriptors()
    for _ in range(100):
        cycle()
    assert resident_mib() - before < 10
    assert open_descriptors() <= descriptors


def test_restarted_processes_leave_nothing(video: Path) -> None:
    def cycle() -> None:
        with SupervisedSource("cam", FileSpec(path=video)) as source:
            assert source.poll(20) is not None

    shared = set(os.listdir("/dev/shm"))
    cycle()
    before, descriptors = resident_mib(), open_descriptors()
    for _ in range(8):
        cycle()
    assert resident_mib() - before < 10
    assert open_descriptors() <= descriptors
    assert set(os.listdir("/dev/shm")) <= shared


def test_an_idle_poll_is_cheap(video: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=video, realtime=True, speed=0.01)) as source:
        assert source.poll(20) is not None
        source.poll()
        began = time.process_time()
        for _ in range(1000):
            source.poll()
        assert (time.process_time() - began) / 1000 < 1e-3
