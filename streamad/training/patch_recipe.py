"""What detectors of moving patches share: samples with their history, and the score of a frame's highest patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import InputSpec, ScoreSpec, TilingSpec
from streamad.errors import UsageError
from streamad.preprocessing import PATCH_SIZE
from streamad.training.loop import ImageTask
from streamad.training.patch_sampler import PatchSampler
from streamad.training.plan import OpenClip, TrainingPlan
from streamad.training.recipe import MEDIAN_SECONDS, Recipe
from streamad.training.working_size import object_height, working_height

SCALE, OFFSET = 127.5, -1.0
"""Networks of patches see gray / 127.5 − 1."""

_MEASURED_CLIPS = 4

TOP_PATCHES = 3
"""Patches that make up a frame's score (see `PatchScorer`)."""


def scaled(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return gray levels as networks of patches and of windows see them."""
    return (pixels.astype(np.float32) / np.float32(SCALE) + np.float32(OFFSET)).astype(np.float32)


class PatchTask(ImageTask):
    """A training on patches."""

    @abstractmethod
    def lowest_normal(self) -> float:
        """Return the lowest output for held-out normal patches, which scores a missing patch."""


class PatchRecipe(Recipe):
    """Moving patches with their history, and the score of a frame from its highest patches."""

    task: PatchTask

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        self.max_height = plan.max_height or _measured_height(clips)
        self.stack_lags = self._stack_lags()
        self.collected = self._collect(clips, plan.max_cells, tick)
        self.held_out = self._collect(held, plan.max_cells // 4, tick)
        self.stacks, self.held_stacks = self.collected.stacks(), self.held_out.stacks()

    @property
    def samples(self) -> int:
        """Number of training patches."""
        return len(self.stacks)

    @property
    def evaluated(self) -> int:
        """Held-out patches, and those generated or encoded with them."""
        return 2 * len(self.held_stacks)

    @property
    def frames(self) -> int:
        """Frames trained on."""
        return self.collected.frames

    def shorten(self, epochs: int, steps: int) -> None:
        """See `Recipe.shorten`."""
        if steps < self.task.steps_per_epoch:
            chosen = np.random.default_rng(self.plan.seed).permutation(len(self.stacks))[: steps * self.batch]
            self.stacks = self.stacks[np.sort(chosen)]
        self.task = self._make_task(replace(self.task.options, epochs=epochs))

    @abstractmethod
    def _make_task(self, options: Any) -> Any:
        """Make the task on the collected patches."""

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, channels, 30, 30) held-out patches."""
        channels = [self.stack_lags.index(lag) for lag in self.plan.lags]
        return scaled(self.held_stacks[:256, channels])

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        plan = self.plan
        inputs = InputSpec(
            channels=len(plan.lags),
            height=PATCH_SIZE,
            width=PATCH_SIZE,
            scale=SCALE,
            offset=OFFSET,
            max_height=self.max_height,
        )
        score = ScoreSpec(
            kind="top_cells",
            cells=TOP_PATCHES if plan.temporal else 1,
            still=self.task.lowest_normal(),
            median_frames=max(1, round(MEDIAN_SECONDS * plan.fps)) if plan.temporal else 1,
        )
        form = "with history" if plan.temporal else "of single frames"
        notes = {
            "cells": len(self.stacks),
            "cells_seen": self.collected.seen,
            "flow_consistency": round(self.collected.flow_consistency, 3),
        }
        title = f"{plan.detector.upper()} on moving patches {form}, {plan.data}"
        return title, inputs, TilingSpec(kind="cells", lags=plan.lags), score, notes

    def _stack_lags(self) -> tuple[int, ...]:
        return self.plan.lags

    def _collect(self, clips: Sequence[OpenClip], most: int, tick: Callable[[], None]) -> PatchSampler:
        collector = PatchSampler(
            self.stack_lags,
            max_cells=most,
            seed=self.plan.seed,
            max_height=self.max_height,
            zones=self.plan.zones,
        )
        for clip in clips:
            collector.feed(clip())
            tick()
        return collector


def _measured_height(clips: Sequence[OpenClip]) -> int:
    """Measure the camera's working height on up to `_MEASURED_CLIPS` clips spread over the recording."""
    step = max(1, len(clips) // _MEASURED_CLIPS)
    heights, things = [], []
    for clip in clips[::step]:
        frames = iter(clip())
        first = next(frames, None)
        if first is None:
            continue
        heights.append(first.shape[0])
        found = object_height(chain([first], frames))
        if found is not None:
            things.append(found)
    if not heights:
        raise UsageError("the clips contain no frames", hint="give normal video")
    return working_height(heights[0], float(np.median(things)) if things else None)
