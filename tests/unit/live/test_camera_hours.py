"""A camera raises alerts in its hours only, and is watched with the calibration of the hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4

from streamad.alerts.tracker import EventChange
from streamad.bundle import load_bundle
from streamad.calibration import calibrate_bundle
from streamad.calibration.score_history import read_history
from streamad.config import parse_config
from streamad.live.camera import CameraWatch
from streamad.live.monitor import Monitor
from streamad.workflows.recalibrate import ScoreHistoryRecorder, scores_sha256


@pytest.fixture(scope="module")
def busy_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds in which something always moves."""
    return write_mp4(tmp_path_factory.mktemp("hours") / "busy.mp4", moving_shapes(250, shapes=3))


class WallClock:
    def __init__(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=UTC)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def watch(
    camera: dict[str, Any], bundle: Path, video: Path, clock: WallClock, on_frame: Callable[[CameraWatch, int], None]
) -> list[EventChange]:
    """Watch the video in real time; `on_frame` is called for every frame and may set the clock."""
    source = {"type": "file", "path": str(video), "realtime": True}
    config = {
        "model": str(bundle), "engine": {"threads": 1}, "rules": {"min_duration_seconds": 0.2, "cooldown_seconds": 0},
        "cameras": [{"id": "gate", "source": source, "time_zone": "Europe/Berlin", **camera}],
    }  # fmt: skip
    changes: list[EventChange] = []
    monitor = Monitor(
        parse_config(yaml.safe_dump(config)),
        on_score=lambda camera, frame, _: on_frame(camera, frame.index),
        on_event=changes.append,
        wall_clock=clock,
    )
    monitor.run(once=True)
    return changes


def test_no_alert_opens_outside_the_hours(small_bundle: Path, busy_video: Path, tmp_path: Path) -> None:
    clock = WallClock("2026-01-07 12:00")
    history = ScoreHistoryRecorder(parse_config(
        f"model: m\ncameras: [{{id: a, source: {{type: file, path: b}}}}]\nhistory: {{folder: {tmp_path}}}\n"
    ).history, clock)  # fmt: skip
    seen: dict[int, tuple[bool, str | None, bool]] = {}
    newest: list[Any] = []

    def on_frame(camera: CameraWatch, index: int) -> None:
        if index >= 180:
            clock.set("2026-01-07 07:00")  # the next morning, or a clock that was set back
        elif index >= 80:
            clock.set("2026-01-07 17:00")  # 18:00 in Berlin
        status = camera.status()
        seen[index] = status["is_active"], status["schedule"], camera.open_event is not None
        assert camera.newest is not None
        newest.append(camera.newest[1].score)
        history.on_score(camera, camera.newest[1])

    hours = [{"start": "08:00", "end": "18:00", "days": ["wed"]}]
    changes = watch({"threshold": THRESHOLD, "active": hours}, small_bundle, busy_video, clock, on_frame)
    history.close()
    kinds = [(change.kind, change.event.reason) for change in changes if not change.is_progress]
    assert kinds == [("opened", "score"), ("closed", "inactive"), ("opened", "score"), ("closed", "end")]
    inactive = [index for index, (is_active, _, _) in seen.items() if not is_active]
    assert inactive == list(range(inactive[0], inactive[-1] + 1))
    assert 80 <= inactive[0] < inactive[-1]
    assert {schedule for _, schedule, _ in seen.values()} == {None, "not active until Wed 08:00"}
    assert seen[100][1] == "not active until Wed 08:00"
    assert not any(is_open for index, (_, _, is_open) in seen.items() if index in inactive)
    # Frames are scored all the same, but what happens outside the hours is not what is normal within them.
    assert np.isfinite(newest[90:]).all()
    kept = read_history(
        tmp_path, "gate", scores_sha256(load_bundle(small_bundle), None), since=datetime(2025, 1, 1, tzinfo=UTC)
    )
    assert kept.skipped_frames >= len(inactive)


def test_profiles_change_with_the_hour(small_bundle: Path, busy_video: Path, tmp_path: Path) -> None:
    bundle, rng = load_bundle(small_bundle), np.random.default_rng(0)
    thresholds = {}
    for name, level in (("day", 30.0), ("night", 60.0)):  # out of reach
        calibration = calibrate_bundle(bundle, [rng.normal(level, 1, 5000)], fps=25, source="test")
        calibration.save(tmp_path / f"{name}.json")
        thresholds[name] = calibration.threshold
    clock, used = WallClock("2026-01-07 12:00"), {}

    def on_frame(camera: CameraWatch, index: int) -> None:
        if index >= 50:
            clock.set("2026-01-07 22:00")
        used[index] = camera.profile, camera.policy.threshold

    camera = {
        "calibration": str(tmp_path / "day.json"),
        "profiles": [
            {
                "name": "night",
                "hours": [{"start": "20:00", "end": "06:00"}],
                "calibration": str(tmp_path / "night.json"),
            }
        ],
    }
    watch(camera, small_bundle, busy_video, clock, on_frame)
    assert used[10] == (None, thresholds["day"])
    assert used[max(used)] == ("night", thresholds["night"])
    assert set(used.values()) == {used[10], used[max(used)]}
