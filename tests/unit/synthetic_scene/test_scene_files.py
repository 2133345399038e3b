"""Rendering to files: what lies on the disk, read back by PyAV and numpy, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from streamad.errors import DatasetError, OutputError, UsageError
from streamad.synthetic_scene import (
    SceneTruth,
    iterate_frames,
    load_frame_labels,
    load_pixel_masks,
    load_truth,
    render_scene,
)

SIZE = (320, 180)


def _render(out: Path, processes: int = 1, **changes: object) -> SceneTruth:
    arguments: dict[str, object] = {
        "seed": 3,
        "size": SIZE,
        "fps": 10.0,
        "training_seconds": 5.0,
        "training_videos": 2,
        "testing_seconds": 30.0,
        "testing_videos": 1,
        "anomalies": ["runner", "cart"],
    }
    return render_scene(out, processes=processes, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneTruth:
    return _render(tmp_path_factory.mktemp("scene") / "out")


def _decode(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_folder_has_the_layout_of_a_data_set(scene: SceneTruth) -> None:
    files = {str(path.relative_to(scene.root)) for path in scene.root.rglob("*") if path.is_file()}
    assert files == {
        "truth.json",
        "training/videos/01.mp4",
        "training/videos/02.mp4",
        "testing/videos/01.mp4",
        "testing/frame_labels/01.npy",
        "testing/pixel_masks/01.npz",
    }


def test_videos_have_the_frames_size_and_rate_that_the_truth_says(scene: SceneTruth) -> None:
    assert [(video.part, video.frames) for video in scene.videos] == [
        ("training", 25),
        ("training", 25),
        ("testing", 300),
    ]
    for video in scene.videos:
        with av.open(str(scene.file(video))) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert (stream.codec_context.width, stream.codec_context.height) == SIZE
            assert stream.average_rate is not None
            assert float(stream.average_rate) == scene.fps
            frames = list(container.decode(stream))
        assert len(frames) == video.frames
        keys = [k for k, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0
        assert max(np.diff([*keys, len(frames)])) <= 2 * scene.fps


def test_labels_masks_and_events_agree(scene: SceneTruth) -> None:
    (video,) = scene.testing
    assert video.frame_labels is not None
    assert video.pixel_masks is not None
    labels = load_frame_labels(scene.root / video.frame_labels)
    masks = load_pixel_masks(scene.root / video.pixel_masks)
    assert labels.dtype == np.uint8
    assert labels.shape == (len(_decode(scene.file(video))),)
    assert masks.shape == (labels.size, SIZE[1], SIZE[0])
    np.testing.assert_array_equal(labels, scene.labels_of(video))
    assert sorted(event.kind for event in scene.events) == ["cart", "runner"]
    shown = masks.any(axis=(1, 2))
    assert not (shown & (labels == 0)).any()
    assert shown[labels == 1].mean() > 0.9
    for event in scene.events_of(video):
        assert event.start_seconds == pytest.approx(event.first_frame / scene.fps, abs=1e-3)
        assert event.end_seconds == pytest.approx((event.last_frame + 1) / scene.fps, abs=1e-3)
        assert len(event.boxes) == event.last_frame - event.first_frame + 1
        assert event.boxes[0] is not None
        assert event.boxes[-1] is not None
        for frame, box in enumerate(event.boxes, start=event.first_frame):
            assert (box is not None) == shown[frame]
            if box is not None:
                rows, columns = np.nonzero(masks[frame])
                assert box[0] - 1.5 <= columns.min()
                assert columns.max() <= box[2] + 1.5
                assert box[1] - 1.5 <= rows.min()
                assert rows.max() <= box[3] + 1.5


def test_the_file_shows_what_the_iterator_yields(scene: SceneTruth) -> None:
    decoded = _decode(scene.file(scene.training[1]))
    frames = iterate_frames(seed=3, size=SIZE, fps=10.0, seconds=2.5, part="training", video=1)
    for got, frame in zip(decoded, frames, strict=True):
        error = np.mean((got.astype(float) - frame.pixels.astype(float)) ** 2)
        assert 10 * np.log10(255**2 / error) > 27


def test_truth_is_read_back_equal(scene: SceneTruth) -> None:
    assert load_truth(scene.root) == scene
    assert load_truth(scene.root / "truth.json") == scene
    document = json.loads((scene.root / "truth.json").read_text())
    assert str(scene.root) not in json.dumps(document)
    assert set(document["events"][0]) == {
        "video",
        "kind",
        "first_frame",
        "last_frame",
        "start_seconds",
        "end_seconds",
        "boxes",
    }


@pytest.mark.slow
def test_two_processes_render_the_same_bytes_as_one_and_report_progress(scene: SceneTruth, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    _render(tmp_path / "again", processes=2, progress=lambda _, done, total: reports.append((done, total)))
    assert _hashes(tmp_path / "again") == _hashes(scene.root)
    assert reports[-1] == (350, 350)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


@pytest.mark.slow
def test_events_are_shared_out_to_several_testing_videos(tmp_path: Path) -> None:
    truth = _render(tmp_path / "out", testing_seconds=29.0, testing_videos=2, training_seconds=2.0, fps=5.0)
    assert [video.name for video in truth.testing] == ["01", "02"]
    assert sorted(event.video for event in truth.events) == ["01", "02"]


@pytest.mark.slow
def test_a_scene_rendered_before_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _render(out, training_videos=3, testing_seconds=2.0, training_seconds=3.0, anomalies=())
    truth = _render(out, training_videos=1, testing_seconds=2.0, training_seconds=1.0, anomalies=(), seed=4)
    assert load_truth(out) == truth
    assert truth.seed == 4
    assert truth.events == ()
    assert [path.name for path in (out / "training" / "videos").iterdir()] == ["01.mp4"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_rendering_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _render(tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not a scene"):
        _render(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the scene"):
        _render(tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (321, 180)}, "even"),
        ({"size": (100, 80)}, "at least 160×120"),
        ({"anomalies": ["dog"]}, "'dog'"),
        ({"testing_seconds": 6.0}, "do not fit"),
        ({"fps": 0.0}, "fps"),
        ({"seed": -1}, "seed"),
        ({"training_seconds": float("nan")}, "training_seconds"),
        ({"processes": 0}, "process"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    processes = int(changes.pop("processes", 1))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=message):
        _render(tmp_path / "out", processes=processes, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "not the ground truth of a scene"),
        ("[1]", "not the ground truth of a scene"),
        ('{"format": 99}', "format 1, got 99"),
        ('{"format": 1, "seed": "many"}', "seed"),
    ],
)
def test_a_missing_or_damaged_truth_is_said(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "truth.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_truth(tmp_path)


def test_missing_or_damaged_labels_and_masks_are_said(tmp_path: Path) -> None:
    damaged = tmp_path / "x.npz"
    damaged.write_bytes(b"no archive")
    for load in (load_frame_labels, load_pixel_masks):
        with pytest.raises(DatasetError, match="cannot read"):
            load(tmp_path / "missing.npy")
        with pytest.raises(DatasetError, match="cannot read"):
            load(damaged)
