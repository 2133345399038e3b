"""A training that fits into a time: how long a step takes here, and which epochs and samples that leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from streamad.frame import Frame, FrameFlags
from streamad.training.plan import TrainingPlan
from streamad.training.recipe import Recipe

if TYPE_CHECKING:  # detectors are built on training
    from streamad.detectors.base import TrainedDetector

TIMED_STEPS = 3
"""Steps that are timed, after one that warms up: ALPS' distorter takes every third."""

WARM_ENOUGH = 20.0
"""Seconds: a first step that takes longer is the measure, since the timing itself must not take minutes."""

FORWARD = 1 / 3
"""Time of looking at a sample against that of learning from it, about: the way back costs twice the way there."""

LEAST_EPOCHS = 3
"""Fewer epochs leave no schedule; before that, samples are left out (our choice)."""

LEAST_STEPS = 100
"""Under so many steps a network has learned next to nothing (our choice)."""


@dataclass(frozen=True)
class Shortening:
    """What a training was cut to, and from what.

    Attributes:
        epochs: planned.
        steps: in each of them.
        whole_epochs: the detector's own choice.
        whole_steps: steps in each of those.
        whole_seconds: that it would have taken, about.
    """

    epochs: int
    steps: int
    whole_epochs: int
    whole_steps: int
    whole_seconds: float

    @property
    def share(self) -> float:
        """Share of the steps that are left."""
        return self.epochs * self.steps / (self.whole_epochs * self.whole_steps)


def step_seconds(recipe: Recipe) -> float:
    """Time of an optimizer step, measured; the recipe's task has learned a little afterwards."""
    rng = np.random.default_rng(0)
    times = []
    for step in range(1 + TIMED_STEPS):
        rows = rng.integers(recipe.samples, size=recipe.batch)
        began = time.monotonic()
        recipe.task.training_step(step, rows, rng)
        times.append(time.monotonic() - began)
        if times[0] > WARM_ENOUGH:
            return times[0]
    return float(np.mean(times[1:]))


def fit_into(recipe: Recipe, seconds: float) -> Shortening | None:
    """Plan a recipe's training so that it ends in about `seconds`: fewer epochs, then fewer samples in each.

    Returns:
        What was cut; None where all of it fits, and nothing was changed but the weights, which are new.
    """
    per_step = step_seconds(recipe)
    epochs, steps = recipe.epochs, recipe.task.steps_per_epoch
    after = recipe.looked_at * per_step / recipe.batch * FORWARD
    left = planned(epochs, steps, per_step, after, seconds)
    recipe.shorten(*left)
    return None if left == (epochs, steps) else Shortening(*left, epochs, steps, epochs * (steps * per_step + after))


def planned(epochs: int, steps: int, per_step: float, after: float, seconds: float) -> tuple[int, int]:
    """Epochs, and steps in each, that fit into a time.

    Args:
        epochs: most of them.
        steps: most in each.
        per_step: seconds.
        after: seconds after each epoch, which shrink with its steps.
        seconds: that there are.
    """
    each = steps * per_step + after
    fit = seconds / each * (1 + 1e-9)
    if fit >= min(epochs, LEAST_EPOCHS):
        return min(epochs, int(fit)), steps
    epochs = min(epochs, LEAST_EPOCHS)
    return epochs, max(1, int(steps * fit / epochs))


def steps_in(detector: TrainedDetector, plan: TrainingPlan, seconds: float) -> int:
    """How many steps of a detector's training this machine makes in a time, measured on a drawn scene; the detector's
    options are read on the way.

    Raises:
        UsageError: an option is unknown or wrong.
    """
    recipe = detector.recipe(plan, [_drawn], [_drawn], lambda: None)
    return int(seconds / step_seconds(recipe))


def minutes_for(steps: int, possible: int, seconds: float) -> int:
    """Whole minutes in which `steps` fit, where `possible` fit into `seconds`."""
    return ceil(steps * seconds / max(1, possible) / 60)


def _drawn() -> Iterator[Frame]:
    """Ten seconds in which a square crosses a textured ground."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(60, 120, (12, 16)), np.ones((20, 20))).astype(np.uint8)
    patch = rng.integers(150, 250, (48, 32)).astype(np.uint8)
    for number in range(100):
        pixels = ground + rng.integers(0, 4, ground.shape, dtype=np.uint8)
        left = 4 * number % (ground.shape[1] - patch.shape[1])
        pixels[96 : 96 + patch.shape[0], left : left + patch.shape[1]] = patch
        yield Frame("drawn", number, number / 10, 0.0, pixels, FrameFlags.NONE if number else FrameFlags.DISCONTINUITY)
