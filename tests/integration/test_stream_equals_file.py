"""A single scoring path: a stream gets the same scores as its file.

Guaranteed here, with a real RTSP server (GStreamer) and a realtime replay:

1. Every frame that the live path scored has the pixels of a frame of the file, in the file's order.
2. Its score and anomaly map equal those of `score_video` over the same frames, to 1e-5. A live source may lose frames
   (it joins late, or the machine was busy for longer than the decoder's ring covers). The reference then has the same
   gap.
3. In a run that lost nothing, they equal those of `score_video` over the file, frame by frame. One of three runs must
   be such a run.
"""

from __future__ import annotations

import csv
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, decoded, moving_shapes, write_mp4
from cli_support import streamad
from rtsp_support import RtspServer, require_rtsp_server
from scoring_support import score_video

from streamad.config import parse_config
from streamad.frame import Frame, FrameFlags
from streamad.live import Monitor
from streamad.live.camera import CameraWatch
from streamad.scoring import FrameScore

FRAMES = 80
RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0.2}

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 3.2 s in H.264 at 25 frames per second; shapes move from frame 20 on."""
    path = tmp_path_factory.mktemp("stream") / "shapes.mp4"
    return write_mp4(path, moving_shapes(FRAMES, shapes=3, busy=((20, FRAMES),)))


@dataclass
class Watch:
    """Frames and scores from the live path."""

    frames: list[Frame] = field(default_factory=list)
    scores: list[FrameScore] = field(default_factory=list)

    def take(self, camera: CameraWatch, frame: Frame, score: FrameScore) -> None:
        self.frames.append(frame)
        self.scores.append(score)


def watched(bundle: Path, source: dict[str, Any]) -> Watch:
    """Monitor one camera until its stream is over."""
    document = {
        "model": str(bundle),
        "cameras": [{"id": "cam", "source": source, "threshold": THRESHOLD}],
        "rules": RULES,
        "engine": {"threads": 1},
        "reconnect": {"initial_seconds": 60},
    }
    watch = Watch()
    monitor = Monitor(parse_config(yaml.safe_dump(document)), on_score=watch.take)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            (status,) = monitor.status()["cameras"]
            if status["state"] in ("backoff", "ended", "failed") or len(watch.scores) == FRAMES:
                break
            time.sleep(0.05)
    finally:
        monitor.stop()
        thread.join(30)
    assert not thread.is_alive()
    return watch


def places_in_file(watch: Watch, pictures: list[np.ndarray]) -> list[int]:
    """Find the file's frame for each live frame by its pixels (sensor noise makes every frame unique)."""
    place = {picture.tobytes(): number for number, picture in enumerate(pictures)}
    assert len(place) == len(pictures)
    places = [place[frame.pixels.tobytes()] for frame in watch.frames]
    assert places == sorted(set(places))
    return places


def same(first: list[FrameScore], second: list[FrameScore]) -> None:
    """Check that scores and anomaly maps are equal to 1e-5, and that the same frames are skipped."""
    assert [s.skipped_reason for s in first] == [s.skipped_reason for s in second]
    np.testing.assert_allclose([s.score for s in first], [s.score for s in second], atol=1e-5)
    for one, two in zip(first, second, strict=True):
        assert (one.anomaly_map is None) == (two.anomaly_map is None)
        if one.anomaly_map is not None and two.anomaly_map is not None:
            np.testing.assert_allclose(one.anomaly_map, two.anomaly_map, atol=1e-5)


def check(watch: Watch, video: Path, bundle: Path) -> bool:
    """Check the guarantees; return whether no frame was lost."""
    pictures = decoded(video)
    places = places_in_file(watch, pictures)
    assert len(places) > FRAMES // 2
    delivered = [
        Frame("cam", number, number / 25, 0.0, pictures[number], FrameFlags.NONE if k else FrameFlags.DISCONTINUITY)
        for k, number in enumerate(places)
    ]
    same(watch.scores, list(score_video(delivered, bundle)))
    # The stream's clock equals the file's from the first frame on (RTP counts in 1/90000 s).
    seconds = np.array([s.pts_seconds for s in watch.scores])
    np.testing.assert_allclose(seconds - seconds[0], (np.array(places) - places[0]) / 25, atol=2e-3)
    if places != list(range(len(places))):
        return False
    same(watch.scores, list(score_video(video, bundle))[: len(places)])
    assert sum(s.skipped_reason is None and s.score > THRESHOLD for s in watch.scores) > 40
    return True


@pytest.mark.rtsp
def test_an_rtsp_stream_scores_as_its_file(small_bundle: Path, video: Path) -> None:
    require_rtsp_server()
    with RtspServer({"cam": video}) as server:
        source = {"type": "rtsp", "url": server.url("cam"), "transport": "tcp"}
        assert any(check(watched(small_bundle, source), video, small_bundle) for _ in range(3))


@pytest.mark.slow
def test_a_replay_at_the_pace_of_a_camera_scores_as_the_file(small_bundle: Path, video: Path) -> None:
    source = {"type": "file", "path": str(video), "realtime": True, "speed": 2}
    assert any(check(watched(small_bundle, source), video, small_bundle) for _ in range(3))


def test_run_and_score_give_the_same_scores_and_alerts_on_the_command_line(small_bundle: Path, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(220, busy=((20, 70), (150, 190), (210, 220))))
    document = {
        "model": str(small_bundle),
        "cameras": [{"id": "v", "source": {"type": "file", "path": str(video)}, "threshold": THRESHOLD}],
        "events": {"path": str(tmp_path / "events.sqlite")},
        "sinks": [{"type": "jsonl", "path": str(tmp_path / "events.jsonl")}],
        "web": {"enabled": False},
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(document))
    ran = streamad("run", "site.yaml", "--once", "--scores", "live", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    scored = streamad(
        "score", video, "-m", small_bundle, "--threshold", str(THRESHOLD), "-o", "file", "--no-video", "--no-plot",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert scored.code == 0, scored.err

    columns = ("index", "pts_seconds", "raw_score", "score", "skipped_reason", "alert", "peak_row", "peak_col")
    tables = []
    for folder in ("live", "file"):
        with (tmp_path / folder / "v.csv").open(newline="") as file:
            tables.append([{name: row[name] for name in columns} for row in csv.DictReader(file)])
    assert len(tables[0]) == len(tables[1]) == 220
    for live, file_row in zip(*tables, strict=True):
        for name in columns:
            if live[name] == "" or name == "skipped_reason":
                assert live[name] == file_row[name]
            else:
                assert float(live[name]) == pytest.approx(float(file_row[name]), abs=1.1e-5)

    # The sink received every change. An alert that rises again within the cooldown is the same event.
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    live_events = list({line["id"]: line for line in lines}.values())
    assert [line["kind"] for line in lines] == ["opened", "closed", "updated", "closed"]
    (result,) = scored.document()["results"]
    assert result["alerts"] == len(live_events) == 1
    for mine, theirs in zip(live_events, result["events"], strict=True):
        for name, value in theirs.items():
            if name == "peak_score":
                assert mine[name] == pytest.approx(value, abs=1e-5)
            elif name not in ("id", "started_at", "updated_at", "ended_at"):
                assert mine[name] == value, name
