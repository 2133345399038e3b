"""A picture that changes its size during an alert: the boxes of a frame's cells are those of that frame's picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from streamad.alerts.event import Event
from streamad.calibration import AlertPolicySpec
from streamad.config import parse_config
from streamad.inference import open_model
from streamad.inference.alerting import resolve_policy
from streamad.inference.session import Session
from streamad.live import Monitor
from streamad.scoring import FrameScore
from streamad.sources import ImagesSpec, open_source
from streamad.workflows.score import score_file

LARGE, SMALL = (240, 320), (100, 140)
FRAMES = 56  # of each size; longer than the warm-up of every model here
RULES: dict[str, Any] = {"min_duration_seconds": 0.1, "cooldown_seconds": 0.2}
CASES = [
    ("adacl-motion-ped2", "shrinks"),
    ("alps-ped2", "shrinks"),
    ("motion-adacl-ped2", "grows"),
    *(
        pytest.param(name, change, marks=pytest.mark.slow)
        for name, change in (
            ("adacl-motion-ped2", "grows"),
            ("alps-ped2", "grows"),
            ("motion-adacl-ped2", "shrinks"),
            ("motion-ped2", "shrinks"),
            ("motion-ped2", "grows"),
            ("igd-ped2", "shrinks"),
            ("igd-ped2", "grows"),
        )
    ),
]


def square_at(frame: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the one thing that moves, pixels: it crosses the lower right quarter to and fro."""
    height, width = shape
    step = frame % 40
    x = round(width * (0.55 + 0.012 * min(step, 40 - step)))
    y = round(height * 0.6)
    return x, y, x + height // 6, y + height // 5


