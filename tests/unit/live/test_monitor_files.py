"""The monitor over files and folders, in this process, with real decoder processes."""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from scoring_support import score_video

from streamad.alerts.event import Event
from streamad.alerts.store import EventStore
from streamad.calibration import AlertPolicySpec
from streamad.config import Config, parse_config
from streamad.engines import Engine
from streamad.errors import BundleError, CalibrationError, EngineError
from streamad.inference import Model, open_model
from streamad.inference.alerting import resolve_policy
from streamad.live import CameraSummary, Monitor
from streamad.preprocessing import FrameSizeError
from streamad.scoring import FrameScore
from streamad.sources import FileSpec
from streamad.workflows.score import score_file

RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0.5}


def config_of(bundle: Path, sources: dict[str, dict[str, Any]], **more: Any) -> Config:
    cameras = [{"id": name, "source": source, "threshold": THRESHOLD} for name, source in sources.items()]
    document = {"model": str(bundle), "cameras": cameras, "rules": RULES, "engine": {"threads": 1}, **more}
    return parse_config(yaml.safe_dump(document))


class Watched:
    """A monitor that keeps everything it is told."""

    def __init__(self, config: Config, **options: Any) -> None:
        self.scores: dict[str, list[FrameScore]] = defaultdict(list)
        self.events: dict[str, dict[str, Event]] = defaultdict(dict)
        self.monitor = Monitor(
            config,
            on_score=lambda camera, frame, score: self._score(camera.spec.id, frame.index, score),
            on_event=lambda change: self.events[change.event.camera].__setitem__(change.event.id, change.event),
            **options,
        )

    def run(self) -> dict[str, CameraSummary]:
        return {summary.camera: summary for summary in self.monitor.run(once=True)}

    def _score(self, camera: str, index: int, score: FrameScore) -> None:
        assert score.index == index  # each score with its own frame
        self.scores[camera].append(score)

    def metric(self, name: str, **labels: str) -> float:
        parts = [f'{k}="{v}"' for k, v in labels.items()]
        for line in self.monitor.metrics.render().decode().splitlines():
            if line.startswith(f"{name}{{") and all(part in line for part in parts):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no {name} {labels}")


def timeless(event: Event) -> dict[str, Any]:
    """The event without what differs from run to run: its id and the clock on the wall."""
    document = event.to_dict()
    for name in ("id", "camera", "started_at", "updated_at", "ended_at"):
        del document[name]
    return document


