"""Scores of the streaming form against the window form, through everything that a camera's frames pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4

torch = pytest.importorskip("torch")

from scoring_support import score_video  # noqa: E402

from streamad.bundle import ONNX, WEIGHTS, load_bundle, write_manifest  # noqa: E402
from streamad.config import parse_config  # noqa: E402
from streamad.engines import EngineSpec, StatefulEngine  # noqa: E402
from streamad.engines.stateful import Answers, StreamChunk  # noqa: E402
from streamad.errors import EngineError  # noqa: E402
from streamad.evaluation.datasets import Clip, Dataset  # noqa: E402
from streamad.frame import Frame, FrameFlags  # noqa: E402
from streamad.inference import Model, open_model  # noqa: E402
from streamad.live.monitor import Monitor  # noqa: E402
from streamad.scoring import FrameScore  # noqa: E402
from streamad.workflows.evaluate_scoring import score_dataset  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")
ENGINE = EngineSpec(threads=1)
TOLERANCE = 1e-4
"""Of the score, decibels: the squared error that it is made of agrees to some 1e-7."""


@pytest.fixture(scope="module")
def models(narrow_bundle: Path) -> Iterator[tuple[Model, Model]]:
    """The streaming form and the window form."""
    with open_model(narrow_bundle, ENGINE) as streaming, open_model(narrow_bundle, ENGINE, streaming=False) as windows:
        yield streaming, windows


def frames_of(count: int, seed: int, camera: str = "cam", first: int = 0) -> list[Frame]:
    pictures = moving_shapes(count, (96, 64), seed=seed)
    return [Frame(camera, first + k, (first + k) / 25, 0.0, picture) for k, picture in enumerate(pictures)]


def same(made: list[FrameScore], wanted: list[FrameScore]) -> None:
    described = [[(s.camera, s.index, s.pts_seconds, s.skipped_reason) for s in scores] for scores in (made, wanted)]
    assert described[0] == described[1]
    for ours, theirs in zip(made, wanted, strict=True):
        np.testing.assert_allclose(ours.score, theirs.score, rtol=0, atol=TOLERANCE)
        if theirs.anomaly_map is None:
            assert ours.anomaly_map is None
        else:
            np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=0, atol=1e-5)


def with_hole(frames: list[Frame]) -> list[Frame]:
    return frames[:22] + frames[25:]


def with_flag(frames: list[Frame]) -> list[Frame]:
    frames[30] = replace(frames[30], flags=FrameFlags.DISCONTINUITY)
    return frames


def with_many_gaps(frames: list[Frame]) -> list[Frame]:
    """Pieces that end before any frame of theirs is due, before any is scored, and after one is."""
    return [f for f in frames if f.index not in (5, 14, 25, 42)]


def resized(frames: list[Frame]) -> list[Frame]:
    return frames[:20] + [replace(f, pixels=np.ascontiguousarray(f.pixels[:60, :90])) for f in frames[20:]]


@pytest.mark.parametrize("damage", [list, with_hole, with_flag, with_many_gaps, resized])
def test_score_video_says_the_same(models: tuple[Model, Model], damage: Callable[[list[Frame]], list[Frame]]) -> None:
    streaming, windows = models
    frames = damage(frames_of(64, seed=4))
    wanted = list(score_video(frames, windows))
    assert sum(s.skipped_reason is None for s in wanted) >= 6
    same(list(score_video(frames, streaming)), wanted)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_other_engines_say_the_same(models: tuple[Model, Model], narrow_bundle: Path, engine: str) -> None:
    frames = with_flag(frames_of(50, seed=2))
    wanted = list(score_video(frames, models[1]))
    with open_model(narrow_bundle, EngineSpec.model_validate({"name": engine, "threads": 1})) as model:
        assert model.engine.info.name == engine
        same(list(score_video(frames, model)), wanted)


def test_a_scorer_goes_on_where_it_was(models: tuple[Model, Model]) -> None:
    streaming, windows = models
    frames = frames_of(50, seed=9)
    wanted = list(score_video(frames, windows, scorer=windows.scorer("cam")))
    scorer = streaming.scorer("cam")
    made = [s for part in (frames[:3], frames[3:21], frames[21:]) for s in score_video(part, streaming, scorer=scorer)]
    same(made, wanted)
    scorer.reset()
    again = list(score_video(frames_of(20, seed=5, first=50), streaming, scorer=scorer))
    assert [s.skipped_reason for s in again] == ["warming_up"] * 8 + [None] * 5


def test_cameras_take_turns_in_one_queue(models: tuple[Model, Model]) -> None:
    streaming, windows = models
    videos = {name: with_hole(frames_of(50, seed, name)) for name, seed in (("a", 1), ("b", 2), ("c", 3))}
    scorers = {name: streaming.scorer(name) for name in videos}
    queue = streaming.queue()
    rng = np.random.default_rng(0)
    left = {name: list(frames) for name, frames in videos.items()}
    scored = []
    while any(left.values()):
        name = str(rng.choice([n for n in left if left[n]]))
        tiles = scorers[name].preprocess(left[name].pop(0))
        assert tiles is not None  # the network must see every frame
        queue.put(scorers[name], tiles)
        scored += queue.ready()
    scored += queue.drain()
    assert queue.waiting == 0
    for name, frames in videos.items():
        same([s.score for s in scored if s.score.camera == name], list(score_video(frames, windows, camera=name)))


def test_a_failure_is_told_and_the_camera_comes_back(
    models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run fails while no score is due, one while there is: each is told, and 15 frames later all is well."""
    streaming, windows = models
    frames = frames_of(60, seed=7)
    wanted = {s.index: s.score for s in score_video(frames, windows)}
    engine, scorer, queue = streaming.engine, streaming.scorer("cam"), streaming.queue()
    whole, bad = engine._compute, [False]  # type: ignore[union-attr]

    def sometimes(inputs: object, outputs: object, cameras: int) -> None:
        if bad[0]:
            raise EngineError("out of memory")
        whole(inputs, outputs, cameras)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_compute", sometimes)
    scored = []
    for frame in frames:
        bad[0] = frame.index in (2, 30)
        tiles = scorer.preprocess(frame)
        assert tiles is not None
        queue.put(scorer, tiles)
        scored += queue.drain()
    told = [s.score.index for s in scored if s.error is not None]
    assert told == [0, 23]  # the first frame that is due after the failure, and the one that was due at it
    good = [s.score for s in scored if s.score.skipped_reason is None]
    assert [s.index for s in good] == [*range(11, 23), *range(39, 53)]
    for score in good:
        if score.index not in (11, 12, 39, 40):  # the median over 3 frames
            assert score.score == pytest.approx(wanted[score.index], abs=TOLERANCE)


