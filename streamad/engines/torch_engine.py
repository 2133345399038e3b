"""The torch engine: the reference that every export is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from streamad.engines.base import BATCH_SIZES, Batch, EngineInfo, check_count
from streamad.engines.threaded import ThreadedEngine
from streamad.errors import EngineError


def load_weights(build: Callable[[], nn.Module], weights: Path) -> nn.Module:
    """The trained network, in evaluation mode.

    Args:
        build: makes the network, untrained.
        weights: safetensors file of its state.

    Raises:
        EngineError: the weights do not belong to that network.
    """
    try:
        network = build()
        network.load_state_dict(load_file(weights))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise EngineError(f"torch cannot load {weights}: {str(error).splitlines()[0]}") from error
    return network.eval()


class TorchEngine(ThreadedEngine):
    """Runs the trained network as it was trained (eager, float32).

    Args:
        build: makes the network, untrained.
        weights: safetensors file of its state.
        device: torch's device name.
        threads: CPU threads, of all that torch does in this process; None leaves them as they are.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        weights: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
        why: str = "",
    ) -> None:
        super().__init__(batch_sizes)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._device = torch.device(device)
            self._network = load_weights(build, weights).to(self._device)
        except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts that it has it
            raise EngineError(f"torch cannot run {weights} on {device}: {str(error).splitlines()[0]}") from error
        self._info = EngineInfo("torch", device, "fp32", torch.__version__, why)

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        check_count(len(batch), self._sizes)
        try:
            with torch.inference_mode():
                outputs = self._network(torch.from_numpy(np.ascontiguousarray(batch)).to(self._device))
        except RuntimeError as error:
            raise EngineError(
                f"torch failed on a batch of shape {batch.shape}: {str(error).splitlines()[0]}"
            ) from error
        return np.asarray(outputs.float().cpu().numpy(), dtype=np.float32)
