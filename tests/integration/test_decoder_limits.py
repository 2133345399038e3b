"""Limits of a decoder process, and its end with the main process."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from rtsp_support import write_video
from run_support import alive

from streamad.frame import Frame
from streamad.sources import FailureReason, FileSpec, SupervisedSource
from streamad.sources.limits import MAX_BYTES

pytestmark = pytest.mark.timeout(120)

BESIDE = """
import json, resource, sys
from pathlib import Path
from streamad.sources import FileSpec, SupervisedSource
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[3]), resource.getrlimit(resource.RLIMIT_DATA)[1]))
answer = {}
with SupervisedSource("big", FileSpec(path=Path(sys.argv[1]))) as big, \\
     SupervisedSource("small", FileSpec(path=Path(sys.argv[2]))) as small:
    resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)
    for source in (big, small):
        frames = 0
        while not source.over:
            frames += source.poll(0.5) is not None
        status = source.status
        answer[source.camera] = [status.state, status.reason, status.message, status.hint, frames]
print(json.dumps(answer))
"""

STOPPED = """
import sys, time
from pathlib import Path
from streamad.sources import FileSpec, SupervisedSource
with SupervisedSource("cam", FileSpec(path=Path(sys.argv[1]), realtime=True, loop=True)) as source:
    while source.poll(0.5) is None:
        pass
    print(source._process.pid, flush=True)
    while True:
        source.poll(0.5)
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("limits") / "small.mp4", frames=50)


def drained(source: SupervisedSource) -> list[Frame]:
    frames = []
    while not source.over:
        if (frame := source.poll(0.5)) is not None:
            frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [pytest.param("libx264", "yuv420p", marks=pytest.mark.slow), ("mjpeg", "yuvj420p")]
)
def test_pictures_that_take_too_much_memory(tmp_path: Path, video: Path, codec: str, pixel_format: str) -> None:
    """The limit is lowered, so that the test does not need gigabytes."""
    big = write_video(tmp_path / "big.mkv", frames=6, size=(8000, 4400), codec=codec, pixel_format=pixel_format)
    run = subprocess.run(
        [sys.executable, "-c", BESIDE, str(big), str(video), str(420 << 20)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    answer = json.loads(run.stdout)
    state, reason, message, hint, _ = answer["big"]
    assert (state, reason, hint) == ("failed", "memory", "lower the camera's resolution")
    assert "memory" in message
    assert answer["small"] == ["ended", None, None, None, 50]


def test_pictures_too_large_to_share(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.jpg"), np.full((12000, 12000), 100, np.uint8))
    with SupervisedSource("cam", FileSpec(path=tmp_path / "one.jpg")) as source:
        assert drained(source) == []
        assert (source.status.state, source.status.reason) == ("failed", FailureReason.MEMORY)


def test_the_limit_holds_in_the_process(video: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=video, realtime=True)) as source:
        while source.poll(0.5) is None:
            pass
        assert source._process is not None
        soft, _ = resource.prlimit(source._process.pid, resource.RLIMIT_DATA)
    assert 0 < soft <= MAX_BYTES


def test_a_stopped_decoder_does_not_outlive_a_killed_main(video: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED, str(video)], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        decoder = int(main.stdout.readline())
        try:
            os.kill(decoder, signal.SIGSTOP)
        finally:
            main.kill()
    end = time.monotonic() + 20
    while alive(decoder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(decoder)


def test_a_decoder_outlives_the_thread_that_started_it(video: Path) -> None:
    source = SupervisedSource("cam", FileSpec(path=video))
    starter = threading.Thread(target=source.start)
    starter.start()
    starter.join()
    try:
        assert len(drained(source)) == 50
        assert source.status.state == "ended"
    finally:
        source.stop()