@pytest.mark.timeout(60)
def test_cameras_side_by_side_are_scored_as_each_file_alone(
    small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    other = write_mp4(tmp_path / "other.mp4", moving_shapes(80, (120, 90), seed=9, shapes=3))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, picture in enumerate(moving_shapes(30, (90, 60), shapes=1)):
        cv2.imwrite(str(pictures / f"{number:03d}.png"), picture)
    paths = {"a": shapes_video, "b": other, "c": pictures}
    sources = {name: {"type": "images" if name == "c" else "file", "path": str(p)} for name, p in paths.items()}
    watched = Watched(config_of(small_bundle, sources))
    summaries = watched.run()
    for name, path in paths.items():
        alone = list(score_video(path, small_bundle))
        mine = watched.scores[name]
        assert [s.index for s in mine] == [s.index for s in alone]
        assert [s.skipped_reason for s in mine] == [s.skipped_reason for s in alone]
        np.testing.assert_allclose([s.pts_seconds for s in mine], [s.pts_seconds for s in alone], atol=1e-9)
        np.testing.assert_allclose([s.score for s in mine], [s.score for s in alone], atol=1e-5)
        for one, two in zip(mine, alone, strict=True):
            if two.anomaly_map is not None:
                np.testing.assert_allclose(one.anomaly_map, two.anomaly_map, atol=1e-5)
        summary = summaries[name]
        assert (summary.frames, summary.scored, summary.dropped, summary.error) == (len(alone), len(alone), 0, None)
        assert watched.metric("streamad_frames_total", camera=name, stage="decoded") == len(alone)
        assert watched.metric("streamad_frames_total", camera=name, stage="scored") == len(alone)
        assert watched.metric("streamad_gaps_total", camera=name) == 0


@pytest.mark.timeout(60)
def test_the_same_alerts_as_score(small_bundle: Path, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving_shapes(130, busy=((20, 45), (70, 80), (82, 100), (120, 130))))
    with open_model(small_bundle) as model:
        policy = resolve_policy(model.bundle, AlertPolicySpec(**RULES), camera="a", threshold=THRESHOLD)  # type: ignore[arg-type]
        result = score_file(
            FileSpec(path=path), model, name="a", folder=tmp_path, policy=policy, normalization="raw",
            write_csv=False, write_plot=False, write_video=False,
        )  # fmt: skip
    watched = Watched(config_of(small_bundle, {"a": {"type": "file", "path": str(path)}}))
    summary = watched.run()["a"]
    alone = [timeless(event) for event in result.events]
    assert [timeless(event) for event in watched.events["a"].values()] == alone
    assert [e["reason"] for e in alone] == ["score", "score", "end"]
    assert summary.alerts == len(alone) == 3
    assert watched.metric("streamad_alerts_total", camera="a", severity="warning") == 3
    assert watched.metric("streamad_alert_active", camera="a") == 0


@pytest.mark.timeout(60)
def test_events_reach_the_store(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    with EventStore(tmp_path / "events.sqlite") as store:
        watched = Watched(config_of(small_bundle, {"a": {"type": "file", "path": str(shapes_video)}}), store=store)
        watched.run()
        (event,) = store.events()
        assert event == next(iter(watched.events["a"].values()))
        assert (event.state, event.reason, event.camera) == ("closed", "score", "a")
        assert 30 <= event.started_index <= 33
        assert event.box is not None
        x0, y0, x1, y1 = event.box
        assert (x1 - x0, y1 - y0) == (30, 30)
        assert watched.monitor.status()["events"]["total"] == 1


@pytest.mark.timeout(60)
def test_an_undecodable_image_is_a_gap_that_closes_the_alert(small_bundle: Path, tmp_path: Path) -> None:
    for number, picture in enumerate(moving_shapes(70)):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), picture)
    (tmp_path / "040.png").write_bytes(b"damaged")
    rules = {**RULES, "cooldown_seconds": 0}
    watched = Watched(config_of(small_bundle, {"a": {"type": "images", "path": str(tmp_path)}}, rules=rules))
    summary = watched.run()["a"]
    first, second = watched.events["a"].values()
    assert (first.state, first.reason, first.ended_index) == ("closed", "gap", 39)
    assert (second.state, second.reason) == ("closed", "end")
    assert watched.metric("streamad_gaps_total", camera="a") == 1
    assert [s.skipped_reason for s in watched.scores["a"] if 41 <= s.index <= 45] == ["warming_up"] * 4 + [None]
    assert summary.scored == 69


