"""The torch engine: the reference with which every export is compared."""

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
    """Load a trained network in evaluation mode.

    Args:
        build: Factory for the untrained network.
        weights: The safetensors file with its weights.

    Raises:
        EngineError: If the weights do not match the network.
    """
    try:
        network = build()
        network.load_state_dict(load_file(weights))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise EngineError(f"torch cannot load {weights}: {str(error).splitlines()[0]}") from error
    return network.eval()


class TorchEngine(ThreadedEngine):
    """Runs the trained network in eager float32.

    Args:
        build: Factory for the untrained network.
        weights: The safetensors file with its weights.
        device: PyTorch's device name.
        threads: Number of CPU threads for all of torch in this process. Default: unchanged.
        batch_sizes: Static batch sizes, ascending.
        why: Why this engine was chosen.
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
        except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
            raise EngineError(f"torch cannot run {weights} on {device}: {str(error).splitlines()[0]}") from error
        self._info = EngineInfo("torch", device, "fp32", torch.__version__, why)

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
