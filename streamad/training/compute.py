"""Compute: the device, number format and memory layout of a training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.errors import EngineError

Precision = Literal["auto", "float32", "bfloat16"]


class Compute:
    """Device, number format and memory layout of a training.

    On a GPU: mixed precision (float16 with a scaled loss), channels-last, and copies from pinned memory that overlap
    with computation. On the processor: float32 and channels-last, the fastest layout for oneDNN's convolutions.
    Weights, their gradients and the optimizer are float32 everywhere.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        precision: Precision of convolutions and products. "auto": float16 on a GPU, float32 on the processor.
            "bfloat16": for a GPU, or a processor with AVX-512 BF16 or AMX; slow on others.

    Raises:
        EngineError: The device is unknown or not available; there is no fallback.
    """

    def __init__(self, device: str = "cpu", precision: Precision = "auto") -> None:
        try:
            self.device = torch.device(device)
        except RuntimeError as error:
            raise EngineError(f"there is no device {device!r}", hint="give cpu, cuda or cuda:N") from error
        if self.device.type not in ("cpu", "cuda"):
            raise EngineError(f"training runs on cpu or cuda, not on {device!r}", hint="give --device cpu or cuda")
        if self.device.type == "cuda" and (
            not torch.cuda.is_available() or (self.device.index or 0) >= torch.cuda.device_count()
        ):
            raise EngineError(
                f"device {device!r} is not available: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs",
                hint="install a CUDA build of torch and the driver, or give --device cpu",
            )
        gpu = self.device.type == "cuda"
        self.dtype = {
            "auto": torch.float16 if gpu else torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16
        }[precision]  # fmt: skip
        # float16 loses small gradients unless the loss is scaled; bfloat16 has the range of float32.
        self._scaler = torch.amp.GradScaler("cuda", enabled=self.dtype == torch.float16)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, its convolutions in channels-last layout."""
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            elif isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return network.to(self.device)

    def tensor(self, values: npt.NDArray[Any]) -> Tensor:
        """Copy an array to the device; 4-D and 5-D arrays (images, clips) become channels-last."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        if tensor.ndim in (4, 5):
            layout = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
            tensor = tensor.contiguous(memory_format=layout)
        return tensor

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that a forward pass runs in."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Make one optimizer step along the gradient of the loss. Gradients of other parameters are the caller's."""
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Return the state of the loss scale for a checkpoint; empty without mixed precision."""
        return self._scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state from `state`."""
        if state:
            self._scaler.load_state_dict(state)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def one_cycle(step: int, steps: int, highest: float, *, warm: float = 0.1, lowest: float = 0.01) -> float:
    """Return the learning rate of a step: a linear rise over the share `warm` of all steps, then a cosine decay.

    It ends at lowest·highest. Smith's one-cycle policy without its third phase, for short trainings.
    """
    rise = max(1.0, warm * steps)
    if step < rise:
        return highest * (step + 1) / rise
    phase = min(1.0, (step - rise) / max(1.0, steps - rise))
    return highest * (lowest + (1 - lowest) * 0.5 * (1 + float(np.cos(np.pi * phase))))
