"""The training loop that all detectors share: seeding, checkpoints, resuming, early stopping, progress."""

from __future__ import annotations

import io
import json
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from streamad.errors import UsageError
from streamad.files import write_atomic, write_json
from streamad.training.compute import Compute

CHECKPOINT = "checkpoint.pt"
LOG = "log.json"


class Task(ABC):
    """What a detector gives to the loop.

    Attributes:
        options: Options of the training, with `epochs`, `batch` and, unless nothing stops early, `patience`.
        samples_per_epoch: Number of samples that an epoch visits.
        network: The network that is exported.
        networks: All networks that learn, by name; the exported one is among them.
        optimizers: All optimizers, by name.
        compute: Device and number format of the training.
        keep: Which weights are kept: those of the best validation, or the last ones (then nothing stops early).
    """

    options: Any
    samples_per_epoch: int
    network: nn.Module
    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    compute: Compute
    keep: Literal["best", "last"] = "last"

    @property
    def epochs(self) -> int:
        """Maximum number of epochs."""
        return int(self.options.epochs)

    @property
    def patience(self) -> int:
        """Epochs without improvement before the training stops."""
        return int(getattr(self.options, "patience", self.epochs))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return max(1, self.samples_per_epoch // int(self.options.batch))

    @abstractmethod
    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """One optimizer step on the given samples; `step` counts from the start of the training."""

    @abstractmethod
    def validate(self) -> float:
        """Measure the validation score, from normal data only; higher is better."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record: the detector's name, and everything that shapes its networks."""


class ImageTask(Task):
    """A training on images or patches, whose network can then score others."""

    @abstractmethod
    def score_images(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
        """Return (n,) scores by name, higher is more anomalous; the headline score comes first."""

    def anomaly_maps(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
        """Return (n, rows, cols) anomaly maps of (n, c, h, w) images, higher is more anomalous. Default: None."""
        return None


@dataclass(frozen=True)
class EpochReport:
    """Report of one epoch."""

    epoch: int
    epochs: int
    loss: float
    validation: float
    best: float
    seconds: float
    remaining_seconds: float


@dataclass(frozen=True)
class LoopResult:
    """Result of a training."""

    epochs_run: int
    best_epoch: int
    best_validation: float
    history: list[dict[str, float]] = field(repr=False)


def run_loop(
    task: Task,
    *,
    samples: int,
    epochs: int,
    patience: int,
    seed: int,
    folder: Path,
    progress: Callable[[EpochReport], None] | None = None,
    step_progress: Callable[[int, int], None] | None = None,
) -> LoopResult:
    """Train for `epochs` epochs, or until `patience` epochs bring no improvement, and load the best weights.

    A training that is killed and started again in the same folder resumes after its last finished epoch and ends with
    the same weights: the order of samples and all random choices of an epoch depend on (seed, epoch) only.

    Args:
        task: Network, step and validation.
        samples: Number of training samples; each epoch visits them in a new order.
        epochs: Maximum number of epochs.
        patience: Epochs without a better validation score before the training stops.
        seed: Seed of the order and of all random choices.
        folder: Folder for checkpoint and log.
        progress: Called after each epoch.
        step_progress: Called after each step with the steps done, and their total.

    Raises:
        UsageError: There are no samples, or the folder has a damaged checkpoint or that of another training.
        OutputError: The checkpoint cannot be written.
    """
    if samples < 1:
        raise UsageError(
            "there is nothing to train on: no sample was found", hint="give normal video in which something moves"
        )
    folder.mkdir(parents=True, exist_ok=True)
    identity = json.dumps({"seed": seed, "samples": samples, **task.description()}, sort_keys=True, default=str)
    state = _resume(folder / CHECKPOINT, identity)
    history: list[dict[str, float]] = []
    best, best_epoch, best_weights = -np.inf, 0, _copy(task.network)
    if state is not None:
        _restore(task, state)
        history, best, best_epoch = state["history"], state["best"], state["best_epoch"]
        best_weights = state["best_network"] or _copy(task.network)
    per_epoch = task.steps_per_epoch
    for epoch in range(len(history), epochs):
        if task.keep == "best" and epoch - best_epoch >= patience and history:
            break
        started = time.monotonic()
        torch.manual_seed(seed * 1000 + epoch)
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(samples)
        losses = []
        for number, rows in enumerate(np.array_split(order, per_epoch)):
            losses.append(task.training_step(epoch * per_epoch + number, rows, rng))
            if step_progress is not None:
                step_progress(epoch * per_epoch + number + 1, epochs * per_epoch)
        loss = float(np.mean(losses))
        if not np.isfinite(loss):
            raise UsageError(
                f"the loss is {loss} after epoch {epoch + 1}", hint="lower the learning rate; check the data"
            )
        validation = task.validate()
        if not np.isfinite(validation):
            raise UsageError(f"the validation is {validation} after epoch {epoch + 1}", hint="check the held-out data")
        if validation > best:
            best, best_epoch = validation, epoch + 1
            if task.keep == "best":
                best_weights = _copy(task.network)
        seconds = time.monotonic() - started
        history.append({"epoch": epoch + 1, "loss": loss, "validation": validation, "seconds": seconds})
        _save(
            folder / CHECKPOINT,
            {
                "identity": identity,
                "networks": {name: module.state_dict() for name, module in task.networks.items()},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in task.optimizers.items()},
                "compute": task.compute.state(),
                "history": history,
                "best": best,
                "best_epoch": best_epoch,
                "best_network": best_weights if task.keep == "best" else None,
            },
        )
        write_json(folder / LOG, {"identity": json.loads(identity), "history": history})
        if progress is not None:
            mean = float(np.mean([h["seconds"] for h in history]))
            progress(EpochReport(epoch + 1, epochs, loss, validation, best, seconds, mean * (epochs - epoch - 1)))
    if task.keep == "best":
        task.network.load_state_dict(best_weights)
    return LoopResult(len(history), best_epoch, float(best), history)


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _restore(task: Task, state: dict[str, Any]) -> None:
    for name, module in task.networks.items():
        module.load_state_dict(state["networks"][name])
    for name, optimizer in task.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    task.compute.load_state(state["compute"])


def _save(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def _resume(path: Path, identity: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{path} is not a readable checkpoint: {type(error).__name__}",
            hint="remove that folder to start over",
        ) from error
    known = state.get("identity") if isinstance(state, dict) else None
    if known != identity:
        raise UsageError(
            f"{path} is the checkpoint of another training: {_differences(known, identity)}",
            hint="give another --out, or remove that folder to start over",
        )
    return state


def _differences(known: Any, wanted: str) -> str:
    """Describe the differences between two identities."""
    if not isinstance(known, str):
        return "it names none"
    there, here = json.loads(known), json.loads(wanted)
    return "; ".join(
        f"{key} is {there.get(key, 'not named')!s:.60} there, {here.get(key, 'not named')!s:.60} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    )
