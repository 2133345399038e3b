"""Recipes of detectors over moving cells: ADACL and ALPS."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import InputSpec, ScoreSpec, TilingSpec
from streamad.detectors.adacl.augment import SPATIAL, lags_needed
from streamad.detectors.adacl.step import OFFSET, SCALE, AdaclOptions, AdaclTask
from streamad.detectors.alps.step import AlpsOptions, AlpsTask
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.preprocessing import CELL
from streamad.training.feeding import FLOW_CONSISTENT, PatchSampler
from streamad.training.loop import LoopResult
from streamad.training.recipes.base import MEDIAN_SECONDS, OpenClip, Recipe, TrainingPlan
from streamad.training.working_size import object_height, working_height

_MEASURED_CLIPS = 4

STANDING_NOISE = 2.0
"""Noise added to inputs where "stands still" is among the created anomalies, gray levels (our choice: about that of a
camera by day): without it a frozen cell would be told by its channels' being equal."""

TOP_CELLS = 3
"""Cells that make a frame's score (our choice; see `CellScorer`)."""


class _CellRecipe(Recipe):
    """What ADACL and ALPS share: moving cells with their history, and the score of a frame from its highest cells."""

    task: AdaclTask | AlpsTask

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
        """Number of training cells."""
        return len(self.stacks)

    @property
    def batch(self) -> int:
        """Cells in a step."""
        return self.task.options.batch

    @property
    def looked_at(self) -> int:
        """Held-out cells, and those created or encoded beside them."""
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
        """The task on the cells collected."""

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, channels, 30, 30) held-out cells."""
        channels = [self.stack_lags.index(lag) for lag in self.plan.lags]
        cells = self.held_stacks[:256, channels].astype(np.float32)
        return (cells / np.float32(SCALE) + np.float32(OFFSET)).astype(np.float32)

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        plan = self.plan
        inputs = InputSpec(
            channels=len(plan.lags), height=CELL, width=CELL, scale=SCALE, offset=OFFSET, max_height=self.max_height
        )
        score = ScoreSpec(
            kind="top_cells",
            cells=TOP_CELLS if plan.temporal else 1,
            still=self.task.lowest_normal(),
            median_frames=max(1, round(MEDIAN_SECONDS * plan.fps)) if plan.temporal else 1,
        )
        form = "with history" if plan.temporal else "of single frames"
        notes = {
            "cells": len(self.stacks),
            "cells_seen": self.collected.seen,
            "flow_consistency": round(self.collected.flow_consistency, 3),
        }
        title = f"{plan.detector.upper()} on moving cells {form}, {plan.data}"
        return title, inputs, TilingSpec(kind="cells", lags=plan.lags), score, notes

    def _stack_lags(self) -> tuple[int, ...]:
        return self.plan.lags

    def _collect(self, clips: Sequence[OpenClip], most: int, tick: Callable[[], None]) -> PatchSampler:
        collector = PatchSampler(self.stack_lags, max_cells=most, seed=self.plan.seed, max_height=self.max_height)
        for clip in clips:
            collector.feed(clip())
            tick()
        return collector


class AdaclRecipe(_CellRecipe):
    """ADACL: a label regressed from a cell."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        one_way = plan.temporal and self.collected.flow_consistency >= FLOW_CONSISTENT
        extra = (("reverse",) if one_way else ()) + (("freeze",) if plan.temporal and plan.standing else ())
        chosen = {
            "lags": plan.lags,
            "kinds": self._kinds + extra,
            "flip": not one_way,
            "noise": STANDING_NOISE if plan.standing else 0.0,
            **plan.overrides,
        }
        self.task: AdaclTask = self._make_task(parse_options(AdaclOptions, chosen, "adacl"))

    def exported(self) -> nn.Module:
        """The regressor."""
        return self.task.network

    def checkpoint_rule(self, result: LoopResult) -> str:
        """The best validation's, unless the last weights were asked for."""
        if self.task.keep == "last":
            return super().checkpoint_rule(result)
        return (
            f"epoch {result.best_epoch}: best AUROC ({result.best_validation:.4f}) of held-out normal cells "
            "against anomalies created from them; no real anomaly was used"
        )

    def _make_task(self, options: AdaclOptions) -> AdaclTask:
        plan = self.plan
        return AdaclTask(self.stacks, self.held_stacks, self.stack_lags, options, plan.seed, plan.device)

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(SPATIAL) + (("speed",) if self.plan.temporal else ())

    def _stack_lags(self) -> tuple[int, ...]:
        return lags_needed(self.plan.lags, self._kinds)


class AlpsRecipe(_CellRecipe):
    """ALPS: a cell reconstructed from its perturbed latent."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        self.task: AlpsTask = self._make_task(parse_options(AlpsOptions, plan.overrides, "alps"))

    def exported(self) -> nn.Module:
        """Encoder, distorter and decoder with the perturbed error."""
        return self.task.network

    def _make_task(self, options: AlpsOptions) -> AlpsTask:
        return AlpsTask(self.stacks, self.held_stacks, options, self.plan.seed, self.plan.device)


def _measured_height(clips: Sequence[OpenClip]) -> int:
    """Working height for the camera, measured on up to `_MEASURED_CLIPS` clips spread over the recording."""
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
        raise UsageError("the clips hold no frame", hint="give normal video")
    return working_height(heights[0], float(np.median(things)) if things else None)
