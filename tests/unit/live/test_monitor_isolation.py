"""One camera's faults end at that camera, and nothing that writes ends the watch."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes
from monitor_support import Clock, EndlessSource

from streamad.alerts.store import EventStore
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.config import parse_config
from streamad.errors import ExitCode, ProcessingError
from streamad.inference import open_model
from streamad.inference.alerting import resolve_policy
from streamad.live import Monitor
from streamad.live.faults import MAX_FAULTS, CameraFaults
from streamad.preprocessing import FrameSizeError

RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0.5}
pytestmark = pytest.mark.timeout(300)


def monitor_of(bundle: Path | str, sources: dict[str, dict[str, Any]], **options: Any) -> Monitor:
    document = {
        "model": str(bundle),
        "cameras": [{"id": name, "source": source, "threshold": THRESHOLD} for name, source in sources.items()],
        "rules": RULES,
        "engine": {"threads": 1},
    }
    return Monitor(parse_config(yaml.safe_dump(document)), **options)


def folder_of(path: Path, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """A folder of pictures of these (height, width), as a source."""
    path.mkdir()
    rng = np.random.default_rng(1)
    for number, size in enumerate(sizes):
        cv2.imwrite(str(path / f"{number:03d}.png"), rng.integers(0, 255, size, np.uint8))
    return {"type": "images", "path": str(path)}


def metric(monitor: Monitor, name: str) -> float:
    found = [line for line in monitor.metrics.render().decode().splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


ODD: dict[str, list[tuple[int, int]]] = {
    "a strip": [(60, 8000)] * 20,
    "a pole": [(8000, 60)] * 20,
    "a pixel": [(1, 1)] * 20,
    "a row": [(1, 4000)] * 20,
    "another size each time": [(120 + 7 * (k % 5), 160 + 11 * (k % 7)) for k in range(40)],
    "a pixel between": [(1, 1) if k == 20 else (120, 160) for k in range(60)],
    "a strip between": [(60, 8000) if 20 <= k < 25 else (120, 160) for k in range(60)],
}


@pytest.mark.parametrize("model", ["small", pytest.param("motion-adacl-ped2", marks=pytest.mark.slow),
                                   pytest.param("learned-noise-light-ped2", marks=pytest.mark.slow),
                                   pytest.param("igd-ped2", marks=pytest.mark.slow)])  # fmt: skip
def test_pictures_of_any_size_disturb_no_other_camera(
    model: str, small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    sources = {name.replace(" ", "-"): folder_of(tmp_path / name, sizes) for name, sizes in ODD.items()}
    sources["good"] = {"type": "file", "path": str(shapes_video)}
    monitor = monitor_of(small_bundle if model == "small" else model, sources)
    summaries = {summary.camera: summary for summary in monitor.run(once=True)}
    assert summaries["good"].error is None
    assert summaries["good"].frames == 100
    assert summaries["good"].scored >= 80
    assert isinstance(summaries["a-pixel"].error, FrameSizeError)
    states = {camera["id"]: camera for camera in monitor.status()["cameras"]}
    assert (states["a-pixel"]["state"], states["a-pixel"]["reason"]) == ("failed", "size")
    assert "1×1" in str(states["a-pixel"]["message"])
    assert metric(monitor, 'streamad_camera_faults_total{camera="a-pixel"}') == MAX_FAULTS
    assert metric(monitor, 'streamad_camera_faults_total{camera="good"}') == 0
    assert metric(monitor, 'streamad_camera_up{camera="a-pixel"}') == 0
    if model == "small":  # one odd picture in good ones costs a warm-up, not the camera
        assert summaries["a-pixel-between"].error is None
        assert metric(monitor, 'streamad_camera_faults_total{camera="a-pixel-between"}') == 1
        assert summaries["a-pixel-between"].scored == 59


class Odd:
    """A part that raises when told to, and is what it stands for otherwise."""

    def __init__(self, real: Any, method: str, when: Any) -> None:
        self._real = real
        self._method = method
        self._when = when
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name != self._method:
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self._when(self.calls):
                raise ZeroDivisionError(f"{name} number {self.calls}")
            return value(*arguments, **options)

        return call


@pytest.mark.parametrize("method", ["preprocess", "score"])
def test_a_scorer_that_raises_now_and_then_costs_its_camera_a_warm_up(
    small_bundle: Path, shapes_video: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = {"type": "file", "path": str(shapes_video)}
    monitor = monitor_of(small_bundle, {"odd": source, "good": source})
    odd = monitor._by_id["odd"]
    original = odd.model.scorer

    def fragile(camera: str, *arguments: Any, **options: Any) -> Any:
        scorer = original(camera, *arguments, **options)
        return Odd(scorer, method, lambda call: call == 30) if camera == "odd" else scorer

    odd.model.scorer = fragile  # type: ignore[method-assign]
    odd.session.scorer = fragile("odd")
    summaries = {summary.camera: summary for summary in monitor.run(once=True)}
    assert summaries["good"].scored == 100
    faults = metric(monitor, 'streamad_camera_faults_total{camera="odd"}')
    assert faults >= 2
    assert summaries["odd"].scored >= 40
    assert metric(monitor, 'streamad_camera_faults_total{camera="good"}') == 0
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1
    assert sum("ZeroDivisionError" in record.getMessage() for record in caplog.records) == faults


def test_a_camera_that_raises_on_and_on_is_given_up_with_its_reason(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = {"type": "file", "path": str(shapes_video)}
    with EventStore(tmp_path / "events.sqlite") as store:
        monitor = monitor_of(small_bundle, {"odd": source, "good": source}, store=store)
        odd = monitor._by_id["odd"]
        original = odd.model.scorer

        def failing(camera: str, *arguments: Any, **options: Any) -> Any:
            scorer = original(camera, *arguments, **options)
            return Odd(scorer, "preprocess", lambda _: True) if camera == "odd" else scorer

        odd.model.scorer = failing  # type: ignore[method-assign]
        odd.session.scorer = odd.model.scorer("odd")
        summaries = {summary.camera: summary for summary in monitor.run(once=True)}
        (event,) = store.health_events()
    assert isinstance(summaries["odd"].error, ProcessingError)
    assert "ZeroDivisionError" in str(summaries["odd"].error)
    assert summaries["good"].error is None
    assert summaries["good"].scored == 100
    (status,) = [camera for camera in monitor.status()["cameras"] if camera["id"] == "odd"]
    assert (status["state"], status["reason"], status["score"]) == ("failed", "processing", None)
    assert (event.topic, event.reason, event.camera, event.state) == ("fault", "processing", "odd", "closed")
    assert sum("odd is given up" in record.getMessage() for record in caplog.records) == 1


def test_a_live_camera_rests_between_faults_and_a_score_ends_the_row() -> None:
    clock = Clock()
    faults = CameraFaults(is_live=True, clock=clock)
    waited = []
    for number in range(MAX_FAULTS):
        assert faults.note(ValueError(str(number))) == (number == MAX_FAULTS - 1)
        before = clock.now
        while faults.is_resting:
            clock.now += 0.5
        waited.append(clock.now - before)
    assert waited[:4] == [0, 1, 2, 4]
    faults = CameraFaults(is_live=True, clock=clock)
    for number in range(100):  # now and then is for ever
        assert not faults.note(ValueError(str(number)))
        faults.good()
    assert faults.last is None
    failed_batch = ValueError("one batch, many frames")
    assert not any(faults.note(failed_batch) for _ in range(100))
    file = CameraFaults(is_live=False, clock=clock)
    file.note(ValueError("a"))
    file.note(ValueError("b"))
    assert not file.is_resting


class Broken:
    """Raises whatever it is asked to do."""

    path = Path("events.sqlite")
    error = None

    def __getattr__(self, name: str) -> Any:
        def raise_(*_: Any, **__: Any) -> Any:
            raise OSError(28, "No space left on device")

        return raise_


def test_nothing_that_writes_ends_the_watch(
    small_bundle: Path, shapes_video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a callback's fault")

    store: Any = Broken()
    sinks: Any = Broken()
    sinks.close = lambda: None
    monitor = monitor_of(
        small_bundle, {"a": {"type": "file", "path": str(shapes_video)}}, store=store, sinks=sinks, on_score=broken,
        on_event=broken, on_health=broken,
    )  # fmt: skip
    (summary,) = monitor.run(once=True)
    assert (summary.scored, summary.alerts, summary.error) == (100, 1, None)
    assert monitor.first_error is not None
    for part in ("event_store", "sinks", "score_callback", "event_callback"):
        assert metric(monitor, f'streamad_internal_errors_total{{part="{part}"}}') >= 1, part
    assert metric(monitor, 'streamad_internal_errors_total{part="score_callback"}') == 100
    status = monitor.status()
    assert "No space left" in str(status["events"]["error"])
    assert status["events"]["total"] == 1
    assert sum(bool(record.exc_info) for record in caplog.records) <= 5  # each place once


def test_status_survives_a_camera_that_cannot_say_its_own(small_bundle: Path, shapes_video: Path) -> None:
    source = {"type": "file", "path": str(shapes_video)}
    monitor = monitor_of(small_bundle, {"a": source, "b": source})
    monitor._by_id["a"].status = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    assert [camera["id"] for camera in monitor.status()["cameras"]] == ["a", "b"]


def live(bundle: Path, clock: Clock, **options: Any) -> tuple[Monitor, EndlessSource]:
    """A monitor of one live camera, on a clock that is set."""
    monitor = monitor_of(bundle, {"a": {"type": "file", "path": "replay", "realtime": True}}, **options)
    (camera,) = monitor.cameras
    source = EndlessSource("a", list(moving_shapes(40, shapes=3)), clock)
    camera.source, camera._clock = source, clock  # type: ignore[assignment]
    return monitor, source


def watch(monitor: Monitor, clock: Clock) -> None:
    """Eighty frames, each scored before the next: the engine works in real time, and the clock does not."""
    for _ in range(80):
        clock.now += 0.04
        monitor._round(set())
        monitor._drain()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_alert_of_a_camera_that_falls_silent_closes_by_the_clock(small_bundle: Path, clock: Clock) -> None:
    changes = []
    monitor, source = live(small_bundle, clock, on_event=changes.append)
    watch(monitor, clock)
    assert metric(monitor, 'streamad_alert_active{camera="a"}') == 1
    source.due = lambda: False
    clock.now += 1.9  # gap_seconds is 2
    monitor._refresh()
    assert metric(monitor, 'streamad_alert_active{camera="a"}') == 1
    clock.now += 0.2
    for _ in range(3):
        monitor._refresh()
    assert metric(monitor, 'streamad_alert_active{camera="a"}') == 0
    assert np.isnan(metric(monitor, 'streamad_anomaly_score{camera="a"}'))
    closed = changes[-1].event
    assert (closed.state, closed.reason) == ("closed", "gap")
    assert Counter(change.kind for change in changes)["closed"] == 1
    (status,) = monitor.status()["cameras"]
    assert (status["score"], status["alert"]) == (None, "none")
    # It comes back: the next alert is found as ever.
    source.due = lambda: True
    watch(monitor, clock)
    assert metric(monitor, 'streamad_alert_active{camera="a"}') == 1


def test_a_slow_machine_is_no_silent_camera(small_bundle: Path, shapes_video: Path) -> None:
    """A file waits for the machine, however long that takes: its alerts are those of `score`."""
    clock = Clock()
    monitor = monitor_of(small_bundle, {"a": {"type": "file", "path": str(shapes_video)}})
    (camera,) = monitor.cameras
    camera._clock = clock
    camera._last_received = clock.now
    clock.now += 1000
    assert camera.tick() == []


def test_uptime_and_ages_do_not_change_with_the_wall_clock(
    small_bundle: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monitor, _ = live(small_bundle, clock)
    monitor._round(set())
    monitor.cameras[0].source.__class__ = type(
        "Timed", (EndlessSource,), {"status": property(lambda self: replace(EndlessSource.status.fget(self),  # type: ignore[attr-defined]
                                                                            last_frame_at=clock.now - 3))},
    )  # fmt: skip
    real = time.time
    for step in (0.0, -86_400.0, 86_400.0 * 365):
        monkeypatch.setattr(time, "time", lambda step=step: real() + step)
        status = monitor.status()
        assert 0 <= status["uptime_seconds"] < 100
        assert abs(status["started_at"] + status["uptime_seconds"] - time.time()) < 1
        assert status["cameras"][0]["last_frame_seconds"] == 3
        assert datetime.fromtimestamp(status["cameras"][0]["last_frame_at"] or 0, UTC)


def test_random_faults_in_all_steps_lose_no_score_of_others(
    small_bundle: Path, shapes_video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two cameras fail at random in every step; the third is scored as if it were alone."""
    rng = np.random.default_rng(3)
    source = {"type": "file", "path": str(shapes_video)}
    scores: dict[str, list[float]] = defaultdict(list)
    monitor = monitor_of(
        small_bundle, dict.fromkeys(("x", "y", "good"), source),
        on_score=lambda camera, frame, score: scores[camera.spec.id].append(score.score),
    )  # fmt: skip
    original = monitor.cameras[0].model.scorer

    def fragile(camera: str, *arguments: Any, **options: Any) -> Any:
        scorer = original(camera, *arguments, **options)
        if camera == "good":
            return scorer
        return Odd(Odd(scorer, "score", lambda _: rng.random() < 0.02), "preprocess", lambda _: rng.random() < 0.02)

    monitor.cameras[0].model.scorer = fragile  # type: ignore[method-assign]
    for camera in monitor.cameras:
        camera.session.scorer = fragile(camera.spec.id)
    with caplog.at_level(logging.CRITICAL):
        monitor.run(once=True)
    alone = monitor_of(small_bundle, {"good": source})
    expected: list[float] = []
    alone._on_score = lambda camera, frame, score: expected.append(score.score)
    alone.run(once=True)
    np.testing.assert_allclose(scores["good"], expected, atol=1e-5)
    assert metric(monitor, 'streamad_camera_faults_total{camera="x"}') > 0


