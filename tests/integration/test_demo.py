"""The demo's stages on a short scene with a shipped bundle: its output agrees with the files that it writes."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamad.alerts.store import EventStore
from streamad.cli.demo import GENERIC, WALKWAY
from streamad.evaluation import load_dataset
from streamad.model_folders import list_bundles
from streamad.synthetic_scene import SceneTruth, render_scene
from streamad.workflows.demo import calibrate_scene, connect, watch_scene, write_config

MODEL = GENERIC


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> SceneTruth:
    return render_scene(
        tmp_path_factory.mktemp("demo") / "scene",
        seed=11,
        training_seconds=24.0,
        training_videos=2,
        testing_seconds=30.0,
        anomalies=("cart", "cyclist"),
    )


def test_the_bundles_of_the_demo_are_shipped() -> None:
    assert {WALKWAY, GENERIC} <= {path.name for path in list_bundles()}


@pytest.mark.slow
def test_what_the_demo_says_agrees_with_what_it_leaves(truth: SceneTruth, tmp_path: Path) -> None:
    calibration = calibrate_scene(truth, MODEL, tmp_path / "calibration.json", alerts_per_day=2000.0)
    assert calibration.frames > 200
    config = write_config(truth, MODEL, tmp_path / "calibration.json", tmp_path / "demo.yaml", port=0)
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
