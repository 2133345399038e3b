"""Recipe: how one detector is trained from clips of normal video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import FORMAT_VERSION, InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord
from streamad.training.loop import LoopResult, Task
from streamad.training.plan import OpenClip, TrainingPlan

MEDIAN_SECONDS = 0.5
"""Span of the causal median over frame scores (our choice; it delays an alarm by half of it)."""


class VideoTask(Task, Protocol):
    """A task that knows how long it is to be trained."""

    @property
    def epochs(self) -> int:
        """Most epochs."""

    @property
    def patience(self) -> int:
        """Epochs without improvement before the training stops."""


class Recipe(ABC):
    """How one detector is trained from clips of normal video.

    Args:
        plan: what to train.
        clips: clips to train on.
        held: clips held out.
        tick: called after each clip is read.

    Raises:
        UsageError: the clips hold nothing to learn from, or an option is wrong.
    """

    task: VideoTask
    """What the loop drives."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        self.plan = plan

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of training samples."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """Samples in a step."""

    @property
    @abstractmethod
    def looked_at(self) -> int:
        """Samples that the task looks at after each epoch, without learning from them."""

    @abstractmethod
    def shorten(self, epochs: int, steps: int) -> None:
        """Plan the training anew, from fresh weights: at most so many epochs, of at most so many steps each.

        Samples that are too many for that are left out, by chance (the plan's seed).
        """

    @property
    def epochs(self) -> int:
        """Most epochs."""
        return self.task.epochs

    @property
    def patience(self) -> int:
        """Epochs without improvement before the training stops."""
        return self.task.patience

    @property
    @abstractmethod
    def frames(self) -> int:
        """Frames trained on."""

    @abstractmethod
    def exported(self) -> nn.Module:
        """The network that is exported, scoring included."""

    @abstractmethod
    def examples(self) -> npt.NDArray[np.float32]:
        """(n, …) held-out tiles, for the parity of the export."""

    @abstractmethod
    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """Description, input, tiling, score, and what else the record shall hold."""

    def checkpoint_rule(self, result: LoopResult) -> str:
        """In words, which weights are the result."""
        return f"last of {result.epochs_run} epochs; nothing was picked"

    def manifest(self, result: LoopResult) -> Manifest:
        """The bundle's manifest, without its files."""
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
