"""Fit a training into a time limit: measure a step on this machine, and derive the epochs and samples that fit."""

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
"""Steps that are timed after a warm-up step. Three, because ALPS trains its distorter in every third."""

WARM_ENOUGH = 20.0
"""A first step that takes longer than this, seconds, is the measurement itself; timing must not take minutes."""

FORWARD = 1 / 3
"""Approximate time to evaluate a sample relative to training on it; the backward pass costs twice the forward pass."""

MIN_EPOCHS = 3
"""Samples are left out rather than training for fewer epochs than this, which would leave no schedule."""

MIN_STEPS = 100
"""A network learns almost nothing in fewer steps than this."""


@dataclass(frozen=True)
class Shortening:
    """What a training was cut to.

    Attributes:
        epochs: Number of epochs.
        steps: Steps in each epoch.
        whole_epochs: Number of epochs of the full training.
        whole_steps: Steps in each of its epochs.
        whole_seconds: Its approximate duration.
    """

    epochs: int
    steps: int
    whole_epochs: int
    whole_steps: int
    whole_seconds: float

    @property
    def share(self) -> float:
        """Share of the full training's steps."""
        return self.epochs * self.steps / (self.whole_epochs * self.whole_steps)


def step_seconds(recipe: Recipe) -> float:
    """Measure the duration of an optimizer step, seconds. The recipe's task has learned a little afterwards."""
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
    """Shorten a recipe's training to about `seconds`: fewer epochs first, then fewer samples in each.

    Returns:
        What was cut. None: all of it fits; only the weights are fresh.
    """
    per_step = step_seconds(recipe)
    epochs, steps = recipe.task.epochs, recipe.task.steps_per_epoch
    after = recipe.evaluated * per_step / recipe.batch * FORWARD
    left = planned(epochs, steps, per_step, after, seconds)
    recipe.shorten(*left)
    return None if left == (epochs, steps) else Shortening(*left, epochs, steps, epochs * (steps * per_step + after))


def planned(epochs: int, steps: int, per_step: float, after: float, seconds: float) -> tuple[int, int]:
    """Return the number of epochs, and of steps in each, that fit into a time.

    Args:
        epochs: Maximum number of epochs.
        steps: Maximum number of steps in each.
        per_step: Duration of a step, seconds.
        after: Duration of the validation after each epoch, seconds; it shrinks with the steps.
        seconds: Available time.
    """
    each = steps * per_step + after
    fit = seconds / each * (1 + 1e-9)
    if fit >= min(epochs, MIN_EPOCHS):
        return min(epochs, int(fit)), steps
    epochs = min(epochs, MIN_EPOCHS)
    return epochs, max(1, int(steps * fit / epochs))


def steps_in(detector: TrainedDetector, plan: TrainingPlan, seconds: float) -> int:
    """Return how many steps of a detector's training fit into a time here, measured on a drawn scene.

    Raises:
        UsageError: An option is unknown or wrong.
    """
    recipe = detector.recipe(plan, [_drawn], [_drawn], lambda: None)
    return int(seconds / step_seconds(recipe))


def minutes_for(steps: int, possible: int, seconds: float) -> int:
    """Return the whole minutes in which `steps` fit if `possible` fit into `seconds`."""
    return ceil(steps * seconds / max(1, possible) / 60)


def _drawn() -> Iterator[Frame]:
    """Yield ten seconds in which a square crosses a textured background."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(60, 120, (12, 16)), np.ones((20, 20))).astype(np.uint8)
    patch = rng.integers(150, 250, (48, 32)).astype(np.uint8)
    for number in range(100):
        pixels = ground + rng.integers(0, 4, ground.shape, dtype=np.uint8)
        left = 4 * number % (ground.shape[1] - patch.shape[1])
        pixels[96 : 96 + patch.shape[0], left : left + patch.shape[1]] = patch
        yield Frame("drawn", number, number / 10, 0.0, pixels, FrameFlags.NONE if number else FrameFlags.DISCONTINUITY)
