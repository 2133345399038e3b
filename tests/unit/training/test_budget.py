"""A training that fits into a time: what is cut, and that what is left is a training as any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bundle_support import moving_shapes

torch = pytest.importorskip("torch")

from streamad.detectors import trained_detector  # noqa: E402
from streamad.errors import UsageError  # noqa: E402
from streamad.frame import Frame, FrameFlags  # noqa: E402
from streamad.training.budget import fit_into, minutes_for, planned  # noqa: E402
from streamad.training.plan import TrainingPlan  # noqa: E402
from streamad.training.recipe import Recipe  # noqa: E402
from streamad.workflows.learn import LearnPlan, require_time  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

OPTIONS: dict[str, dict[str, Any]] = {
    "adacl": {"batch": 16},
    "alps": {"batch": 16, "width": 8},
    "learned_noise": {"width": 0.06, "crop": 32},
    "igd": {"batch": 16, "width": 4},
}


def clip() -> list[Frame]:
    first = FrameFlags.DISCONTINUITY
    pictures = enumerate(moving_shapes(50, seed=1))
    return [Frame("c", k, k / 10, 0.0, p, FrameFlags.NONE if k else first) for k, p in pictures]


def recipe(detector: str) -> Recipe:
    plan = TrainingPlan("t", "drawn", "CC0", 10, detector, max_cells=512, side=32, options=OPTIONS[detector])
    return trained_detector(detector).recipe(plan, [clip], [clip], lambda: None)


def weights(given: Recipe) -> list[Any]:
    return [value.clone() for module in given.task.networks.values() for value in module.state_dict().values()]


@pytest.mark.parametrize("detector", OPTIONS)
def test_a_training_cut_short_starts_afresh_and_keeps_its_schedule(detector: str) -> None:
    made = recipe(detector)
    whole, fresh = made.task.steps_per_epoch, weights(made)
    assert whole > 1
    assert fit_into(made, 1e6) is None
    assert all(torch.equal(a, b) for a, b in zip(weights(made), fresh, strict=True))
    epochs = made.task.epochs
    cut = fit_into(made, 1e-3)
    assert cut is not None
    assert (cut.whole_epochs, cut.whole_steps) == (epochs, whole)
    assert (cut.epochs, cut.steps) == (3, 1) == (made.task.epochs, made.task.steps_per_epoch)
    assert cut.share == pytest.approx(3 / (epochs * whole))
    assert all(torch.equal(a, b) for a, b in zip(weights(made), fresh, strict=True))
    rows = np.arange(made.samples)
    for step in range(3):  # what is left can be trained, validated and exported
        assert np.isfinite(made.task.training_step(step, rows[: made.batch], np.random.default_rng(step)))
    assert np.isfinite(made.task.validate())
    assert len(made.examples())


@pytest.mark.parametrize(
    ("seconds", "after", "epochs", "steps"),
    [
        (40.0, 0.0, 10, 1000),  # all of it: 10 epochs of 1000 steps of 4 ms
        (26.0, 0.0, 6, 1000),
        (12.0, 0.0, 3, 1000),
        (6.0, 0.0, 3, 500),
        (12.0, 4.0, 3, 500),  # as much time again after each epoch, which shrinks with the samples
        (1e-6, 0.0, 3, 1),
    ],
)
def test_epochs_go_first_and_then_samples(seconds: float, after: float, epochs: int, steps: int) -> None:
    assert planned(10, 1000, 0.004, after, seconds) == (epochs, steps)
    assert planned(2, 1000, 0.004, after, 1e-6) == (2, 1)


def test_a_network_that_would_learn_nothing_is_refused_before_the_recording() -> None:
    assert require_time(LearnPlan("gate", "motion", train_seconds=1.0)) is None
    assert require_time(LearnPlan("gate", "alps")) is None
    possible = require_time(LearnPlan("gate", "alps", options={"batch": "16"}, train_seconds=3600.0))
    assert possible is not None
    assert possible > 1000
    with pytest.raises(UsageError, match=r"alps makes \d+ steps.*at least 100") as caught:
        require_time(LearnPlan("gate", "alps", options={"batch": "16"}, train_seconds=1e-3))
    assert "--train-minutes 1" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="alps has no option nothing"):
        require_time(LearnPlan("gate", "alps", options={"nothing": "1"}, train_seconds=60.0))
    assert minutes_for(100, 30, 60.0) == 4
