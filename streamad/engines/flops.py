"""Counting of a network's floating-point operations from its graph."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from streamad.engines.state_buffers import parse_state_buffers


def count_flops(onnx: Path) -> float:
    """Count the operations for one patch, window or frame. A multiply-add counts as two.

    Convolutions, transposed convolutions and matrix products are counted; everything else is small in comparison. A
    transposed convolution counts the operations it needs, each input value times each kernel value, regardless of how
    an engine implements it.
    """
    import openvino as ov

    model = ov.Core().read_model(onnx)
    names = [port.any_name for port in model.inputs]
    depths = {delay.name: delay.frames for delay in parse_state_buffers(names)}
    shapes = {}
    for port in model.inputs:
        sizes = [dim.get_length() for dim in list(port.partial_shape)[1:]]
        shapes[port.any_name] = ov.PartialShape([min(1, depths.get(port.any_name, 1)), *sizes])
    model.reshape(shapes)
    return float(sum(_operations(node) for node in model.get_ordered_ops()))


def _operations(node: Any) -> int:
    kind: str = node.get_type_name()
    if kind == "Convolution":  # weights: out, in, kernel
        weights = [int(size) for size in node.input(1).get_shape()]
        return 2 * _size(node.output(0)) * prod(weights[1:])
    if kind == "ConvolutionBackpropData":  # weights: in, out, kernel
        weights = [int(size) for size in node.input(1).get_shape()]
        return 2 * _size(node.input(0)) * prod(weights[1:])
    if kind == "MatMul":
        left = tuple(node.input(0).get_shape())
        inner = left[-2] if node.get_attributes().get("transpose_a") else left[-1]
        return 2 * _size(node.output(0)) * int(inner)
    return 0


def _size(port: Any) -> int:
    return prod(int(size) for size in port.get_shape())
