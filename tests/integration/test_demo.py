"""The demo's stages on a short scene: its output agrees with the files that it writes."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamad.alerts.store import EventStore
from streamad.detectors import DEFAULT
from streamad.evaluation import load_dataset
from streamad.synthetic_scene import SceneEvent, SceneTruth, SceneVideo, render_scene
from streamad.workflows.demo import Watch, connect, learn_scene, watch_scene, write_config


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SceneTruth:
    return render_scene(
        tmp_path_factory.mktemp("demo") / "scene",
        seed=11,
        size=(384, 216),
        training_seconds=40.0,
        training_videos=2,
        testing_seconds=30.0,
        anomalies=("cart", "cyclist"),
    )


def test_missed_anomalies_are_reported(tmp_path: Path) -> None:
    events = tuple(
        SceneEvent("01", kind, first, first + 9, first / 10, first / 10 + 1, (None,) * 10)
        for kind, first in (("cart", 0), ("object_left", 50))
    )
    video = SceneVideo("testing", "01", "01.mp4", 100)
    said: list[str] = []
    Watch(SceneTruth(0, 640, 360, 10.0, 0.25, {}, (video,), events, tmp_path), said.append).on_time(float("inf"))
    assert said == ["   1.0 s  missed: cart from 0.0 s", "   6.0 s  missed: object_left from 5.0 s"]


@pytest.mark.slow
def test_what_the_demo_says_agrees_with_what_it_leaves(truth: SceneTruth, tmp_path: Path) -> None:
    learned = learn_scene(truth, tmp_path / "model", alerts_per_day=2000.0)
    assert learned.bundle.manifest.detector == DEFAULT
    assert learned.bundle.manifest.training.frames == sum(video.frames for video in truth.training)
    assert learned.calibration.frames > 400
    config = write_config(truth, tmp_path / "model", tmp_path / "demo.yaml", port=0)
    said: list[str] = []
    with EventStore(tmp_path / "events.sqlite") as store:
        monitor, watch, recorder = connect(truth, config, store, tmp_path, said.append)
        with recorder:
            result = watch_scene(truth, monitor, watch, recorder)
        events = store.events()
    video = truth.testing[0]

    report = result.report
    assert len(report.events) == 2
    assert report.found + report.missed == 2
    assert (
        len(events)
        == report.right + report.wrong
        == sum("ALERT warning" in line or "ALERT critical" in line for line in said)
    )
    assert sum("missed" in line for line in said) == report.missed
    assert sum("false alert" in line for line in said) == report.wrong
    assert all(event.state == "closed" for event in events)

    rows = Path(str(result.recording.csv)).read_text().splitlines()
    assert len(rows) == video.frames + 1
    with av.open(str(result.recording.video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == video.frames
    plot = cv2.imread(str(result.recording.plot))
    assert plot is not None
    assert plot.shape == (600, 1600, 3)

    samples = {
        (s.name, s.labels.get("stage")): s.value
        for family in text_string_to_metric_families(monitor.metrics.render().decode())
        for s in family.samples
    }
    assert samples["streamad_frames_total", "scored"] == video.frames
    assert 0.0 <= result.auc <= 1.0


@pytest.mark.slow
def test_the_scene_is_a_data_set_that_the_evaluation_reads(truth: SceneTruth) -> None:
    data = load_dataset(truth.root)
    assert [clip.frames for clip in data.testing] == [truth.testing[0].frames]
    labels = data.testing[0].labels
    assert labels is not None
    assert np.array_equal(labels, truth.labels_of(truth.testing[0]))
