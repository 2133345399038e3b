"""What detectors of whole frames share: frames at the network's size, and the windows over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from streamad.bundle import InputSpec
from streamad.errors import UsageError
from streamad.training.frame_sampler import FrameSampler
from streamad.training.plan import OpenClip, TrainingPlan
from streamad.training.recipe import Recipe

MULTIPLE = 16
"""The side must be a multiple of this: the 3-D network halves a frame four times."""


class FrameRecipe(Recipe):
    """Frames at the network's size, and windows over them."""

    window = 1

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        if plan.side % MULTIPLE or plan.side < 2 * MULTIPLE:
            raise UsageError(
                f"{plan.detector} cannot use a side of {plan.side} pixels",
                hint=f"give a multiple of {MULTIPLE}, at least {2 * MULTIPLE}; the papers use 256",
            )
        self._collector, (self.pixels, self.starts) = self._collect(clips, plan.max_frames, tick)
        _, (self.held_pixels, self.held_starts) = self._collect(held, max(1024, plan.max_frames // 4), tick)

    @property
    def frames(self) -> int:
        """Frames trained on."""
        return self._collector.frames

    @property
    def samples(self) -> int:
        """Number of windows."""
        return len(self.starts)

    def _input(self, channels: int, scale: float, offset: float) -> InputSpec:
        side = self.plan.side
        return InputSpec(channels=channels, height=side, width=side, scale=scale, offset=offset, resizer="linear")

    def _collect(
        self, clips: Sequence[OpenClip], most: int, tick: Callable[[], None]
    ) -> tuple[FrameSampler, tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]]:
        side = self.plan.side
        collector = FrameSampler(side, side, window=self.window, max_frames=most, seed=self.plan.seed)
        for clip in clips:
            collector.feed(clip())
            tick()
        return collector, collector.windows()
