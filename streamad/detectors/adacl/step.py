"""ADACL's training: labels, loss, one step, and what is validated."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.detectors.adacl.augment import SPATIAL, add_noise, create_anomalies
from streamad.detectors.adacl.network import AdaclNet

SCALE = 127.5
OFFSET = -1.0
LABELS_NORMAL = (0.0, 0.3)
LABELS_ANOMALY = (0.7, 1.0)


@dataclass(frozen=True)
class AdaclOptions:
    """What is chosen for a training.

    Attributes:
        lags: age of each input channel, frames; (0,) is the paper's single picture.
        kinds: kinds of created anomalies.
        flip: mirror normal cells left to right half of the time (more data). Off where the direction of movement means
            something ("reverse" among the kinds).
        noise: standard deviation of noise added to every input, grey levels.
        batch: normal cells in a batch; as many created anomalies join them.
        learning_rates: lower and upper end of the triangular cycle.
        half_cycle_epochs: epochs from the lower end to the upper.
    """

    lags: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = tuple(SPATIAL)
    flip: bool = True
    noise: float = 0.0
    batch: int = 128
    learning_rates: tuple[float, float] = (1e-4, 1e-3)
    half_cycle_epochs: float = 2.0


@dataclass
class AdaclTask:
    """One training of ADACL; the loop that all detectors share drives it.

    Args:
        stacks: (n, len(stack_lags), 30, 30) uint8 normal cells with their history.
        validation: the same for held-out normal clips.
        stack_lags: ages of the stacks' channels, frames.
        options: what was chosen.
        seed: of the weights and of the fixed validation set.
    """

    stacks: npt.NDArray[np.uint8]
    validation: npt.NDArray[np.uint8]
    stack_lags: tuple[int, ...]
    options: AdaclOptions = field(default_factory=AdaclOptions)
    seed: int = 17

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network: nn.Module = AdaclNet(len(self.options.lags))
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.options.learning_rates[0]
        )
        self._channels = [self.stack_lags.index(lag) for lag in self.options.lags]
        self._validation = self._fixed_validation()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return max(1, len(self.stacks) // self.options.batch)

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """One step on the given normal cells and as many created anomalies; returns the loss.

        Loss (source: paper, equation 4): squared error to labels drawn anew for every batch; on the unclipped output
        (our choice: a clip has no gradient outside [0, 1]).
        """
        stacks = self.stacks[rows]
        if self.options.flip and rng.random() < 0.5:
            stacks = stacks[..., ::-1]
        normal = add_noise(stacks[:, self._channels].astype(np.float32), rng, self.options.noise)
        created = self._create(stacks, rng)
        labels = np.concatenate(
            [rng.uniform(*LABELS_NORMAL, len(normal)), rng.uniform(*LABELS_ANOMALY, len(created))]
        ).astype(np.float32)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        self.network.train()
        outputs = self.network(_to_input(np.concatenate([normal, created])))
        loss = torch.mean((outputs - torch.from_numpy(labels)) ** 2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())

    def validate(self) -> float:
        """AUROC of held-out normal cells against anomalies created from them, no real anomaly (source: paper)."""
        self.network.eval()
        with torch.no_grad():
            normal, created = (
                torch.cat([self.network(part) for part in torch.split(cells, 512)]).numpy()
                for cells in self._validation
            )
        return _auroc(normal, created)

    def lowest_normal(self) -> float:
        """1st percentile of the output over held-out normal cells: the score of a frame in which nothing moves."""
        self.network.eval()
        with torch.no_grad():
            outputs = torch.cat([self.network(part) for part in torch.split(self._validation[0], 512)]).numpy()
        return float(np.quantile(outputs, 0.01))

    def description(self) -> dict[str, Any]:
        """What was chosen, for the bundle's record."""
        return {**asdict(self.options), "stack_lags": self.stack_lags}

    def _create(self, stacks: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        options = self.options
        return create_anomalies(stacks, options.lags, self.stack_lags, options.kinds, rng, options.noise)

    def _learning_rate(self, step: int) -> float:
        low, high = self.options.learning_rates
        half = self.options.half_cycle_epochs * self.steps_per_epoch
        phase = (step % (2 * half)) / half
        return low + (high - low) * (phase if phase < 1 else 2 - phase)

    def _fixed_validation(self) -> tuple[Tensor, Tensor]:
        # The paper takes 150 samples; we take up to 2000, since cells of one frame resemble one another.
        rng = np.random.default_rng(self.seed)
        rows = rng.permutation(len(self.validation))[:2000]
        stacks = self.validation[rows]
        normal = add_noise(stacks[:, self._channels].astype(np.float32), rng, self.options.noise)
        return _to_input(normal), _to_input(self._create(stacks, rng))


def _to_input(cells: npt.NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(cells / np.float32(SCALE) + np.float32(OFFSET)))


def _auroc(normal: npt.NDArray[np.float32], anomaly: npt.NDArray[np.float32]) -> float:
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, anomaly, "left") + np.searchsorted(ordered, anomaly, "right")
    return float(below.mean() / (2 * len(ordered)))
