"""More frames than the machine can score, with real decoders and engines: all cameras lose alike, reported once.

The scheduling policy is tested without a clock in `tests/unit/live/test_monitor_scheduling.py`.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4

from streamad.config import parse_config
from streamad.live import Monitor
from streamad.live.overload import WINDOW_SECONDS

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone, pytest.mark.slow]

CROWD = [f"fast{number}" for number in range(6)]


def eventually(question: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def test_cameras_lose_alike_and_no_model_starves(
    small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(400, shapes=3))
    other = shutil.copytree(small_bundle, tmp_path / "other")  # another engine and queue
    fast = {"type": "file", "path": str(video), "realtime": True, "loop": True, "speed": 20}
    cameras = [{"id": name, "source": fast, "threshold": THRESHOLD, "model": str(small_bundle)} for name in CROWD]
    cameras.append({"id": "calm", "source": {**fast, "speed": 1}, "threshold": THRESHOLD, "model": str(other)})
    enough = threading.Event()

    def stop_crowd(*_: object) -> None:  # runs in the main loop's thread, as required
        for name in CROWD if enough.is_set() else ():
            watches[name].source.stop()

    config = parse_config(yaml.safe_dump({"cameras": cameras, "engine": {"threads": 1}}))
    monitor = Monitor(config, on_score=stop_crowd)
    watches = {camera.spec.id: camera for camera in monitor.cameras}
    caplog.set_level(logging.INFO)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        eventually(lambda: all(watches[name].overload.is_active for name in CROWD))
        before = {name: watches[name].scored for name in watches}
        time.sleep(2 * WINDOW_SECONDS)
        scored = {name: watches[name].scored - before[name] for name in watches}
        document = monitor.status()
        assert document["overloaded"]
        states = {camera["id"]: camera for camera in document["cameras"]}
        assert {states[name]["state"] for name in CROWD} == {"overloaded"}
        counts = [scored[name] for name in CROWD]
        assert max(counts) - min(counts) <= 0.1 * max(counts), scored
        # The other model's only camera needs less than a fair share, so it gets all it needs, with fresh pictures.
        assert scored["calm"] >= 0.5 * min(25 * 2 * WINDOW_SECONDS, min(counts)), scored
        assert (states["calm"]["last_frame_seconds"] or 99) < 5
        enough.set()
        eventually(lambda: not monitor.status()["overloaded"])
    finally:
        monitor.stop()
        thread.join(30)
    texts = [record.getMessage() for record in caplog.records]
    assert sum("does not keep up with" in text for text in texts) == 1
    assert sum("keeps up with all cameras again" in text for text in texts) == 1
    for name in CROWD:
        assert sum(f"camera {name}: not keeping up" in text for text in texts) == 1
