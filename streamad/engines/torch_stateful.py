"""Stateful networks run by torch: the reference for the other engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from streamad.engines.base import EngineInfo
from streamad.engines.host_stateful import HostStatefulEngine
from streamad.engines.state_buffers import FRAMES, Array, StateBuffer
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES
from streamad.errors import EngineError


class StatefulModule(Protocol):
    """Interface of a stateful torch network, in addition to being a module."""

    state_buffers: tuple[StateBuffer, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Compute all outputs by name from all inputs by name."""


class TorchStatefulEngine(HostStatefulEngine):
    """Runs the stateful form of a trained network in eager float32.

    Args:
        load: Factory for the trained network. It is converted on the device.
        convert: Conversion to the stateful form.
        context: Number of preceding frames on which a frame's output depends.
        device: PyTorch's device name.
        run_sizes: See `StatefulEngine`.
        camera_sizes: See `StatefulEngine`.
        why: Why this engine was chosen.

    Raises:
        EngineError: If the weights do not match, or torch does not have the device.
    """

    def __init__(
        self,
        load: Callable[[], nn.Module],
        convert: Callable[[nn.Module], nn.Module],
        context: int,
        *,
        device: str = "cpu",
        run_sizes: tuple[int, ...] = RUN_SIZES,
        camera_sizes: tuple[int, ...] = CAMERA_SIZES,
        why: str = "",
    ) -> None:
        super().__init__(context, run_sizes, camera_sizes)
        try:
            self._device = torch.device(device)
            self._network = cast(StatefulModule, convert(load().to(self._device)))
        except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
            raise EngineError(f"torch cannot run the network on {device}: {str(error).splitlines()[0]}") from error
        self._state_buffers, self._shapes = self._network.state_buffers, self._network.shapes
        self._info = EngineInfo("torch", device, "fp32", torch.__version__, why)

    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        try:
            with torch.inference_mode():
                made = self._network({name: torch.from_numpy(v).to(self._device) for name, v in inputs.items()})
                for name, values in outputs.items():
                    torch.from_numpy(values).copy_(made[name])
        except RuntimeError as error:
            count = len(inputs[FRAMES])
            raise EngineError(f"torch failed on a run of {count} frames: {str(error).splitlines()[0]}") from error
