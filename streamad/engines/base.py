"""Interface of all engines: static batch sizes, asynchronous batches, and a description of what really runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from streamad.bundle import Bundle
    from streamad.engines.factory import EngineSpec

Batch = npt.NDArray[np.float32]
OnDone = Callable[[Batch], None]
OnError = Callable[[Exception], None]

BATCH_SIZES = (1, 4, 8, 12, 16, 20, 24, 32, 48, 64)
"""Static batch sizes that an engine compiles. A batch is padded to the next size. The steps are small because a live
frame is a batch of its own: on Ped2, padding costs a fifth with these sizes and nine tenths with (1, 8, 32, 64). Each
size takes about 0.05 s to compile. Dynamic shapes are not used because they grow memory (openvino issues 11939,
20633)."""


CLIP_BATCH_SIZES = (1,)
"""Static batch sizes for networks over whole frames or windows: one input already uses the whole machine, and a larger
batch would only add latency."""


def batch_sizes_for(kind: str) -> tuple[int, ...]:
    """Static batch sizes for a tiling ("cells" or "clips")."""
    return BATCH_SIZES if kind == "cells" else CLIP_BATCH_SIZES


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine really runs.

    Attributes:
        name: The engine's name, as in the configuration.
        device: The device, as named by its vendor.
        precision: The precision of the computation.
        version: Version of the engine's library.
        why: Why this engine was chosen.
    """

    name: str
    device: str
    precision: str
    version: str
    why: str = ""


class Engine(Protocol):
    """A loaded network."""

    @property
    def info(self) -> EngineInfo:
        """What really runs."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Static batch sizes, ascending. The caller splits larger batches."""

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait for the result.

        Args:
            batch: (n, channels, height, width) float32, 1 ≤ n ≤ the largest batch size.

        Returns:
            Outputs as (n, …) float32; a copy.

        Raises:
            ValueError: If n is out of range.
            EngineError: If the shape is wrong or the engine fails.
        """

    def submit(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        """Start one batch. Either `done` or `failed` is called exactly once, from a thread of the engine.

        Blocks while the engine is busy with earlier batches. Do not change `batch` before the callback.

        Raises:
            ValueError: If the batch size is out of range.
        """

    def drain(self) -> None:
        """Wait until all submitted batches are finished."""

    def close(self) -> None:
        """Free all resources. The engine cannot be used afterwards."""


class EnginePlugin(ABC):
    """An engine that another package adds (docs/how-to/extend.md).

    Attributes:
        name: Its name in `engine: name: …` and `--engine`, that of the entry point.
        precisions: Precisions that it runs in.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def problem(self) -> str:
        """Return why the engine cannot run here; empty if it can."""
        return ""

    @abstractmethod
    def open(self, bundle: Bundle, spec: EngineSpec, *, batch_sizes: tuple[int, ...], why: str) -> Engine:
        """Load a bundle's network. Only networks without a state are given to plugins.

        Args:
            bundle: The model.
            spec: The `engine` part of the configuration.
            batch_sizes: Static batch sizes to offer, ascending.
            why: Why this engine was chosen, for `EngineInfo.why`.

        Raises:
            EngineError: It cannot run this network.
        """


def check_count(count: int, sizes: tuple[int, ...]) -> None:
    """Check that a static size fits a batch.

    Raises:
        ValueError: If the batch is empty or exceeds the largest size.
    """
    if not 1 <= count <= sizes[-1]:
        raise ValueError(f"the batch size must be 1 to {sizes[-1]}, got {count}")


def padded(batch: Batch, sizes: tuple[int, ...]) -> tuple[int, Batch]:
    """Return the smallest static size that fits a batch, and the batch padded to it with zeros.

    Raises:
        ValueError: If the batch is empty or exceeds the largest size.
    """
    n = batch.shape[0]
    check_count(n, sizes)
    size = next(s for s in sizes if s >= n)
    if size == n:
        return size, np.ascontiguousarray(batch)
    full = np.zeros((size, *batch.shape[1:]), np.float32)
    full[:n] = batch
    return size, full
