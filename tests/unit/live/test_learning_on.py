"""A model is learned on while it is watched with: a real monitor, a real fit in its process, video that never ends."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from disk_support import small_disk_or_skip
from monitor_support import Clock, EndlessSource
from motion_support import Square, walkers, world

from streamad.alerts.tracker import EventChange
from streamad.bundle import CALIBRATION, PLACE, combined_sha256, load_bundle, write_manifest
from streamad.calibration import Calibration
from streamad.config import parse_config
from streamad.detectors.motion.layout import LENGTH
from streamad.detectors.motion.sampler import NORMAL
from streamad.detectors.motion.training import fit_motion_bundle
from streamad.formatting import span
from streamad.frame import Frame, UInt8Image
from streamad.inference.gated_scorer import write_place
from streamad.live import Monitor
from streamad.live.camera import CameraWatch
from streamad.service import watch
from streamad.training.plan import TrainingPlan
from streamad.training.watched import ALERT, WatchedVideo, is_example
from streamad.versions import activate, active_version, list_versions, new_version, older_version
from streamad.workflows import learn_on
from streamad.workflows.fit import calibrate_fit
from streamad.workflows.learn_on import LearningOn, job, recorder
from streamad.workflows.recalibrate import ScoreHistoryRecorder, scores_sha256
from streamad.workflows.tighten import Tightening

FPS = 10
PLAN = TrainingPlan("wall", "own camera", "not stated", FPS, "motion")
SECONDS = 60.0
"""Length of the loop that the camera shows. Nothing is in the picture where it begins again."""


def loop(speed: float = 20.0) -> list[UInt8Image]:
    squares = walkers(44.0, speed=speed)
    return [frame.pixels for frame in world(squares, SECONDS, fps=FPS)]


@pytest.fixture(scope="module")
def normal() -> list[UInt8Image]:
    return loop()


@pytest.fixture(scope="module")
def learned(normal: list[UInt8Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `streamad learn` makes, from one round of the loop."""
    home = tmp_path_factory.mktemp("learned") / "wall"
    fresh = new_version(home)
    frames = [Frame("wall", k, k / FPS, 0.0, picture) for k, picture in enumerate(normal)]
    fit = fit_motion_bundle(PLAN, [lambda: iter(frames)], fresh)
    calibrate_fit(fit, source="one round", alerts_per_day=24).save(fresh / CALIBRATION)
    write_place(fresh / PLACE, normal[0])
    write_manifest(fresh, fit.bundle.manifest)
    activate(home, fresh)
    return home


@pytest.fixture
def home(learned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(learned, tmp_path / "models" / "wall", symlinks=True))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_on, "LEAST_SECONDS", 20.0)
    monkeypatch.setattr(recorder, "FREE_BYTES", 0)


class LoopSource(EndlessSource):
    """A camera that delivers ten frames a second, as fast as they are taken."""

    def poll(self, timeout: float = 0.0) -> Frame | None:
        frame = super().poll(timeout)
        return None if frame is None else replace(frame, pts_seconds=frame.index / FPS)


