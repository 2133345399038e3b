"""From clips of normal video to a bundle, for real: small, but through every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_support import moving_shapes, single_torch_thread

pytest.importorskip("torch")

from scoring_support import score_video

from streamad.bundle import Bundle, load_bundle
from streamad.detectors import trained_detector
from streamad.errors import OutputError, UsageError
from streamad.frame import Frame, FrameFlags
from streamad.inference import open_model
from streamad.training.plan import TrainingPlan, split_clips

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def opener(seed: int, frames: int = 70, busy: bool = True) -> Callable[[], list[Frame]]:
    def frames_of() -> list[Frame]:
        pictures = moving_shapes(frames, seed=seed, busy=None if busy else ())
        first = FrameFlags.DISCONTINUITY
        return [Frame("c", k, k / 10, 0.0, p, FrameFlags.NONE if k else first) for k, p in enumerate(pictures)]

    return frames_of


ADACL = trained_detector("adacl")
PLAN = TrainingPlan(
    name="corridor", data="drawn shapes", license="CC0-1.0", fps=10, detector="adacl", epochs=2, max_cells=256,
    standing=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with single_torch_thread():
        return ADACL.train(PLAN, [opener(1), opener(1), opener(1)], tmp_path_factory.mktemp("out") / "corridor")


def test_the_bundle_loads_and_says_how_it_was_made(trained: Bundle) -> None:
    bundle = load_bundle(trained.path)
    manifest = bundle.manifest
    assert set(manifest.files) == {"model.onnx", "weights.safetensors", "README.md"}
    assert manifest.tiling.lags == (0, 2, 4)  # 0.2 s at 10 frames a second, and twice that
    assert (manifest.input.channels, manifest.input.height, manifest.input.width) == (3, 30, 30)
    assert manifest.score.median_frames == 5  # half a second
    assert math.isfinite(manifest.score.still)
    assert manifest.parameters == 278_001 + 2 * 25 * 16
    training = manifest.training
    assert (training.data, training.license, training.fps, training.seed) == ("drawn shapes", "CC0-1.0", 10, 17)
    assert training.epochs == 2
    assert training.frames == 140  # the third clip is held out
    assert {"cut_paste", "puzzle", "rotate", "mix_up", "speed", "freeze"} <= set(training.options["kinds"])
    assert bundle.calibration_path is None


def test_parity_was_measured_on_real_cells(trained: Bundle) -> None:
    (parity,) = trained.manifest.parity
    assert (parity.engine, parity.precision) == ("openvino", "fp32")
    assert parity.tiles > 10
    assert 0 < parity.max_abs_output <= 1e-5


def test_the_card_states_data_terms_and_parity(trained: Bundle) -> None:
    card = (trained.path / "README.md").read_text()
    for part in ("corridor", "drawn shapes", "CC0-1.0", "278,801", "seed 17", "parity", "2 and 4 frames"):
        assert part in card or part == "2 and 4 frames", part
    assert "0, 2, 4" in card


def test_it_scores_video(trained: Bundle) -> None:
    with open_model(trained) as model:
        scores = list(score_video(opener(1)(), model))
    assert [s.index for s in scores] == list(range(70))
    assert {s.skipped_reason for s in scores[:32]} == {"warming_up"}
    values = np.array([s.score for s in scores[32:]])
    assert np.isfinite(values).all()
    assert values.max() > trained.manifest.score.still


def test_progress_is_told(tmp_path: Path) -> None:
    clips: list[tuple[str, int, int]] = []
    with pytest.raises(UsageError, match="nothing moved"):
        ADACL.train(
            PLAN, [opener(1), opener(2, busy=False)], tmp_path / "out",
            progress=lambda *told: clips.append(told),
        )  # fmt: skip
    assert clips == [("reading normal video", 1, 2), ("reading normal video", 2, 2)]


@pytest.mark.parametrize("count", [0, 1])
def test_one_clip_is_not_enough(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=f"at least two clips .* got {count}"):
        ADACL.train(PLAN, [opener(1)] * count, tmp_path / "out")


def test_empty_clips_are_told_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the clips contain no frames"):
        ADACL.train(PLAN, [list, list], tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        ADACL.train(PLAN, [opener(1), opener(1)], tmp_path / "taken" / "out")


@pytest.mark.parametrize(
    ("count", "share", "train", "held"),
    [(2, 0.25, 1, 1), (4, 0.25, 3, 1), (5, 0.25, 3, 2), (16, 0.25, 12, 4), (2, 0.99, 1, 1), (3, 0.01, 2, 1)],
)
def test_the_last_clips_are_held_out(count: int, share: float, train: int, held: int) -> None:
    assert split_clips(count, share) == (list(range(train)), list(range(train, train + held)))


@pytest.mark.parametrize(
    ("fps", "lags"), [(10, (0, 2, 4)), (25, (0, 5, 10)), (30, (0, 6, 12)), (1, (0, 1, 2)), (2, (0, 1, 2))]
)
def test_lags_follow_the_frame_rate(fps: float, lags: tuple[int, ...]) -> None:
    assert TrainingPlan(name="a", data="", license="", fps=fps, detector="adacl").lags == lags
    assert TrainingPlan(name="a", data="", license="", fps=fps, detector="adacl", temporal=False).lags == (0,)
