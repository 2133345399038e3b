"""Muon, an optimizer that orthogonalizes its momentum, for short trainings on a processor.

torch.optim.Muon takes only matrices, so no convolutions, and rounds to bfloat16, which is slow on processors without
that format. This one takes every parameter of a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8
MATCHED_RMS = 0.2
SMALLEST = 2e-3
"""Directions below this share of the largest singular value are not amplified further: in float32, the square of a
matrix is rounding error below 1e-3 of it."""


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for parameters of two axes or more; Adam for the rest (biases, BatchNorm).

    Source: Jordan et al., Muon, 2024, with Nesterov momentum of .95. The step length follows Liu et al., Muon is
        scalable
    for LLM training, 2025: .2·√(larger side), the usual length of Adam's step, so that one learning rate serves both
    kinds of parameters. A weight of shape (a, b, …) is treated as the matrix a×(b·…). Its polar factor is computed from
    the eigenvectors of the a×a product with itself instead of five Newton-Schulz iterations over the whole matrix: four
    times faster for 256×6912.

    Args:
        parameters: Parameters of a network; those without a gradient are left unchanged.
        lr: Learning rate, as for Adam.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if parameter.ndim >= 2:
                    self._orthogonal_step(parameter, state, group["lr"])
                else:
                    self._adam_step(parameter, state, group["lr"])

    def _orthogonal_step(self, parameter: Tensor, state: dict[str, Any], rate: float) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)
        matrix = ahead.reshape(len(ahead), -1)
        length = MATCHED_RMS * max(matrix.shape) ** 0.5
        parameter.add_(polar_factor(matrix).reshape(parameter.shape), alpha=-rate * length)

    def _adam_step(self, parameter: Tensor, state: dict[str, Any], rate: float) -> None:
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient**2, 1 - BETAS[1])
        mean = state["mean"] / (1 - BETAS[0] ** state["step"])
        square = state["square"] / (1 - BETAS[1] ** state["step"])
        parameter.addcdiv_(mean, square.sqrt_().add_(EPSILON), value=-rate)


def polar_factor(matrix: Tensor) -> Tensor:
    """Return U·Vᵀ of a matrix U·S·Vᵀ: the nearest matrix whose rows (or columns, if fewer) are orthonormal.

    Args:
        matrix: (rows, columns) float32; zero gives zero.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return polar_factor(matrix.T).T
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    least = SMALLEST**2 * values[-1].clamp(min=torch.finfo(matrix.dtype).tiny)
    factor: Tensor = (vectors * (values.clamp(min=0) + least).rsqrt()) @ vectors.T @ matrix
    return factor