def pictures(*shapes: tuple[int, int]) -> Iterator[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(4)
    still = cv2.resize(rng.uniform(60, 160, (15, 20)).astype(np.float32), (320, 240))
    for number in range(FRAMES * len(shapes)):
        height, width = shapes[number // FRAMES]
        picture = cv2.resize(still, (width, height)) + rng.normal(0, 1, (height, width))
        x0, y0, x1, y1 = square_at(number, (height, width))
        picture[y0:y1, x0:x1] = 235
        yield np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures whose size falls, and ones whose size rises, in the middle."""
    answer = {}
    for name, shapes in (("shrinks", (LARGE, SMALL)), ("grows", (SMALL, LARGE))):
        answer[name] = tmp_path_factory.mktemp(name)
        for number, picture in enumerate(pictures(*shapes)):
            cv2.imwrite(str(answer[name] / f"{number:03d}.png"), picture)
    return answer


def size_of(change: str, index: int) -> tuple[int, int]:
    return (LARGE if index < FRAMES else SMALL) if change == "shrinks" else (SMALL if index < FRAMES else LARGE)


def touches(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def check_events(events: list[Event], change: str) -> None:
    assert events
    for event in events:
        assert event.box is not None
        height, width = size_of(change, event.peak_index)
        assert 0 <= event.box[0] < event.box[2] <= width
        assert 0 <= event.box[1] < event.box[3] <= height


@pytest.mark.parametrize(("name", "change"), CASES)
def test_every_box_lies_on_the_thing_in_the_pixels_of_its_own_frame(
    folders: dict[str, Path], name: str, change: str
) -> None:
    scored, events = [0, 0], dict[str, Event]()
    with open_model(name) as model, open_source(ImagesSpec(path=folders[change]), camera="a") as source:
        # All that is scored alerts.
        policy = resolve_policy(model.bundle, AlertPolicySpec(**RULES), camera="a", threshold=-1e6)
        for result in Session(model, policy, camera="a").run(source):
            frame, score = result.frame, result.score
            assert score.index == frame.index
            for changed in result.changes:
                events[changed.event.id] = changed.event
            if score.boxes is None or score.peak is None:
                continue
            assert score.boxes.shape == frame.shape == size_of(change, frame.index)
            assert score.anomaly_map is not None
            assert score.boxes.grid == score.anomaly_map.shape
            scored[frame.index >= FRAMES] += 1
            # IGD knows nothing of movement: its highest cell may lie anywhere. The others score what moves.
            if model.bundle.manifest.detector != "igd":
                moved = [square_at(frame.index - back, frame.shape) for back in range(8)]
                assert any(touches(score.boxes.box(*score.peak), square) for square in moved), score.index
    assert min(scored) >= 5, "frames of both sizes are scored"
    # IGD needs no history, so that its alert opens again within the cooldown: the same event.
    assert len(events) == (1 if model.bundle.manifest.detector == "igd" else 2)
    check_events(list(events.values()), change)


@pytest.mark.parametrize("change", ["shrinks", "grows"])
def test_an_annotated_video_keeps_its_size_and_tints_each_frames_own_cells(
    folders: dict[str, Path], small_bundle: Path, tmp_path: Path, change: str
) -> None:
    spec = ImagesSpec(path=folders[change])
    with open_model(small_bundle) as model:
        policy = resolve_policy(model.bundle, AlertPolicySpec(**RULES), camera="a", threshold=-5.0)
        files = score_file(
            spec, model, name="a", folder=tmp_path, policy=policy, normalization="raw", write_plot=False
        ).files
        with open_source(spec, camera="a") as source:
            scores = [result.score for result in Session(model, camera="a").run(source)]
    assert files.video is not None
    with av.open(str(files.video)) as container:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    height, width = size_of(change, 0)
    assert {picture.shape for picture in shown} == {(height, width, 3)}
    assert len(shown) == len(scores) == 2 * FRAMES
    for index in (FRAMES - 1, 2 * FRAMES - 1):
        score, tinted = scores[index], np.ptp(shown[index], axis=2) > 40
        assert score.boxes is not None
        assert score.anomaly_map is not None
        expected = np.zeros((height, width), bool)
        down, across = height / size_of(change, index)[0], width / size_of(change, index)[1]
        for row, col in np.argwhere(np.isfinite(score.anomaly_map)):
            x0, y0, x1, y1 = score.boxes.box(int(row), int(col))
            expected[round(y0 * down) : round(y1 * down), round(x0 * across) : round(x1 * across)] = True
        inner = np.s_[30:-8, 8:-8]  # without the strip and the border of an alert
        # The codec stores color at half the size, so a box's edge may be a pixel or two off.
        near = cv2.dilate(expected.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        surely = cv2.erode(expected.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert surely[inner].any()
        assert tinted[inner][surely[inner]].mean() > 0.99
        assert not tinted[inner][~near[inner]].any()


@pytest.mark.parametrize("change", ["shrinks", pytest.param("grows", marks=pytest.mark.slow)])
def test_a_live_camera_goes_on_and_names_the_right_box(folders: dict[str, Path], tmp_path: Path, change: str) -> None:
    """Two cameras on one engine: the other one is not disturbed."""
    document = {
        "model": "motion-adacl-ped2",
        "cameras": [
            {"id": name, "source": {"type": "images", "path": str(folders[which])}, "threshold": -1e6}
            for name, which in (("changes", change), ("same", change))
        ],
        "web": {"enabled": False},
        "rules": RULES,
        "events": {"path": str(tmp_path / "events.sqlite")},
    }
    events: dict[str, Event] = {}
    scores: list[FrameScore] = []
    monitor = Monitor(
        parse_config(yaml.safe_dump(document)),
        on_score=lambda camera, frame, score: scores.append(score),
        on_event=lambda change: events.__setitem__(change.event.id, change.event),
    )
    summaries = {summary.camera: summary for summary in monitor.run(once=True)}
    assert [s.error for s in summaries.values()] == [None, None]
    assert [s.scored for s in summaries.values()] == [2 * FRAMES] * 2
    check_events(list(events.values()), change)