def without_the_form(bundle: Path, folder: Path) -> Path:
    old = folder / "old"
    old.mkdir()
    for name in (ONNX, WEIGHTS):
        (old / name).write_bytes((bundle / name).read_bytes())
    write_manifest(old, load_bundle(bundle).manifest)
    return old


def test_a_bundle_without_the_form_runs_on_windows(
    narrow_bundle: Path, tmp_path: Path, models: tuple[Model, Model]
) -> None:
    old = without_the_form(narrow_bundle, tmp_path)
    frames = frames_of(30, seed=3)
    with open_model(old, ENGINE) as model:
        assert hasattr(model.engine, "batch_sizes")
        same(list(score_video(frames, model)), list(score_video(frames, models[0])))
    with pytest.raises(EngineError, match="no streaming form"):
        open_model(old, ENGINE, streaming=True)


def test_two_watched_cameras_say_the_same(models: tuple[Model, Model], narrow_bundle: Path, tmp_path: Path) -> None:
    videos = {
        name: write_mp4(tmp_path / f"{name}.mp4", moving_shapes(40, (96, 64), seed=seed))
        for name, seed in (("a", 1), ("b", 2))
    }
    cameras = "".join(
        f"  - {{id: {name}, source: {{type: file, path: {video}}}, threshold: 100}}\n" for name, video in videos.items()
    )
    made: dict[str, list[FrameScore]] = {}
    monitor = Monitor(
        parse_config(f"model: {narrow_bundle}\nengine: {{threads: 1}}\ncameras:\n{cameras}"),
        on_score=lambda camera, frame, score: made.setdefault(score.camera, []).append(score),
    )
    assert [summary.error for summary in monitor.run(once=True)] == [None, None]
    for name, video in videos.items():
        same(made[name], list(score_video(video, models[1], camera=name)))


def test_warming_up_runs_the_network(models: tuple[Model, Model]) -> None:
    for model in models:
        model.warm_up()


def bf16_here() -> bool:
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(not bf16_here(), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("streaming", [True, False])
def test_bfloat16_is_near_and_says_so(narrow_bundle: Path, models: tuple[Model, Model], streaming: bool) -> None:
    frames = frames_of(40, seed=6)
    wanted = np.array([s.score for s in score_video(frames, models[1])])
    spec = EngineSpec(threads=1, precision="bf16")
    with open_model(narrow_bundle, spec, streaming=streaming) as model:
        assert model.engine.info.precision == "bf16"
        made = np.array([s.score for s in score_video(frames, model)])
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))
    assert 0 < np.nanmax(np.abs(made - wanted)) < 0.1  # decibels


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_precision_that_an_engine_lacks_is_refused(narrow_bundle: Path, engine: str) -> None:
    spec = EngineSpec.model_validate({"name": engine, "precision": "bf16"})
    for streaming in (True, False):
        with pytest.raises(EngineError, match="supports fp32, not bf16"):
            open_model(narrow_bundle, spec, streaming=streaming)


