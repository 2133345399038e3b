"""score_video against a frame-by-frame reference, and what it does with memory, errors and early ends."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundle_support import STILL, WARMUP, decoded, moving_shapes, small_manifest, write_mp4

pytest.importorskip("onnxruntime")
from reference_scorer import reference_scores
from scoring_support import score_video

from streamad.bundle import Bundle, load_bundle
from streamad.engines import EngineSpec
from streamad.errors import BundleError, EngineError
from streamad.frame import Frame, FrameFlags
from streamad.inference import Model, open_model
from streamad.preprocessing import FrameSizeError
from streamad.sources import SourceNotFoundError


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> Iterator[Model]:
    with open_model(small_bundle, EngineSpec(threads=1), hint="throughput") as opened:
        yield opened


def frames_of(pictures: Iterator[np.ndarray] | list[np.ndarray], start: int = 0) -> Iterator[Frame]:
    for k, picture in enumerate(pictures):
        first = FrameFlags.DISCONTINUITY
        yield Frame("cam", start + k, k / 25, 0.0, picture, FrameFlags.NONE if k else first)


def test_a_file_is_scored_as_plain_loops_score_it(model: Model, small_bundle: Path, tmp_path: Path) -> None:
    # 170×100: the grid's last row and column overlap their neighbors.
    path = write_mp4(tmp_path / "a.mp4", moving_shapes(70, (170, 100), shapes=3, seed=11))
    expected, anomaly_maps = reference_scores(decoded(path), model.bundle.manifest, small_bundle / "model.onnx")
    scores = list(score_video(path, model))
    assert [s.index for s in scores] == list(range(70))
    np.testing.assert_allclose([s.pts_seconds for s in scores], np.arange(70) / 25, atol=1e-6)
    assert [math.isnan(s.score) for s in scores] == [True] * WARMUP + [False] * (70 - WARMUP)
    assert {s.skipped_reason for s in scores[:WARMUP]} == {"warming_up"}
    np.testing.assert_allclose([s.score for s in scores], expected, atol=1e-5)
    moving = 0
    for score, wanted in zip(scores, anomaly_maps, strict=True):
        assert (score.anomaly_map is None) == (wanted is None)
        if wanted is not None and score.anomaly_map is not None:
            np.testing.assert_allclose(score.anomaly_map, wanted, atol=1e-5)
            moving += int((~np.isnan(wanted)).sum())
    assert moving > 300
    assert np.nanmax(expected) > STILL


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_every_engine_gives_the_same_scores(model: Model, small_bundle: Path, shapes_video: Path, engine: str) -> None:
    pytest.importorskip("torch")
    first = np.array([s.score for s in score_video(shapes_video, model)])
    spec = EngineSpec.model_validate({"name": engine, "threads": 1})
    other = np.array([s.score for s in score_video(shapes_video, small_bundle, engine=spec)])
    np.testing.assert_allclose(first, other, atol=1e-5)


@pytest.mark.parametrize(("median_frames", "cells"), [(7, 1), (1, 3), (5, 4)])
def test_median_and_number_of_cells_follow_the_reference(
    model: Model, small_bundle: Path, shapes_video: Path, median_frames: int, cells: int
) -> None:
    manifest = small_manifest(median_frames=median_frames, cells=cells)
    bundle = Bundle(small_bundle, manifest.model_copy(update={"files": model.bundle.manifest.files}))
    expected, _ = reference_scores(decoded(shapes_video), manifest, small_bundle / "model.onnx")
    scores = [s.score for s in score_video(shapes_video, Model(bundle, model.engine))]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_folder_of_images_scores_as_its_pictures(model: Model, small_bundle: Path, tmp_path: Path) -> None:
    pictures = list(moving_shapes(40, (120, 90)))
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    expected, _ = reference_scores(pictures, model.bundle.manifest, small_bundle / "model.onnx")
    np.testing.assert_allclose([s.score for s in score_video(tmp_path, model)], expected, atol=1e-5)


def test_what_rests_scores_still_and_what_moves_more(model: Model, shapes_video: Path) -> None:
    scores = np.array([s.score for s in score_video(shapes_video, model)])
    assert (scores[WARMUP:30] == STILL).all()
    assert (scores[32:60] > -5).all()
    assert (scores[62:] == STILL).all()


def test_scoring_twice_gives_the_same_bits(model: Model, shapes_video: Path) -> None:
    runs = [np.array([s.score for s in score_video(shapes_video, model)]) for _ in range(2)]
    np.testing.assert_array_equal(runs[0], runs[1])


def test_a_hole_and_a_new_size_start_anew_and_scoring_goes_on(model: Model) -> None:
    pictures = list(moving_shapes(60, (120, 90)))
    frames = list(frames_of(pictures[:20])) + [
        Frame("cam", 25 + k, 1 + k / 25, 0.0, picture) for k, picture in enumerate(pictures[20:40])
    ]
    frames += [Frame("cam", 45 + k, 2 + k / 25, 0.0, p) for k, p in enumerate(moving_shapes(20, (180, 120)))]
    skipped = [s.skipped_reason for s in score_video(frames, model, scorer=model.scorer("cam"))]
    hole, resized = 4, WARMUP  # the history is lost; with the size, the background too
    expected = ["warming_up"] * WARMUP + [None] * (20 - WARMUP)
    expected += ["gap"] * hole + [None] * (20 - hole)
    expected += ["warming_up"] * resized + [None] * (20 - resized)
    assert skipped == expected


def test_one_scorer_carries_the_background_from_clip_to_clip(model: Model, shapes_video: Path) -> None:
    scorer = model.scorer("cam")
    first = [s.skipped_reason for s in score_video(shapes_video, model, scorer=scorer)]
    second = [s.skipped_reason for s in score_video(shapes_video, model, scorer=scorer)]
    assert first.count("warming_up") == WARMUP
    assert second.count("warming_up") == 4  # the history alone


@pytest.mark.parametrize("size", [(1, 1), (200, 29)])
def test_frames_smaller_than_a_cell_are_an_error(model: Model, size: tuple[int, int]) -> None:
    with pytest.raises(FrameSizeError):
        list(score_video(frames_of([np.zeros(size[::-1], np.uint8)] * 3), model))


def test_a_missing_file_and_a_missing_model_are_typed_errors(model: Model, small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        list(score_video(tmp_path / "no.mp4", model))
    with pytest.raises(BundleError):
        list(score_video(tmp_path / "no.mp4", tmp_path / "no_model"))
    with pytest.raises(EngineError):
        list(score_video(tmp_path / "no.mp4", load_bundle(small_bundle).path, engine=EngineSpec(device="NPU7")))


def test_an_error_of_the_source_comes_through_with_the_frames_before_it(model: Model) -> None:
    def broken() -> Iterator[Frame]:
        yield from frames_of(moving_shapes(20))
        raise SourceNotFoundError("the disk is gone")

    seen: list[int] = []
    with pytest.raises(SourceNotFoundError, match="disk is gone"):
        seen.extend(score.index for score in score_video(broken(), model))
    assert seen == list(range(len(seen)))


def test_who_stops_early_leaves_no_thread_and_no_open_file(model: Model, shapes_video: Path) -> None:
    before = set(threading.enumerate())
    open_before = os.listdir("/proc/self/fd")
    for _ in range(5):
        scores = score_video(shapes_video, model)
        next(scores)
        scores.close()
    assert set(threading.enumerate()) == before
    assert len(os.listdir("/proc/self/fd")) <= len(open_before)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_stays_flat_over_thousands_of_frames(model: Model) -> None:
    pictures = list(moving_shapes(50, (90, 60), shapes=1))

    def endless() -> Iterator[Frame]:
        for k in range(1600):
            yield Frame("cam", k, k / 25, 0.0, pictures[k % 50].copy())

    start = 0
    for score in score_video(endless(), model):
        if score.index == 600:
            start = resident_bytes()
    assert score.index == 1599
    assert resident_bytes() - start < 5e6  # a frame kept of each would be 5.4 MB
