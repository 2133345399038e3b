"""The streaming form as convolutions only, for engines that compute these in 8 bits but transposed ones in 32.

With stride 2, kernel 3, padding 1 and output padding 1, a transposed convolution takes input i by kernel row k to
output 2i - 1 + k. So the outputs at even and odd positions, in rows and in columns, are four convolutions of 1, 2, 2
and 4 taps over the input, whose outputs are interleaved. The number of taps stays nine, and nothing is approximated.

The activation comes before that, so that what is interleaved has 8 bits.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.learned_noise.network import ClipError
from streamad.detectors.learned_noise.streaming import (
    Layer,
    Taps,
    folded_layers,
    put_together,
    shapes_and_state_buffers,
)
from streamad.detectors.learned_noise.streaming_graph import PHASE_ROWS, GraphOperations, write_form
from streamad.engines.graph_writer import GraphWriter
from streamad.engines.state_buffers import FRAMES, state_buffer_name


class SubpixelOperations(GraphOperations):
    """The form written for runs of one frame, with every transposed convolution as four convolutions.

    The four phases of a map share one name until they are interleaved.

    Args:
        graph: The graph to add to.
        layers: Layers of F.
        shapes: (channels, height, width) of a carried value by name.
    """

    def __init__(self, graph: GraphWriter, layers: dict[str, Layer], shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__(graph, layers, False, shapes)
        self._phases: dict[str, list[str]] = {}
        self._weights: dict[str, npt.NDArray[np.float32]] = {}

    def weight(self, layer: str, taps: Taps) -> str:
        """See `Operations.weight`."""
        name = f"{layer}_{taps}".replace(" ", "")
        self._weights[name] = put_together(self._layers[layer], taps).numpy()
        return name

    def ago(self, value: str, name: str, frames: int) -> str:
        """See `Operations.ago`; in a run of one frame, all of it comes from earlier runs."""
        graph, shape = self._graph, self._shapes[name]
        if name == FRAMES:
            return graph.input(state_buffer_name(name, frames), (1, *shape))
        self._carry_out(value, name, 1)
        return self._carry_in(name, frames, 1)

    def conv(self, value: str, weight: str, bias: str | None) -> str:
        """See `Operations.conv`."""
        return super().conv(value, self._graph.constant(weight, self._weights[weight]), bias)

    def deconv(self, value: str, weight: str, bias: str | None) -> str:
        """See `Operations.deconv`."""
        phases = []
        for y, x in product((0, 1), repeat=2):
            rows, columns = (_taps(parity) for parity in (y, x))
            kernel = self._weights[weight][:, :, rows][:, :, :, columns].transpose(1, 0, 2, 3)
            inputs = [value, self._graph.constant(f"{weight}_{y}{x}", kernel), *([] if bias is None else [bias])]
            # A row or column of zeros below and to the right, where an output uses the next input.
            phases.append(self._graph.add("Conv", *inputs, kernel_shape=[len(rows), len(columns)], pads=[0, 0, y, x]))
        return self._together_as_phases(phases)

    def add(self, first: str, second: str) -> str:
        """See `Operations.add`."""
        if first not in self._phases:
            return super().add(first, second)
        pairs = zip(self._phases[first], self._phases[second], strict=True)
        return self._together_as_phases([super(SubpixelOperations, self).add(a, b) for a, b in pairs])

    def leaky(self, value: str) -> str:
        """See `Operations.leaky`; interleaves phases."""
        if value not in self._phases:
            return super().leaky(value)
        active: list[Any] = [super(SubpixelOperations, self).leaky(phase) for phase in self._phases[value]]
        joined = self._graph.add("Concat", *active, axis=1)
        return self._graph.add("DepthToSpace", joined, blocksize=2, mode="DCR")

    def _together_as_phases(self, phases: list[str]) -> str:
        name = f"phases of {phases[0]}"
        self._phases[name] = phases
        return name


def _taps(parity: int) -> list[int]:
    """Return the kernel rows that outputs at even (0) or odd (1) positions use, by offset of the input."""
    return [row for row, _ in sorted(PHASE_ROWS[parity], key=lambda pair: pair[1])]


def export_quantizable(network: ClipError, manifest: Manifest, path: Path) -> None:
    """Write the streaming form of a bundle's trained network for one frame per run, as convolutions only.

    Args:
        network: Trained network; BatchNorm uses its running statistics.
        manifest: Manifest of its bundle.
        path: The ONNX file to write, float32.
    """
    layers = folded_layers(network.cpu().eval().reconstructor)
    shapes, _ = shapes_and_state_buffers(layers, manifest.input.height, manifest.input.width)
    graph = GraphWriter("streaming")
    write_form(graph, SubpixelOperations(graph, layers, shapes), shapes, 1, path)
