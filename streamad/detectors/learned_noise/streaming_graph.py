"""The streaming form as one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.learned_noise.network import LEAK, ClipAutoencoder, ClipError
from streamad.detectors.learned_noise.streaming import (
    REBUILT,
    Layer,
    Taps,
    folded_layers,
    shapes_and_state_buffers,
    stream,
)
from streamad.engines.graph_writer import GraphWriter
from streamad.engines.state_buffers import FRAMES, OUTPUTS, state_buffer_name

PHASE_ROWS = {0: [(1, 0)], 1: [(2, 0), (0, 1)]}
"""Sources of a transposed layer's outputs at even (0) and odd (1) positions: (row of the kernel, offset of the input).
With stride 2, padding 1 and output padding 1, kernel row k takes input i to output 2i - 1 + k."""


class GraphOperations:
    """The form written into a graph; a value is its name.

    Args:
        graph: The graph to add to.
        layers: Layers of F.
        half: Store kernels in 16 bits; they are cast back and scaled when the graph is loaded.
        shapes: (channels, height, width) of a carried value by name.
    """

    def __init__(
        self, graph: GraphWriter, layers: dict[str, Layer], half: bool, shapes: dict[str, tuple[int, ...]]
    ) -> None:
        self._graph = graph
        self._layers = layers
        self._half = half
        self._shapes = shapes
        self._kernels: dict[str, str] = {}
        self._carried: set[str] = set()

    def weight(self, layer: str, taps: Taps) -> str:
        """See `Operations.weight`."""
        outer = 1 if self._layers[layer].transposed else 0
        rows = [self._together([self._kernel(layer, k) for k in row], 1 - outer) for row in taps]
        return self._together(rows, outer)

    def bias(self, layer: str) -> str:
        """See `Operations.bias`."""
        return self._graph.constant(f"{layer}_bias", self._layers[layer].bias.numpy())

    def ago(self, value: str, name: str, frames: int) -> str:
        """See `Operations.ago`."""
        graph, length = self._graph, f"{name}_{frames}"
        if name == FRAMES:
            old = graph.input(state_buffer_name(name, frames), (length, *self._shapes[name]))
        else:
            self._carry_out(value, name, "frames")
            old = self._carry_in(name, frames, length)
        missing = graph.add("Sub", self._length(value), self._length(old))
        return self.join([old, graph.add("Slice", value, graph.numbers(0), missing, graph.numbers(0))], 0)

    def _carry_out(self, value: str, name: str, length: int | str) -> None:
        """Add an output that is carried, channels last: engines use that layout and need not transpose it."""
        if name not in self._carried:
            channels, height, width = self._shapes[name]
            turned = self._graph.add("Transpose", value, perm=[0, 2, 3, 1])
            self._graph.output(turned, name, (length, height, width, channels))
            self._carried.add(name)

    def _carry_in(self, name: str, frames: int, length: int | str) -> str:
        channels, height, width = self._shapes[name]
        old = self._graph.input(state_buffer_name(name, frames), (length, height, width, channels))
        return self._graph.add("Transpose", old, perm=[0, 3, 1, 2])

    def conv(self, value: str, weight: str, bias: str | None) -> str:
        """See `Operations.conv`."""
        inputs = [value, weight] + ([] if bias is None else [bias])
        return self._graph.add("Conv", *inputs, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def deconv(self, value: str, weight: str, bias: str | None) -> str:
        """See `Operations.deconv`."""
        inputs = [value, weight] + ([] if bias is None else [bias])
        return self._graph.add(
            "ConvTranspose", *inputs, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
        )

    def add(self, first: str, second: str) -> str:
        """See `Operations.add`."""
        return self._graph.add("Add", first, second)

    def leaky(self, value: str) -> str:
        """See `Operations.leaky`."""
        return self._graph.add("LeakyRelu", value, alpha=LEAK)

    def join(self, values: Sequence[str], axis: int) -> str:
        """See `Operations.join`."""
        return self._graph.add("Concat", *values, axis=axis)

    def picture(self, values: Sequence[str], layer: str, taps: Sequence[int]) -> str:
        """See `Operations.picture`.

        An engine computes an output of one channel as if it had sixteen. So the nine products of a kernel are first
        computed at each position as channels, and then added up where they belong: in four phases with known sums.
        """
        graph, total = self._graph, ""
        for value, tap in zip(values, taps, strict=True):
            rows = graph.add("Reshape", self._kernel(layer, tap), graph.numbers(-1, 9, 1, 1))
            products = graph.add("Conv", value, graph.add("Transpose", rows, perm=[1, 0, 2, 3]), kernel_shape=[1, 1])
            total = graph.add("Add", products, total) if total else products
        phases = graph.constant(f"{layer}_phases", _phases())
        bias = graph.constant(f"{layer}_bias", np.repeat(self._layers[layer].bias.numpy(), 4))
        made = graph.add("Conv", total, phases, bias, kernel_shape=[2, 2], pads=[0, 0, 1, 1])
        return graph.add("DepthToSpace", made, blocksize=2, mode="DCR")

    def tanh(self, value: str) -> str:
        """See `Operations.tanh`."""
        return self._graph.add("Tanh", value)

    def squared_error(self, value: str, target: str, side: int) -> str:
        """See `Operations.squared_error`."""
        graph = self._graph
        difference = graph.add("Sub", value, target)
        squared = graph.add("Mul", difference, difference)
        locations = graph.add("AveragePool", squared, kernel_shape=[side, side], strides=[side, side])
        flat = graph.add("Flatten", locations, axis=1)
        mean = graph.add("ReduceMean", flat, graph.numbers(1), keepdims=1)
        return self.join([mean, flat], 1)

    def _length(self, value: str) -> str:
        return self._graph.add("Shape", value, start=0, end=1)

    def _together(self, parts: list[str], axis: int) -> str:
        return parts[0] if len(parts) == 1 else self.join(parts, axis)

    def _kernel(self, layer: str, tap: int | None) -> str:
        name = f"{layer}_tap_{'none' if tap is None else tap}"
        if name not in self._kernels:
            self._kernels[name] = self._stored(name, self._layers[layer], tap)
        return self._kernels[name]

    def _stored(self, name: str, spec: Layer, tap: int | None) -> str:
        graph = self._graph
        if tap is None:
            return graph.constant(name, np.zeros(tuple(spec.taps[0].shape), np.float32))
        values = spec.taps[tap].numpy()
        if self._half:
            stored = graph.add("Cast", graph.constant(name, values.astype(np.float16)), to=1)
        else:
            stored = graph.constant(name, values.astype(np.float32))
        shape = (1, -1, 1, 1) if spec.transposed else (-1, 1, 1, 1)
        scale = graph.constant(f"{name[:-2]}_scale", spec.scale.numpy().reshape(shape))
        return graph.add("Mul", stored, scale)


def _phases() -> npt.NDArray[np.float32]:
    """Return (4, 9, 2, 2) zeros and ones: which products of a 3×3 kernel make the pixels at even and odd positions.

    An even row comes from row 1 of its own input, an odd one from row 2 of its own and row 0 of the next.
    """
    answer = np.zeros((4, 9, 2, 2), np.float32)
    for y, x in np.ndindex(2, 2):
        for row, down in PHASE_ROWS[y]:
            for col, right in PHASE_ROWS[x]:
                answer[2 * y + x, 3 * row + col, down, right] = 1
    return answer


def write_streaming(network: ClipAutoencoder, height: int, width: int, path: Path, *, half_weights: bool) -> None:
    """Write F's streaming form as one ONNX file, for any number of frames per run.

    Args:
        network: Trained network; BatchNorm uses its running statistics.
        height: Height of the frames, a multiple of 16.
        width: Width of the frames, a multiple of 16.
        path: The file to write.
        half_weights: Store kernels in 16 bits, without loss if they were rounded before; computed in float32.
    """
    layers = folded_layers(network)
    shapes, _ = shapes_and_state_buffers(layers, height, width)
    graph = GraphWriter("streaming")
    write_form(graph, GraphOperations(graph, layers, half_weights, shapes), shapes, "frames", path)


def write_form(
    graph: GraphWriter, ops: GraphOperations, shapes: dict[str, tuple[int, ...]], length: int | str, path: Path
) -> None:
    """Write the whole form into a graph, and the graph into a file.

    Args:
        graph: An empty graph.
        ops: What writes into it.
        shapes: (channels, height, width) of a value by name.
        length: Frames per run: a number, or a name for any number.
        path: The file to write.
    """
    errors, frames = stream(ops, graph.input(FRAMES, (length, *shapes[FRAMES])))
    graph.output(errors, OUTPUTS, (length, *shapes[OUTPUTS]))
    graph.output(frames, REBUILT, (length, *shapes[REBUILT]))
    graph.save(path)


def export_streaming(network: ClipError, manifest: Manifest, path: Path, half_weights: bool) -> None:
    """Write the streaming form of a bundle's trained network; see `write_streaming`."""
    size = manifest.input
    write_streaming(network.cpu().eval().reconstructor, size.height, size.width, path, half_weights=half_weights)
