"""The protocol that all engines share: static batch sizes, asynchronous batches, an honest description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Batch = npt.NDArray[np.float32]
OnDone = Callable[[Batch], None]
OnError = Callable[[Exception], None]

BATCH_SIZES = (1, 4, 8, 12, 16, 20, 24, 32, 48, 64)
"""Static batch sizes that an engine is compiled for; a batch is padded to the next one. Close steps, since a live frame
is a batch of its own: over Ped2 padding costs a fifth with these and nine tenths with (1, 8, 32, 64). A size more costs
about 0.05 s to compile. Static rather than dynamic, since dynamic shapes grow memory (openvino issues 11939, 20633)."""


CLIP_BATCH_SIZES = (1,)
"""Static batch sizes for networks over whole frames or clips: one fills the machine, a batch would only be late."""


def batch_sizes_for(kind: str) -> tuple[int, ...]:
    """Static batch sizes for a tiling ("cells" or "clips")."""
    return BATCH_SIZES if kind == "cells" else CLIP_BATCH_SIZES


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What really runs.

    Attributes:
        name: engine name as in the configuration.
        device: device that runs it, in the vendor's words.
        precision: precision that it runs in.
        version: version of its library.
        why: why this engine was taken.
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
        """Static batch sizes, ascending; larger batches are split by the caller."""

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait.

        Args:
            batch: (n, channels, height, width) float32, 1 ≤ n ≤ the largest batch size.

        Returns:
            (n, …) float32, a copy.

        Raises:
            ValueError: n is out of range.
            EngineError: wrong shape, or the engine failed.
        """

    def submit(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        """Start one batch; `done` or `failed` is called from a thread of the engine's, exactly one of them once.

        Blocks while the engine is busy with earlier ones. `batch` must not change until the answer.

        Raises:
            ValueError: the number of tiles is out of range.
        """

    def drain(self) -> None:
        """Wait until every submitted batch has been answered."""

    def close(self) -> None:
        """Free everything. The engine cannot be used afterwards."""


def check_count(count: int, sizes: tuple[int, ...]) -> None:
    """Refuse a batch that no static size holds.

    Raises:
        ValueError: the batch is empty or larger than the largest size.
    """
    if not 1 <= count <= sizes[-1]:
        raise ValueError(f"a batch holds 1 to {sizes[-1]} tiles, got {count}")


def padded(batch: Batch, sizes: tuple[int, ...]) -> tuple[int, Batch]:
    """The smallest static size that holds the batch, and the batch padded to it with zeros.

    Raises:
        ValueError: the batch is empty or larger than the largest size.
    """
    n = batch.shape[0]
    check_count(n, sizes)
    size = next(s for s in sizes if s >= n)
    if size == n:
        return size, np.ascontiguousarray(batch)
    full = np.zeros((size, *batch.shape[1:]), np.float32)
    full[:n] = batch
    return size, full