def test_run_once_ends_with_the_exit_code_of_a_camera_that_was_given_up(
    call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "tiny", [(1, 1)] * 12)
    document = {
        "model": str(small_bundle),
        "cameras": [
            {"id": "tiny", "source": source, "threshold": THRESHOLD},
            {"id": "good", "source": {"type": "file", "path": str(shapes_video)}, "threshold": THRESHOLD},
        ],
        "events": {"path": str(tmp_path / "events.sqlite")},
        "history": {"hours": 0},
        "web": {"enabled": False},
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(document))
    code, out, said = call("run", tmp_path / "site.yaml", "--once", "--json")
    assert code == ExitCode.SOURCE, said
    rows = {row["camera"]: row for row in json.loads(out)["cameras"]}
    assert "1×1" in rows["tiny"]["error"]
    assert (rows["good"]["error"], rows["good"]["scored"]) == (None, 100)


def test_a_calibration_of_another_camera_is_in_doubt(tmp_path: Path) -> None:
    """The page is green only on a calibration that may be this camera's own."""
    with open_model("motion-ped2") as model:
        path = model.bundle.calibration_path
        assert path is not None
        shipped = resolve_policy(model.bundle, AlertPolicySpec(), camera="gate")
        assert "UCSD Ped2" in str(shipped.foreign)
        assert "calibrate motion-ped2" in str(shipped.foreign)
        assert resolve_policy(model.bundle, AlertPolicySpec(), camera="gate", calibration=path).foreign is None
        assert resolve_policy(model.bundle, AlertPolicySpec(), camera="gate", threshold=1.0).foreign is None
        known = replace(Calibration.load(path), source="camera gate, 2.3 h of its scores since 2026-01-01T00:00")
        assert resolve_policy(model.bundle, AlertPolicySpec(), camera="gate", calibration=known).foreign is None
        other = resolve_policy(model.bundle, AlertPolicySpec(), camera="yard", calibration=known)
        assert "camera gate" in str(other.foreign)
