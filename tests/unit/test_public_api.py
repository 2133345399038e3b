"""The public names, from the front door to the ends: load, score, session, fit, save, evaluate, watch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from motion_support import walkers, world

import streamad
from streamad.errors import CalibrationError, OutputError, UsageError

HEAVY = ("torch", "openvino", "onnx", "numpy", "cv2", "av", "pydantic", "yaml", "fastapi", "matplotlib")


def in_a_fresh_process(program: str) -> str:
    """What a program prints in an interpreter that has imported nothing."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def test_importing_streamad_imports_nothing_heavy() -> None:
    program = f"import sys, streamad; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert in_a_fresh_process(program) == "[]"


def test_loading_a_model_imports_no_torch_and_no_web_server() -> None:
    program = (
        "import sys, streamad; streamad.load('motion-ped2'); "
        "print([name for name in ('torch', 'fastapi', 'matplotlib') if name in sys.modules])"
    )
    assert in_a_fresh_process(program) == "[]"


def test_every_public_name_is_there_and_listed() -> None:
    for name in streamad.__all__:
        assert getattr(streamad, name) is not None
        assert name in dir(streamad)
    with pytest.raises(AttributeError, match="nothing"):
        streamad.nothing  # noqa: B018


def test_a_model_without_a_calibration_scores_and_raises_no_alert(small_bundle: Path, shapes_video: Path) -> None:
    with streamad.load(small_bundle) as model:
        scores = list(model.score(shapes_video))
        assert [score.index for score in scores] == list(range(100))
        assert not any(score.is_alert for score in scores)
        assert model.calibration is None
        with pytest.raises(CalibrationError, match="has no calibration"):
            list(model.score(shapes_video, alerts_per_day=1))
        with model.session() as session:
            assert not session.push(np.zeros((120, 160), np.uint8))[0].score.is_alert


def test_a_threshold_makes_alerts_and_events(small_bundle: Path, shapes_video: Path) -> None:
    changes: list[streamad.EventChange] = []
    with streamad.load(small_bundle) as model:
        scores = list(model.score(shapes_video, threshold=THRESHOLD, on_event=changes.append))
    alert = [score.index for score in scores if score.is_alert]
    assert 46 <= alert[0] <= 50  # 0.8 s after the shapes came
    assert alert == list(range(alert[0], 100))  # it ends at 60, and would close 2 s later
    assert [(change.kind, change.event.ended_index) for change in changes] == [("opened", None), ("closed", 60)]


def test_pushed_frames_score_as_the_file_does(small_bundle: Path, shapes_video: Path) -> None:
    changes: list[streamad.EventChange] = []
    with (
        streamad.load(small_bundle) as model,
        streamad.open_source(streamad.parse_source(str(shapes_video)), camera="gate") as source,
    ):
        frames = list(source)
        whole = list(model.score(frames, camera="gate", threshold=THRESHOLD))
        with model.session(camera="gate", threshold=THRESHOLD, on_event=changes.append) as session:
            pushed = [result for frame in frames for result in session.push(frame)]
        with model.session(camera="gate", threshold=THRESHOLD) as session:
            pictures = [result for frame in frames for result in session.push(frame.pixels)]
    assert [result.frame for result in pushed] == frames
    for results in (pushed, pictures):
        assert [result.score.score for result in results] == pytest.approx([s.score for s in whole], nan_ok=True, abs=0)
        assert [result.score.is_alert for result in results] == [s.is_alert for s in whole]
    assert [change for result in pushed for change in result.changes] == changes[:1]  # the session's end closes it
    assert [change.event.state for change in changes] == ["open", "closed"]


def test_a_session_takes_color_and_times_and_closes_its_event(small_bundle: Path) -> None:
    changes: list[streamad.EventChange] = []
    pictures = list(moving_shapes(60, busy=((20, 60),)))
    with (
        streamad.load(small_bundle) as model,
        model.session(camera="gate", threshold=THRESHOLD, on_event=changes.append) as session,
    ):
        results = [
            result
            for number, picture in enumerate(pictures)
            for result in session.push(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), pts_seconds=100 + number / 25)
        ]
        assert session.open_event is not None
        with pytest.raises(UsageError, match="uint8"):
            session.push(np.zeros((120, 160), np.float32))  # type: ignore[arg-type]
    np.testing.assert_array_equal(results[30].frame.pixels, pictures[30])
    assert results[30].score.pts_seconds == pytest.approx(101.2)
    assert [(change.kind, change.event.reason) for change in changes] == [("opened", "score"), ("closed", "end")]