@pytest.mark.slow
def test_a_machine_that_does_not_keep_up_scores_whole_windows(
    narrow_bundle: Path, shapes_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two thirds of the camera's rate: dropping a frame here and there would leave no window of 16 whole."""
    source = f"{{type: file, path: {shapes_video}, realtime: true}}"
    scores: list[FrameScore] = []
    monitor = Monitor(
        parse_config(
            f"model: {narrow_bundle}\nengine: {{name: openvino, threads: 1}}\n"
            f"cameras:\n  - {{id: a, source: {source}, threshold: 100}}\n"
        ),
        on_score=lambda _camera, _frame, score: scores.append(score),
    )
    run = StatefulEngine.run_together

    def slowly(engine: StatefulEngine, pieces: list[StreamChunk]) -> Answers:
        time.sleep(0.06 * sum(len(piece.frames) for piece in pieces))
        return run(engine, pieces)

    monkeypatch.setattr(StatefulEngine, "run_together", slowly)
    (summary,) = monitor.run(once=True)
    assert summary.error is None
    assert summary.dropped > 10
    assert summary.frames == 100
    good = [s.index for s in scores if s.skipped_reason is None]
    assert len(good) >= 20
    assert sum(b == a + 1 for a, b in pairwise(good)) >= 0.8 * len(good)


@pytest.mark.parametrize(("engine", "frames", "cameras"), [("openvino", 3, 2), ("onnx", 1, 3), ("torch", 4, 1)])
def test_several_cameras_and_frames_in_a_run_say_the_same(
    models: tuple[Model, Model], narrow_bundle: Path, engine: str, frames: int, cameras: int
) -> None:
    """Three cameras in turns, with gaps of their own: as a site has them, and as fast as files go."""
    spec = EngineSpec.model_validate(
        {"name": engine, "threads": 1, "frames_per_call": frames, "streams_per_call": cameras}
    )
    videos = {name: with_hole(frames_of(46, seed, name)) for name, seed in (("a", 1), ("b", 2), ("c", 3))}
    wanted = {n: list(score_video(video, models[1], camera=n)) for n, video in videos.items()}
    for hint in ("latency", "throughput"):
        with open_model(narrow_bundle, spec, hint=hint) as model:  # type: ignore[arg-type]
            model.warm_up()
            scorers = {name: model.scorer(name) for name in videos}
            batches: list[int] = []
            queue = model.queue(lambda tiles, _, batches=batches: batches.append(tiles))
            scored, rng = [], np.random.default_rng(0)
            left = {name: list(video) for name, video in videos.items()}
            while any(left.values()):
                name = str(rng.choice([n for n in left if left[n]]))
                tiles = scorers[name].preprocess(left[name].pop(0))
                assert tiles is not None
                queue.put(scorers[name], tiles)
                scored += queue.ready()
            scored += queue.drain()
            assert queue.waiting == 0
            assert sum(batches) == sum(len(video) for video in videos.values())
            assert max(batches) > 1
        for name in videos:
            same([s.score for s in scored if s.score.camera == name], wanted[name])


def test_what_fails_together_is_told_to_each_camera(narrow_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EngineSpec(name="openvino", threads=1, streams_per_call=2)
    with open_model(narrow_bundle, spec, hint="throughput") as model:
        engine, bad = model.engine, [False]
        whole = engine._compute  # type: ignore[union-attr]

        def sometimes(inputs: object, outputs: object, cameras: int) -> None:
            if bad[0]:
                raise EngineError(f"failed with {cameras} cameras")
            whole(inputs, outputs, cameras)

        monkeypatch.setattr(engine, "_compute", sometimes)
        scorers, queue = {n: model.scorer(n) for n in "ab"}, model.queue()
        scored = []
        for k, pair in enumerate(zip(frames_of(50, 1, "a"), frames_of(50, 2, "b"), strict=True)):
            bad[0] = k == 20
            for frame in pair:
                tiles = scorers[frame.camera].preprocess(frame)
                assert tiles is not None
                queue.put(scorers[frame.camera], tiles)
            scored += queue.drain()
    told = [(s.score.camera, s.score.index, str(s.error)) for s in scored if s.error is not None]
    assert told == [("a", 13, "failed with 2 cameras"), ("b", 13, "failed with 2 cameras")]
    for name in "ab":
        good = [s.score.index for s in scored if s.score.camera == name and s.score.skipped_reason is None]
        assert good == [*range(8, 13), *range(29, 43)]


def test_a_data_set_is_scored_alike_on_windows(narrow_bundle: Path, tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", moving_shapes(30, (96, 64), seed=8))
    clip = Clip("clip", tmp_path / "clip.mp4", "video", 30, np.zeros(30, np.uint8), 25.0)
    data, bundle = Dataset("site", (), (clip,), 25.0, "none"), load_bundle(narrow_bundle)
    old = load_bundle(without_the_form(narrow_bundle, tmp_path))
    carried = score_dataset(data, bundle, tmp_path / "carried", engine=ENGINE)[0].scores
    windows = score_dataset(data, old, tmp_path / "windows", engine=ENGINE)[0].scores
    assert np.isfinite(windows).sum() == 15
    np.testing.assert_allclose(carried, windows, rtol=0, atol=TOLERANCE)