class Watch:
    """A monitor of live cameras with what `streamad run` adds to it."""

    def __init__(
        self,
        model: Path,
        folder: Path,
        pictures: list[UInt8Image],
        *,
        cameras: int = 1,
        learn: bool = True,
        **more: Any,
    ) -> None:
        document = {
            "model": str(model),
            "cameras": [
                {"id": f"gate{k or ''}", "source": {"type": "file", "path": "replay", "realtime": True}, **more}
                for k in range(cameras)
            ],
            "quality": {"enabled": False},
            "engine": {"threads": 1},
            "history": {"folder": str(folder), "hours": 24, "learn": learn},
        }
        config = parse_config(yaml.safe_dump(document))
        now = lambda: datetime.now(UTC)  # noqa: E731
        self.clock = Clock()
        self.events: list[EventChange] = []
        self.history = ScoreHistoryRecorder(config.history, now)
        self.monitor = Monitor(
            config, on_score=self._scored, on_event=self._event, on_refresh=lambda: self.learning.on_refresh()
        )
        self.camera = self.monitor.cameras[0]
        for camera in self.monitor.cameras:
            camera.source = LoopSource(camera.spec.id, pictures, time.monotonic)  # type: ignore[assignment]
            camera.source.spec = camera.spec.source
        self.learning = LearningOn(config, self.monitor, now, clock=self.clock)
        self.tightening = Tightening(config, self.monitor.cameras, now)

    def _scored(self, camera: Any, frame: Any, score: Any) -> None:
        self.history.on_score(camera, score)
        self.tightening.on_score(camera)

    def _event(self, change: EventChange) -> None:
        self.history.on_event(change)
        self.events.append(change)

    def until(self, holds: Callable[[], bool], seconds: float = 200.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            self.monitor._round(set())
            self.monitor._refresh()
            if self.learning._worker is not None and self.learning._worker.is_alive():
                time.sleep(0.1)  # the fit has the lowest priority

    def frames(self, count: int) -> None:
        target = self.camera.scored + count
        self.until(lambda: self.camera.scored >= target)

    def close(self) -> None:
        self.learning.close()
        self.tightening.close()
        self.history.close()
        self.monitor._close_models()

    @property
    def version(self) -> str:
        return self.camera.model.bundle.path.name


def said(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if part in r.getMessage()]


def test_a_watch_learns_on_and_changes_to_the_new_version(
    home: Path, normal: list[UInt8Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch(home, tmp_path / "scores", normal)
    before, scorer = watch.camera.model.bundle, watch.camera.session.scorer
    old_sha256 = combined_sha256(before)
    assert watch.version == "0001"
    watch.frames(300)
    assert watch.learning._worker is None  # less than the model was learned from
    known_seconds = before.manifest.training.options["seconds"]
    missing = (watch.learning.describe("gate") or "").removeprefix(
        f"learned from {span(known_seconds)} of normal video; the next version follows after "
    )
    assert 0 < float(missing.removesuffix(" s more")) < known_seconds
    watch.until(lambda: watch.version == "0002")
    bundle, known = watch.camera.model.bundle, watch.camera.policy.calibration
    assert known is not None
    assert watch.camera.session.scorer is scorer  # the next frame has a score
    count = watch.camera.scored
    watch.frames(20)
    assert sum(watch.camera.skipped.values()) < 5 < count

    # The new version is complete and active; the old one is kept.
    assert load_bundle(home).path == bundle.path == active_version(home)
    assert [path.name for path in list_versions(home)] == ["0001", "0002"]
    assert {CALIBRATION, NORMAL} <= bundle.manifest.files.keys()
    assert bundle.manifest.files[PLACE] == before.manifest.files[PLACE]
    options = bundle.manifest.training.options
    assert options["seconds"] == pytest.approx(2 * before.manifest.training.options["seconds"], rel=0.25)
    assert known.require_model(combined_sha256(bundle)) is None
    assert known.alerts_per_day == 24
    assert known.duration_seconds == pytest.approx(options["seconds"], rel=0.02)
    (line,) = said(caplog, "learned from")
    assert line.startswith("camera gate: learned from")
    assert f"more of normal video: version 2, from {span(options['seconds'])} in all; {known.summary}" in line

    # What follows states it, and its scores are kept as its own.
    metrics = watch.monitor.metrics.render().decode()
    assert f'sha256="{bundle.sha256}"' in metrics
    assert f'sha256="{before.sha256}"' not in metrics
    assert watch.monitor.status()["models"][0]["sha256"] == bundle.sha256
    watch.close()
    headers = [
        json.loads(p.read_bytes().partition(b"\n")[0]) for p in sorted((tmp_path / "scores" / "gate").glob("*.scores"))
    ]
    assert [h["model_sha256"] for h in headers] == [old_sha256, scores_sha256(bundle, known)]
    assert watch.monitor.first_error is None

    # What is in the model is not learned again.
    assert not list((tmp_path / "scores" / "gate" / "watched").glob("0001-*"))


@pytest.mark.slow
def test_what_streamad_run_runs_learns_on_too(home: Path, normal: list[UInt8Image], tmp_path: Path) -> None:
    config = {
        "model": str(home),
        "cameras": [{"id": "gate", "source": {"type": "file", "path": "replay", "realtime": True}}],
        "engine": {"threads": 1},
        "history": {"folder": str(tmp_path / "scores")},
        "events": {"path": str(tmp_path / "events.sqlite")},
        "web": {"port": 0},
    }
    monitors: list[Monitor] = []
    messages: list[str] = []
    states: list[str] = []
    end = time.monotonic() + 200

    def on_start(monitor: Monitor) -> None:
        monitors.append(monitor)
        (camera,) = monitor.cameras
        camera.source.start = lambda: None  # type: ignore[method-assign]
        camera.source.poll = LoopSource("gate", normal, time.monotonic).poll  # type: ignore[method-assign]

    def on_score(camera: CameraWatch, frame: Any, score: Any) -> None:
        if not states:
            address = next(message for message in messages if message.startswith("page")).rpartition(" ")[2]
            states.append(httpx.get(f"{address}/status").json()["cameras"][0]["learning"])
        if camera.model.bundle.path.name == "0002" or time.monotonic() > end:
            monitors[0].stop()

    result = watch(parse_config(yaml.safe_dump(config)), on_score=on_score, on_start=on_start, message=messages.append)
    assert result.is_complete
    assert states[0].startswith("learned from ")
    assert active_version(home).name == "0002"


def test_what_an_alert_touched_is_not_learned(home: Path, normal: list[UInt8Image], tmp_path: Path) -> None:
    runner = Square(0.0, 60, -24, 120, seed=77)
    crossing = [frame.pixels for frame in world([*walkers(44.0), runner], 2.0, fps=FPS)]
    pictures = [*normal[:300], *crossing, *normal[320:]]
    watch = Watch(home, tmp_path / "scores", pictures)
    watch.learning._courses["gate"].next_try = 1e9
    watch.frames(700)
    watch.close()
    assert {c.event.model_sha256 for c in watch.events} == {combined_sha256(watch.camera.model.bundle)}
    spans = [(c.event.started_pts_seconds, c.event.updated_pts_seconds) for c in watch.events if c.kind == "closed"]
    assert any(29 < since < 33 for since, _ in spans)
    video = WatchedVideo(next((tmp_path / "scores" / "gate" / "watched").iterdir()), length=LENGTH)
    times, flags = video.frames["seconds"], video.frames["flags"]

    def within(margin: float) -> np.ndarray:
        return np.any([(times >= since - margin) & (times < until + margin) for since, until in spans], axis=0)

    assert not is_example(video.frames[within(9.9)]).any()
    assert is_example(video.frames[~within(10.1)]).all()
    assert is_example(video.frames).sum() > 150
    assert ((flags & ALERT).astype(bool) == within(0.0)).all()


def test_a_fit_that_fails_or_is_ended_leaves_the_watch_as_it_was(
    home: Path, normal: list[UInt8Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(home, tmp_path / "scores", normal)
    state = load_bundle(home).path / NORMAL
    good = state.read_bytes()
    state.write_bytes(b"damaged")
    course = watch.learning._courses["gate"]
    watch.until(lambda: bool(said(caplog, "could not be learned on")))
    (line,) = said(caplog, "could not be learned on")
    assert "camera gate" in line
    assert f"{NORMAL} does not match model.yaml" in line
    assert course.recorder.kept.seconds < 20
    watch.frames(50)
    state.write_bytes(good)
    watch.until(lambda: watch.learning._process is not None)
    watch.learning._process._process.kill()  # type: ignore[union-attr]
    watch.until(lambda: len(said(caplog, "could not be learned on")) == 2)
    watch.frames(20)
    assert (watch.version, active_version(home).name) == ("0001", "0001")
    assert [path.name for path in (home / "versions").iterdir()] == ["0001"]
    watch.close()


@pytest.mark.slow
def test_a_threshold_out_of_all_proportion_is_not_used(
    home: Path, normal: list[UInt8Image], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(learn_on, "CHANGE", 1.0)
    watch = Watch(home, tmp_path / "scores", normal)
    watch.until(lambda: bool(said(caplog, "its threshold would be")))
    watch.frames(20)
    assert (watch.version, active_version(home).name) == ("0001", "0001")
    watch.close()


def test_after_a_rollback_the_watch_goes_on_and_does_not_learn(
    home: Path, normal: list[UInt8Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = new_version(home)
    for path in active_version(home).iterdir():
        shutil.copy2(path, fresh / path.name)
    activate(home, fresh)
    watch = Watch(home, tmp_path / "scores", normal)
    watch.frames(100)
    activate(home, older_version(home))
    watch.until(lambda: bool(said(caplog, "another version of wall was activated")))
    watch.frames(20)
    assert (watch.version, active_version(home).name) == ("0002", "0001")
    watch.close()
    assert Watch(home, tmp_path / "scores", normal).version == "0001"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"cameras": 2}, "several cameras share wall"),
        ({"threshold": 5.0}, "its threshold is not the model's own"),
        ({"learn": False}, None),
        ({"flat": True}, "was not made by `streamad learn`"),
        ({"old": True}, "does not hold what it was learned from"),
    ],
)
def test_where_a_model_is_not_learned_on_the_log_says_why(
    home: Path, normal: list[UInt8Image], tmp_path: Path, how: dict[str, Any], reason: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    model = active_version(home)
    if how.pop("old", False):
        (model / NORMAL).unlink()
        document = yaml.safe_load((model / "model.yaml").read_text())
        del document["files"][NORMAL]
        (model / "model.yaml").write_text(yaml.safe_dump(document))
    if how.pop("flat", False):
        home = Path(shutil.copytree(model, tmp_path / "flat"))
    watch = Watch(home, tmp_path / "scores", normal, **how)
    watch.frames(50)
    watch.close()
    lines = said(caplog, "does not learn on while it is watched")
    assert len(lines) == (0 if reason is None else how.get("cameras", 1))
    assert all(reason in line for line in lines if reason)
    described = watch.learning.describe("gate")
    assert described is None if reason is None else reason in (described or "")
    assert not (tmp_path / "scores" / "gate" / "watched").exists()


def test_a_full_disk_ends_the_recording_and_not_the_watch(
    home: Path, normal: list[UInt8Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk_or_skip(tmp_path / "disk", "100k") as disk:
        watch = Watch(home, disk, normal)
        watch.frames(1500)
        errors = said(caplog, "output learning")
        assert len([line for line in errors if "No space left" in line]) == 1
        assert watch.version == "0001"
        assert watch.monitor.first_error is None
        watch.close()


def test_the_job_writes_a_complete_version_that_is_not_active(
    home: Path, normal: list[UInt8Image], tmp_path: Path
) -> None:
    """Killed after that, the old version is active, and what is left is removed."""
    base = load_bundle(home)
    watch = Watch(home, tmp_path / "scores", normal)
    watch.learning._courses["gate"].next_try = 1e9
    watch.frames(800)
    watch.close()
    frames = next((tmp_path / "scores" / "gate" / "watched").iterdir())
    fresh = new_version(home)
    rules = {"min_duration_seconds": 0.7}
    made = job.learn_next(job.LearnJob(str(base.path), str(frames), str(fresh), "gate", 3.0, rules))
    assert (made.alerts_per_day, made.min_duration_seconds) == (3.0, 0.7)
    assert load_bundle(home).path == base.path
    whole = load_bundle(fresh)
    assert Calibration.load(fresh / CALIBRATION) == made
    assert "watched by gate" in made.source
    assert whole.sha256 != base.sha256
    new_version(home)
    assert not (fresh / CALIBRATION).exists()