def test_windowed_models_give_every_frame_with_its_reason(narrow_bundle: Path, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving_shapes(40, busy=((0, 40),)))
    with streamad.load(narrow_bundle) as model:
        scores = list(model.score(path))
    assert [score.index for score in scores] == list(range(40))
    assert {score.skipped_reason for score in scores[-7:]} == {"window"}
    assert np.isnan([score.score for score in scores[-7:]]).all()


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos of walkers."""
    folder = tmp_path_factory.mktemp("walks")
    seconds, fps = 40.0, 10

    def video(seed: int) -> Path:
        frames = world(walkers(seconds, seed=seed), seconds, fps=fps, seed=seed)
        return write_mp4(folder / f"{seed}.mp4", (frame.pixels for frame in frames), fps=fps)

    return [video(seed) for seed in (1, 2)]


def test_fit_save_load_and_watch(walks: list[Path], tmp_path: Path) -> None:
    stages: list[str] = []
    model = streamad.fit(
        "motion", walks, name="gate", alerts_per_day=100, progress=lambda stage, done, total: stages.append(stage)
    )
    assert "fitting" in stages
    assert model.calibration is not None
    assert model.calibration.alerts_per_day == 100
    first = [score.score for score in model.score(walks[0])]
    assert np.isfinite(first).sum() > 100
    folder = model.save(tmp_path / "gate")
    with pytest.raises(OutputError, match="not an empty folder"):
        model.save(folder)
    with streamad.load(folder) as again:
        assert again.name == "gate"
        assert again.calibration == model.calibration
        assert [score.score for score in again.score(walks[0])] == pytest.approx(first, nan_ok=True, abs=0)
    config = tmp_path / "camera.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": str(folder),
                "cameras": [{"id": "gate", "source": {"type": "file", "path": str(walks[0])}}],
                "events": {"path": str(tmp_path / "events.sqlite")},
                "history": {"folder": str(tmp_path / "history")},
                "web": {"enabled": False},
            }
        )
    )
    scores: list[float] = []
    result = streamad.watch(config, once=True, on_score=lambda camera, frame, score: scores.append(score.score))
    assert result.is_complete
    assert [camera.error for camera in result.cameras] == [None]
    # A replayed file through the monitor gives the file's scores to the last bit.
    assert scores == pytest.approx(first, nan_ok=True, abs=0)
    with streamad.EventStore(tmp_path / "events.sqlite") as store:
        assert store.count() == result.cameras[0].alerts


def test_fit_refuses_an_unknown_option(walks: list[Path]) -> None:
    with pytest.raises(UsageError, match="lenght"):
        streamad.fit("motion", walks, lenght=3)


def test_evaluate_a_small_data_set(small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    (folder / "testing" / "videos").mkdir(parents=True)
    (folder / "testing" / "frame_labels").mkdir()
    for name, first in (("a", 30), ("b", 50)):
        write_mp4(folder / "testing" / "videos" / f"{name}.mp4", moving_shapes(100, busy=((first, first + 30),)))
        labels = np.zeros(100, np.uint8)
        labels[first : first + 30] = 1
        np.save(folder / "testing" / "frame_labels" / f"{name}.npy", labels)
    stages: list[tuple[str, int, int | None]] = []
    result = streamad.evaluate(
        small_bundle, str(folder), threshold=THRESHOLD, workers=1, progress=lambda *stage: stages.append(stage)
    )
    assert stages == [("scoring", 1, 2), ("scoring", 2, 2)]
    raw = next(figures for figures in result.protocols if figures.normalization == "raw")
    assert raw.auc_micro > 0.9
    written = result.report(tmp_path / "report")
    assert {path.name for path in written} == {"scores.csv", "scores.npz", "result.json", "report.md", "report.html"}
    document = json.loads((tmp_path / "report" / "result.json").read_text())
    assert document["protocols"] == json.loads(json.dumps(result.to_dict()["protocols"]))
    alone = streamad.evaluate_scores(
        [clip.scores for clip in result.clips], [trace.labels for trace in result.traces], normalization="raw"
    )
    assert alone == raw
