"""The gate in the pipeline: files with real faults through the monitor, and the same through `score_video`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, write_mp4
from quality_support import gain, watched
from scoring_support import score_video

from streamad.alerts import EventStore, HealthChange
from streamad.config import parse_config
from streamad.errors import ConfigError
from streamad.frame import Frame
from streamad.inference import Model, open_model
from streamad.inference.gated_scorer import read_place
from streamad.live import Monitor
from streamad.scoring import FrameScore
from streamad.sources import FileSpec, open_source

DARK = range(100, 175)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of a place; the picture goes black for three of them, while walkers walk on."""
    pictures = (np.zeros_like(p) if k in DARK else p for k, p in enumerate(watched(250, walkers=3)))
    return write_mp4(tmp_path_factory.mktemp("quality") / "dark.mp4", pictures)


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> Model:
    return open_model(small_bundle)


def document(bundle: Path, video: Path, **quality: object) -> str:
    return yaml.safe_dump({
        "model": str(bundle),
        "cameras": [
            {"id": "gate", "source": {"type": "file", "path": str(video)}, "threshold": THRESHOLD,
             "quality": {"event_close_seconds": 1, **quality}},
        ],
        "rules": {"min_duration_seconds": 0.2, "cooldown_seconds": 0.2, "gap_seconds": 1},
        "engine": {"threads": 1},
    })  # fmt: skip


def test_held_frames_have_no_score_an_event_of_their_own_and_no_alert(
    small_bundle: Path, model: Model, video: Path, tmp_path: Path
) -> None:
    scores: list[FrameScore] = []
    health: list[HealthChange] = []
    place = tmp_path / "place.png"
    with EventStore(tmp_path / "events.sqlite") as store:
        monitor = Monitor(
            parse_config(document(small_bundle, video, reference=str(place))),
            store=store,
            on_score=lambda _, __, score: scores.append(score),
            on_health=health.append,
        )
        (summary,) = monitor.run(once=True)
        (event,) = store.health_events()
        anomalies = store.events()
        (status,) = monitor.status()["cameras"]
    assert summary.error is None
    assert [s.index for s in scores] == list(range(250))
    held = [s.index for s in scores if s.skipped_reason == "quality"]
    assert set(DARK) <= set(held) <= set(range(DARK.start, DARK.stop + 25))  # the light comes back with a step
    assert all(np.isnan(scores[k].score) for k in held)
    assert [c.kind for c in health] == ["opened", "closed"]
    assert event.reasons[0] == "dark"
    assert event.started_index == DARK.start
    assert event.state == "closed"
    # Walkers are alerts to this model; none lasts through the dark, and none opens in it.
    assert anomalies
    assert all(not (a.started_index in held or a.raised_index in held) for a in anomalies)
    assert all(a.ended_index is not None and not (a.started_index < 120 and a.ended_index > 160) for a in anomalies)
    text = monitor.metrics.render().decode()
    assert f'streamad_frame_quality_total{{camera="gate",reason="dark"}} {len(DARK)}.0' in text
    assert f'streamad_scores_withheld_total{{camera="gate",reason="quality"}} {len(held)}.0' in text
    assert 'streamad_health_events_total{camera="gate",topic="quality"} 1.0' in text
    assert 'streamad_quality_hold_active{camera="gate"} 0.0' in text
    assert status["quality"] is None
    assert status["held"]["dark"] == len(DARK)
    # Files take the same path.
    again = list(score_video(video, model, camera="gate"))
    np.testing.assert_allclose([s.score for s in again], [s.score for s in scores], atol=1e-5)
    assert [s.skipped_reason for s in again] == [s.skipped_reason for s in scores]
    assert read_place(place, camera="gate") is not None


def test_the_background_learns_nothing_from_held_frames(model: Model) -> None:
    def frames(spoil: bool) -> list[Frame]:
        pictures = [gain(p, 5, 80) if spoil and 100 <= k < 140 else p for k, p in enumerate(watched(200, walkers=2))]
        return [Frame("cam", k, k / 25, 0.0, p) for k, p in enumerate(pictures)]

    clean = list(score_video(frames(False), model))
    spoiled = list(score_video(frames(True), model))
    assert {s.skipped_reason for s in spoiled[100:140]} == {"quality"}
    after = slice(170, None)
    assert [s.skipped_reason for s in spoiled[after]] == [None] * 30
    a, b = np.array([s.score for s in clean[after]]), np.array([s.score for s in spoiled[after]])
    assert np.median(np.abs(a - b)) < 0.5  # an absorbed white picture would make every cell move


def test_the_gate_can_be_switched_off(small_bundle: Path, tmp_path: Path) -> None:
    scores: list[FrameScore] = []
    video = write_mp4(tmp_path / "black.mp4", (np.zeros_like(p) if k > 20 else p for k, p in enumerate(watched(40))))
    config = parse_config(document(small_bundle, video, enabled=False))
    monitor = Monitor(config, on_score=lambda _, __, score: scores.append(score))
    monitor.run(once=True)
    assert len(scores) == 40
    assert "quality" not in {s.skipped_reason for s in scores}
    assert monitor.status()["cameras"][0]["quality"] is None


def test_detectors_of_windows_start_anew_after_a_hold(narrow_bundle: Path, video: Path) -> None:
    for streaming in (True, False):
        with (
            open_model(narrow_bundle, streaming=streaming) as narrow,
            open_source(FileSpec(path=video), camera="cam") as source,
        ):
            scores = list(score_video(list(source), narrow))
        reasons = {s.index: s.skipped_reason for s in scores}
        assert all(reasons[k] == "quality" for k in DARK)
        assert all(k not in reasons for k in range(DARK.start - 7, DARK.start))  # frames that end a piece
        first = next(k for k in range(DARK.stop, 250) if reasons.get(k) != "quality")
        assert all(reasons[k] == "warming_up" for k in range(first, first + 8))
        assert reasons[first + 8] is None


def test_one_place_cannot_be_two_cameras(small_bundle: Path, video: Path) -> None:
    source = {"type": "file", "path": str(video)}
    text = yaml.safe_dump(
        {
            "model": str(small_bundle),
            "quality": {"reference": "place.png"},
            "cameras": [{"id": name, "source": source, "threshold": 1.0} for name in ("a", "b")],
        }
    )
    with pytest.raises(ConfigError, match="one camera's"):
        parse_config(text)
