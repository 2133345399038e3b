"""Recipe: how one detector is trained from clips of normal video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import FORMAT_VERSION, InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord
from streamad.training.loop import LoopResult, Task
from streamad.training.plan import OpenClip, TrainingPlan

MEDIAN_SECONDS = 0.5
"""Length of the causal median over frame scores. It delays an alert by half of it."""


class Recipe(ABC):
    """How one detector is trained from clips of normal video.

    Args:
        plan: What to train.
        clips: Clips to train on.
        held: Held-out clips.
        tick: Called after each clip is read.

    Raises:
        UsageError: There is nothing to learn from in the clips, or an option is wrong.
    """

    task: Task
    """The task that the loop runs."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        self.plan = plan

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of training samples."""

    @property
    def batch(self) -> int:
        """Samples in a step."""
        return int(self.task.options.batch)

    @property
    @abstractmethod
    def evaluated(self) -> int:
        """Samples that the task evaluates after each epoch without learning from them."""

    @abstractmethod
    def shorten(self, epochs: int, steps: int) -> None:
        """Shorten the training: at most this many epochs of at most this many steps, from fresh weights.

        Excess samples are left out at random (with the plan's seed).
        """

    @property
    @abstractmethod
    def frames(self) -> int:
        """Frames trained on."""

    @abstractmethod
    def exported(self) -> nn.Module:
        """Return the network that is exported, scoring included."""

    @abstractmethod
    def examples(self) -> npt.NDArray[np.float32]:
        """Return (n, …) held-out inputs for the parity of the export."""

    @abstractmethod
    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """Return description, input, tiling, score, and further entries of the training record."""

    def checkpoint_rule(self, result: LoopResult) -> str:
        """Describe which weights are kept."""
        return f"last of {result.epochs_run} epochs; no selection"

    def manifest(self, result: LoopResult) -> Manifest:
        """Return the bundle's manifest, without its files."""
        description, inputs, tiling, score, notes = self.specs()
        plan = self.plan
        return Manifest(
            format_version=FORMAT_VERSION,
            name=plan.name,
            detector=plan.detector,
            description=description,
            input=inputs,
            tiling=tiling,
            score=score,
            training=TrainingRecord(
                data=plan.data,
                license=plan.license,
                frames=self.frames,
                fps=plan.fps,
                seed=plan.seed,
                epochs=result.epochs_run,
                checkpoint=self.checkpoint_rule(result),
                options={**notes, **self.task.description()},
            ),
            parameters=sum(p.numel() for p in self.exported().parameters()),
            files={},
        )
