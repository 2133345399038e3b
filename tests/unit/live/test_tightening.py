"""A camera is recalibrated on its own scores while it is watched: a monitor of real models and scorers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import moving_shapes, write_mp4
from monitor_support import Clock, EndlessSource
from unit.alerts.alert_events import make_event

from streamad.alerts import Event, EventStore, Mark, add_mark
from streamad.bundle import load_bundle
from streamad.calibration import Calibration, calibrate_bundle
from streamad.calibration.score_history import ScoreHistory
from streamad.cli.config_check import check_config
from streamad.config import parse_config
from streamad.live import Monitor
from streamad.live.camera import CameraWatch
from streamad.service import watch
from streamad.workflows.recalibrate import ScoreHistoryRecorder, scores_sha256
from streamad.workflows.tighten import REST_SECONDS, Tightening

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
STILL, MOVING = -10.0, -5.0
"""Scores of the test model: of still frames, and less than those of moving ones."""
RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0.5}


class Watch:
    """A monitor of one live camera with what `streamad run` adds to it; its frames are always available."""

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        *,
        moving: bool = False,
        realtime: bool = True,
        tighten: bool = True,
        **camera: Any,
    ) -> None:
        camera = {"calibration": str(folder / "learned.json"), **camera}
        document = {
            "model": str(bundle),
            "cameras": [
                {
                    "id": "gate",
                    "source": {"type": "file", "path": "replay", "realtime": realtime},
                    **{key: value for key, value in camera.items() if value is not None},
                }
            ],
            "rules": RULES,
            "quality": {"enabled": False},
            "engine": {"threads": 1},
            "history": {"folder": str(folder / "scores"), "hours": 24, "tighten": tighten},
            "events": {"path": str(folder / "events.sqlite")},
        }  # fmt: skip
        self.config = parse_config(yaml.safe_dump(document))
        self.clock = Clock()
        self.history = ScoreHistoryRecorder(self.config.history, lambda: NOW)
        self.monitor = Monitor(self.config, on_score=self._scored, on_event=self.history.on_event)
        (self.camera,) = self.monitor.cameras
        busy = ((0, 100_000),) if moving else ()
        self.pictures = list(moving_shapes(40, busy=busy))
        self.camera.source = EndlessSource("gate", self.pictures, time.monotonic)  # type: ignore[assignment]
        self.camera.source.spec = self.camera.spec.source
        self.tightening = Tightening(self.config, self.monitor.cameras, lambda: NOW, clock=self.clock)

    def _scored(self, camera: Any, frame: Any, score: Any) -> None:
        self.history.on_score(camera, score)
        self.tightening.on_score(camera)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            self.monitor._round(set())

    def frames(self, count: int) -> None:
        target = self.camera.scored + count
        self.until(lambda: self.camera.scored >= target)

    @property
    def calibration(self) -> Calibration:
        known = self.camera.policy.calibration
        assert known is not None
        return known


def learn(bundle: Path, folder: Path, level: float = STILL + 1.0) -> Calibration:
    """Ten minutes of made-up scores under those of moving frames, learned two days ago."""
    scores = np.random.default_rng(0).normal(level, 0.3, 6000)
    made = calibrate_bundle(
        load_bundle(bundle), [scores], fps=10, source="ten minutes", created=NOW - timedelta(days=2)
    )
    made.save(folder / "learned.json")
    return made


def watched(bundle: Path, folder: Path, minutes: float, *, began: datetime, level: float = STILL + 1.0) -> None:
    """What an earlier run kept."""
    owner, rng = scores_sha256(load_bundle(bundle), None), np.random.default_rng(round(minutes))
    with closing(ScoreHistory(folder / "scores", "gate", owner, hours=24, wall_clock=lambda: began)) as kept:
        for k in range(round(minutes * 600)):
            kept.add(k, k / 10, rng.normal(level, 0.3), alert=False, skipped=False)


def test_threshold_is_tightened_without_a_restart_and_kept_for_the_next(
    small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    learned = learn(small_bundle, tmp_path)
    watched(small_bundle, tmp_path, 40, began=NOW - timedelta(hours=9))
    watch = Watch(small_bundle, tmp_path)
    assert watch.calibration.budget.startswith("first day: at most 1 false alert an hour")
    watch.until(lambda: watch.calibration.threshold != learned.threshold)
    first = watch.calibration
    assert first.vouched_alerts_per_day == pytest.approx(8 / (40 / 60), rel=0.01)
    assert first.alerts_per_day == 1
    assert first.source.startswith("camera gate, 0.67 h of its scores")
    assert watch.camera.session.policy is watch.camera.policy
    path = tmp_path / "scores" / "gate" / "calibration.json"
    assert Calibration.load(path) == first
    assert first.min_duration_seconds == 0.2  # of the rules that run
    (line,) = [r.getMessage() for r in caplog.records if "before:" in r.getMessage()]
    assert f"camera gate: {first.summary}" in line
    # `config check` describes the threshold that the next run continues with.
    found = [f.message for f in check_config(watch.config, connect=False) if f.place[-1] == "alerts_per_day"]
    assert found == [first.budget] != [learned.budget]
    assert learned.summary in line
    shown = first.calibrated(first.threshold)
    assert f'streamad_anomaly_threshold{{camera="gate"}} {shown}' in watch.monitor.metrics.render().decode()
    status = watch.monitor.status()["cameras"][0]
    assert (status["threshold"], status["budget"]) == (shown, first.budget)
    assert "so far: at most 12 false alerts a day" in first.budget

    # Not before the next doubling, and not within an hour.
    watched(small_bundle, tmp_path, 30, began=NOW - timedelta(hours=6))
    watch.clock.now += 2 * REST_SECONDS
    watch.frames(20)
    watch.tightening.close()
    watch.frames(5)
    assert watch.calibration is first
    watched(small_bundle, tmp_path, 430, began=NOW - timedelta(hours=5))
    watch.frames(5)
    assert watch.calibration is first
    watch.clock.now += REST_SECONDS
    watch.until(lambda: watch.calibration is not first)
    second = watch.calibration
    assert second.vouched_alerts_per_day == 1
    assert second.threshold > first.threshold
    assert watch.monitor.status()["cameras"][0]["budget"] is None
    assert Calibration.load(path) == second
    assert Calibration.load(path.with_name("calibration.previous.json")) == first
    watch.history.close()

    # The scores say under which threshold they were made.
    headers = b"".join(p.read_bytes().partition(b"\n")[0] for p in sorted(path.parent.glob("*.scores")))
    assert all(f'"threshold":{made.threshold}'.encode() in headers for made in (learned, first))

    again = Watch(small_bundle, tmp_path)
    assert again.calibration == second
    weekly = Watch(small_bundle, tmp_path, alerts_per_day=0.5)
    assert weekly.calibration.alerts_per_day == 0.5
    assert weekly.calibration.alert_curve == second.alert_curve
    # What was learned or calibrated since then is newer.
    scores = np.random.default_rng(3).normal(STILL, 0.3, 6000)
    newer = calibrate_bundle(
        load_bundle(small_bundle), [scores], fps=10, source="later", created=NOW + timedelta(days=1)
    )
    newer.save(tmp_path / "learned.json")
    assert Watch(small_bundle, tmp_path).calibration == newer


def test_an_open_alert_is_not_broken_off(small_bundle: Path, tmp_path: Path) -> None:
    learned = learn(small_bundle, tmp_path)
    assert learned.threshold < MOVING
    watched(small_bundle, tmp_path, 40, began=NOW - timedelta(hours=9))
    watch = Watch(small_bundle, tmp_path, moving=True)
    watch.clock.now = -1.0  # not yet
    watch.until(lambda: watch.camera.open_event is not None)
    event = watch.camera.open_event
    watch.clock.now = 1000.0
    course = watch.tightening._courses["gate"]
    watch.until(lambda: course.ready is not None)
    watch.frames(50)
    assert watch.calibration == learned
    assert watch.camera.open_event is not None
    assert event is not None
    assert watch.camera.open_event.id == event.id
    with pytest.raises(ValueError, match="only an idle session"):
        watch.camera.use(course.ready)  # type: ignore[arg-type]
    watch.pictures[:] = [watch.pictures[0]] * 40  # nothing moves any more
    watch.until(lambda: watch.calibration != learned)
    assert watch.camera.open_event is None


def alarming(bundle: Path, folder: Path, known: Calibration, *, began: datetime) -> Event:
    """What an earlier run kept in ten hours, with an alert in each: their scores, and the event of the first one.

    The clock of that run stands still, which is near enough for its first hour.
    """
    owner, rng = scores_sha256(load_bundle(bundle), None), np.random.default_rng(5)
    level, first = MOVING, 6000
    with closing(
        ScoreHistory(
            folder / "scores", "gate", owner, hours=24, wall_clock=lambda: began, threshold=known.threshold
        )
    ) as kept:  # fmt: skip
        for k in range(360_000):
            in_alert = 0 <= (k - first) % 36_000 < 50
            score = level if in_alert else rng.normal(STILL + 1.0, 0.3)
            kept.add(k, k / 10, score, alert=in_alert, skipped=False)
    return replace(
        make_event(state="closed"),
        started_at=began + timedelta(seconds=first / 10),
        started_pts_seconds=first / 10,
        ended_pts_seconds=first / 10 + 4.9,
    )


def test_a_false_alarm_moves_a_threshold_that_had_reached_its_budget(small_bundle: Path, tmp_path: Path) -> None:
    learned = learn(small_bundle, tmp_path)
    event = alarming(small_bundle, tmp_path, learned, began=NOW - timedelta(hours=11))
    with EventStore(tmp_path / "events.sqlite") as store:
        store.save(event)
        watch = Watch(small_bundle, tmp_path)
        watch.until(lambda: watch.calibration.threshold != learned.threshold)
        settled = watch.calibration
        assert settled.seconds_to_budget == 0
        watch.clock.now += 2 * REST_SECONDS
        add_mark(store.path, Mark(event=event.id, verdict="reviewed", by="kim", at=NOW + timedelta(minutes=1)))
        watch.frames(20)
        watch.tightening.close()
        watch.frames(20)
        assert watch.calibration is settled

        for verdict, minutes in (("false_alarm", 2), ("none", 3)):
            before = watch.calibration
            at = NOW + timedelta(minutes=minutes)
            add_mark(store.path, Mark(event=event.id, verdict=verdict, by="kim", at=at))
            watch.clock.now += 2 * REST_SECONDS
            watch.until(lambda before=before: watch.calibration is not before)
            if verdict == "false_alarm":
                rise = watch.calibration.threshold - settled.threshold
                assert rise > 0
        # By now, the watch has added some scores of its own.
        assert abs(watch.calibration.threshold - settled.threshold) < 0.1 * rise
        watch.history.close()


def test_what_streamad_run_runs_tightens_too(small_bundle: Path, tmp_path: Path) -> None:
    learned = learn(small_bundle, tmp_path)
    watched(small_bundle, tmp_path, 40, began=datetime.now(UTC) - timedelta(hours=2))
    video = write_mp4(tmp_path / "still.mp4", moving_shapes(750, busy=()))  # half a minute, ended as soon as it is done
    config = {
        "model": str(small_bundle),
        "cameras": [
            {
                "id": "gate",
                "source": {"type": "file", "path": str(video), "realtime": True},
                "calibration": str(tmp_path / "learned.json"),
            }
        ],
        "rules": RULES,
        "quality": {"enabled": False},
        "engine": {"threads": 1},
        "history": {"folder": str(tmp_path / "scores")},
        "events": {"path": str(tmp_path / "events.sqlite")},
        "web": {"enabled": False},
    }
    monitors: list[Monitor] = []
    found: list[Calibration | None] = []

    def on_score(camera: CameraWatch, frame: Any, score: Any) -> None:
        if camera.policy.threshold != learned.threshold:
            found.append(camera.policy.calibration)
            monitors[0].stop()

    result = watch(parse_config(yaml.safe_dump(config)), once=True, on_score=on_score, on_start=monitors.append)
    assert result.is_complete
    assert found[0] == Calibration.load(tmp_path / "scores" / "gate" / "calibration.json")
    assert found[0].vouched_alerts_per_day == pytest.approx(12.0, rel=0.01)


@pytest.mark.parametrize(
    "how", [{"tighten": False}, {"realtime": False}, {"threshold": -8.0, "calibration": None}, {"alerts_per_day": 48}]
)
def test_where_nothing_is_to_be_tightened(small_bundle: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    """It is turned off, files have the same alerts every time, a threshold was given, the budget is reached."""
    learn(small_bundle, tmp_path)
    watched(small_bundle, tmp_path, 40, began=NOW - timedelta(hours=9))
    watch = Watch(small_bundle, tmp_path, **how)
    policy = watch.camera.policy
    watch.frames(20)
    watch.tightening.close()
    watch.frames(20)
    assert watch.camera.policy is policy
    assert watch.tightening._courses == {}
    assert not (tmp_path / "scores" / "gate" / "calibration.json").exists()


def test_a_kept_calibration_that_cannot_be_read_or_used_is_passed_over(
    small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learned = learn(small_bundle, tmp_path)
    path = tmp_path / "scores" / "gate" / "calibration.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert Watch(small_bundle, tmp_path).calibration == learned
    assert "is not a JSON document" in caplog.text
    Calibration.from_json({**learned.to_json(), "model_sha256": "f" * 64}).save(path)
    assert Watch(small_bundle, tmp_path).calibration == learned


def test_far_more_alerts_than_the_budget_are_said_so(small_bundle: Path, tmp_path: Path) -> None:
    learn(small_bundle, tmp_path)  # ten minutes: one alert an hour
    watch = Watch(small_bundle, tmp_path, tighten=False)
    busy = list(moving_shapes(100, busy=((30, 60),)))
    watch.camera.source = EndlessSource("gate", busy, time.monotonic)  # type: ignore[assignment]
    watch.camera.source.spec = watch.camera.spec.source
    opened = 0
    while opened <= 10:
        before = watch.camera.open_event
        assert watch.camera.status()["excess"] is None
        watch.frames(1)
        now = watch.camera.open_event
        opened += now is not None and (before is None or before.id != now.id)
    said = watch.camera.status()["excess"]
    assert said is not None
    assert said.startswith("11 alerts in the last hour, and the threshold is set for 24 false alerts a day.")
