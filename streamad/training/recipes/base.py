"""What every recipe offers, and the plan that it follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import FORMAT_VERSION, InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord
from streamad.frame import Frame
from streamad.training.loop import LoopResult, Task

OpenClip = Callable[[], Iterable[Frame]]

LAG_SECONDS = 0.2
"""Age of the second channel of a cell; the third is twice as old. In 0.2 s a walker moves about a quarter of a body
width: enough to see, little enough to stay in a cell (our choice)."""


MEDIAN_SECONDS = 0.5
"""Span of the causal median over frame scores (our choice; it delays an alarm by half of it)."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train.

    Attributes:
        name: of the bundle.
        data: name of the training data, for the record.
        license: terms of that data, for the record.
        fps: frames a second of the clips.
        detector: its registered name.
        temporal: cells carry a history (our extension); False is the papers' single picture.
        standing: ADACL: count "appeared and stands still" among the created anomalies. For places where nobody stands.
        epochs: most epochs; None leaves it to the detector.
        patience: epochs without improvement, for detectors that stop early; None leaves it to the detector.
        seed: of everything.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None leaves it to torch.
        max_cells: most training cells.
        max_frames: most training frames, for detectors of whole frames.
        max_height: cells: taller frames are shrunk to this, pixels; None measures how large moving things are.
        side: height and width of the network's input for detectors of whole frames, pixels.
        validation_share: share of the clips (the last ones) held out for early stopping and for calibration.
        options: options of the detector's own, by name; values may be text.
    """

    name: str
    data: str
    license: str
    fps: float
    detector: str = "adacl"
    temporal: bool = True
    standing: bool = False
    epochs: int | None = None
    patience: int | None = None
    seed: int = 17
    device: str = "cpu"
    threads: int | None = None
    max_cells: int = 40_000
    max_frames: int = 12_000
    max_height: int | None = None
    side: int = 256
    validation_share: float = 0.25
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lags(self) -> tuple[int, ...]:
        """Ages of a cell's channels, frames."""
        if not self.temporal:
            return (0,)
        lag = max(1, round(LAG_SECONDS * self.fps))
        return (0, lag, 2 * lag)

    @property
    def overrides(self) -> dict[str, Any]:
        """Options that win over the recipe's."""
        named = {"epochs": self.epochs, "patience": self.patience}
        return {**{key: value for key, value in named.items() if value is not None}, **self.options}


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