class FailingEngine:
    """A real engine that fails on some batches."""

    def __init__(self, engine: Engine, fail: range) -> None:
        self._engine = engine
        self._fail = fail
        self.batches = 0

    def submit(self, batch: np.ndarray, done: Any, failed: Any) -> None:
        self.batches += 1
        if self.batches in self._fail:
            failed(EngineError("the device is gone"))
        else:
            self._engine.submit(batch, done, failed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.timeout(60)
def test_a_failing_engine_withholds_frames_counts_them_and_watching_goes_on(
    small_bundle: Path, shapes_video: Path
) -> None:
    watched = Watched(config_of(small_bundle, {"a": {"type": "file", "path": str(shapes_video)}}))
    model = watched.monitor.cameras[0].model
    batcher = next(iter(watched.monitor._batchers.values()))
    batcher.engine = FailingEngine(model.engine, range(2, 3))  # type: ignore[assignment]
    summary = watched.run()["a"]
    scores = watched.scores["a"]
    failed = [s.index for s in scores if s.skipped_reason == "non_finite"]
    assert failed
    assert all(np.isnan(scores[k].score) for k in failed)
    assert summary.scored == len(scores) == 100
    assert summary.error is None
    assert watched.metric("streamad_inference_errors_total", engine="openvino") >= 1
    assert watched.metric("streamad_scores_withheld_total", camera="a", reason="non_finite") == len(failed)
    alone = list(score_video(shapes_video, small_bundle))
    for one, two in zip(scores, alone, strict=True):
        if one.index not in failed:
            assert one.score == pytest.approx(two.score, abs=1e-5, nan_ok=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [(1, 1), (34, 300)])
def test_a_camera_with_frames_under_a_cell_is_given_up_and_the_others_go_on(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    for number in range(30):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full(size[::-1], 90, np.uint8))
    sources = {"tiny": {"type": "images", "path": str(tmp_path)}, "good": {"type": "file", "path": str(shapes_video)}}
    watched = Watched(config_of(small_bundle, sources))
    summaries = watched.run()
    assert isinstance(summaries["tiny"].error, FrameSizeError)
    assert f"{size[0]}×{size[1]}" in str(summaries["tiny"].error)
    assert summaries["tiny"].scored == 0
    good = summaries["good"]
    assert (good.scored, good.alerts, good.error) == (100, 1, None)


@pytest.mark.timeout(60)
def test_a_missing_file_fails_its_camera_alone(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    sources = {"gone": tmp_path / "no.mp4", "good": shapes_video}
    watched = Watched(config_of(small_bundle, {n: {"type": "file", "path": str(p)} for n, p in sources.items()}))
    summaries = watched.run()
    assert summaries["gone"].error is not None
    assert "no.mp4" in str(summaries["gone"].error)
    assert summaries["good"].scored == 100
    states = {c["id"]: (c["state"], c["reason"]) for c in watched.monitor.status()["cameras"]}
    assert states["gone"] == ("failed", "not_found")
    assert states["good"][0] == "ended"


@pytest.mark.timeout(60)
def test_stop_ends_an_endless_replay_and_closes_what_is_open(small_bundle: Path, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving_shapes(50))
    source = {"type": "file", "path": str(path), "realtime": True, "speed": 4, "loop": True}
    watched = Watched(config_of(small_bundle, {"a": source}))
    monitor = watched.monitor
    result: list[Any] = []
    assert not monitor.health.ready().ok
    thread = threading.Thread(target=lambda: result.append(monitor.run()))
    thread.start()
    try:
        opened = threading.Event()
        for _ in range(600):
            if watched.events["a"]:
                break
            opened.wait(0.05)
        assert monitor.health.ready().ok
        (camera,) = monitor.status()["cameras"]
        assert (camera["state"], camera["alert"]) == ("up", "warning")
        assert camera["size"] == (160, 120)
        preview = monitor.preview("a")
        assert preview is not None
        picture = cv2.imdecode(np.frombuffer(preview, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        assert picture.shape == (120, 160)
        assert monitor.preview("nobody") is None
    finally:
        monitor.stop()
        thread.join(20)
    assert not thread.is_alive()
    assert [e.state for e in watched.events["a"].values()] == ["closed"] * len(watched.events["a"])
    assert monitor.cameras[0].source.status.state == "stopped"


def test_what_is_wrong_with_a_model_shows_before_anything_starts(small_bundle: Path, shapes_video: Path) -> None:
    sources = {"a": {"type": "file", "path": str(shapes_video)}}
    document = {"model": str(small_bundle), "cameras": [{"id": "a", "source": sources["a"]}]}
    with pytest.raises(CalibrationError, match=r"'a'.*no calibration"):
        Monitor(parse_config(yaml.safe_dump(document)))
    with pytest.raises(BundleError, match="nothing_here"):
        Monitor(config_of(Path("nothing_here"), sources))


def test_models_are_closed_when_one_of_them_is_wrong(small_bundle: Path, shapes_video: Path) -> None:
    source = {"type": "file", "path": str(shapes_video)}
    cameras = [
        {"id": "a", "source": source, "threshold": 1},
        {"id": "b", "source": source, "threshold": 1, "model": "nothing_here"},
    ]
    before = set(threading.enumerate())
    with pytest.raises(BundleError, match="nothing_here"):
        Monitor(parse_config(yaml.safe_dump({"model": str(small_bundle), "cameras": cameras})))
    assert set(threading.enumerate()) == before


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_models_score_their_own_cameras(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    other = shutil.copytree(small_bundle, tmp_path / "other")
    document = yaml.safe_load((other / "model.yaml").read_text())
    document["name"] = "other"
    document["score"]["median_frames"] = 9
    (other / "model.yaml").write_text(yaml.safe_dump(document))
    source = {"type": "file", "path": str(shapes_video)}
    cameras = [
        {"id": "a", "source": source, "threshold": THRESHOLD},
        {"id": "b", "source": source, "threshold": THRESHOLD, "model": str(other)},
    ]
    watched = Watched(parse_config(yaml.safe_dump({"model": str(small_bundle), "cameras": cameras})))
    watched.run()
    for name, bundle in (("a", small_bundle), ("b", other)):
        alone = [s.score for s in score_video(shapes_video, bundle)]
        np.testing.assert_allclose([s.score for s in watched.scores[name]], alone, atol=1e-5)
    assert {e.model for e in watched.events["b"].values()} == {"other"}


def test_a_model_can_be_closed_twice(small_bundle: Path) -> None:
    model: Model = open_model(small_bundle)
    model.warm_up()
    model.close()
    model.close()
