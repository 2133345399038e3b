"""F as a network over single frames: the same score, without computing the same thing sixteen times.

Two windows one frame apart share almost everything that the encoder computes. Each of its levels has three kinds of
features: those in the middle of a window, those that touch its zero-padded left edge, and those that touch its right
edge. Each depends on the absolute time only, so each is computed once per frame and kept. The decoder computes only
what the 9th frame needs. A 3-D convolution with three taps in time is three 2-D convolutions and two additions.

With x[f] a frame, a the activation, and P, Q, S, T the four levels' taps 0, 1, 2 in time, a window that begins at w
needs

    level 1: C1[f] = a(P0 x[f-1] + P1 x[f] + P2 x[f+1]),  L1[w] = a(P1 x[w] + P2 x[w+1]),
             R1[w+15] = a(P0 x[w+14] + P1 x[w+15])
    level 2: C2[f] = a(Q0 C1[f-1] + Q1 C1[f] + Q2 C1[f+1]),  L2[w] = a(Q1 L1[w] + Q2 C1[w+1]),
             R2[w+14] = a(Q0 C1[w+13] + Q1 C1[w+14] + Q2 R1[w+15])
    level 3: C3[f] = a(S0 C2[f-2] + S1 C2[f] + S2 C2[f+2]),  L3[w] = a(S1 L2[w] + S2 C2[w+2]),
             R3[w+12] = a(S0 C2[w+10] + S1 C2[w+12] + S2 R2[w+14])
    level 4: z0 = a(T1 L3[w] + T2 C3[w+4]),  z1 = a(T0 C3[w+4] + T1 C3[w+8] + T2 R3[w+12])

Each of a level's products is computed once: the three taps of the middle, one of the left, one of the right. The sum
A[f] = Q0 C1[f-1] + Q1 C1[f] serves both C2 and R2. The state consists of products and sums, which are smaller than the
features that they are made from. docs/concepts/streaming-network.md counts the cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from streamad.detectors.learned_noise.network import LEAK, LOCATION_SIDE, SCORED, WINDOW, ClipAutoencoder, ClipError
from streamad.engines.state_buffers import FRAMES, OUTPUTS, StateBuffer, state_buffer_name

AHEAD = WINDOW - 1 - SCORED
"""Number of frames between the newest frame of a window and the scored one."""

REBUILT = "rebuilt"
"""Name of the output with the reconstructed frames."""

Taps = Sequence[Sequence[int | None]]
"""Which of a layer's three 2-D kernels are placed where in a larger one: rows are outputs, columns inputs, None is
zero."""

Value = TypeVar("Value")


class Operations(Protocol[Value]):
    """What computes the form: torch, or a graph that is being written. Values are (frames, channels, …)."""

    def weight(self, layer: str, taps: Taps) -> Value:
        """Combine kernels of a layer, scaled as by its BatchNorm."""

    def bias(self, layer: str) -> Value:
        """Return a layer's bias."""

    def ago(self, value: Value, name: str, frames: int) -> Value:
        """Return a value from some frames ago; the name is the value's own, whatever the number of frames."""

    def conv(self, value: Value, weight: Value, bias: Value | None) -> Value:
        """Convolve with kernel 3, stride 2, padding 1."""

    def deconv(self, value: Value, weight: Value, bias: Value | None) -> Value:
        """Convolve transposed with kernel 3, stride 2, padding 1 and output padding 1."""

    def add(self, first: Value, second: Value) -> Value:
        """Add."""

    def leaky(self, value: Value) -> Value:
        """Apply LeakyReLU."""

    def join(self, values: Sequence[Value], axis: int) -> Value:
        """Concatenate."""

    def picture(self, values: Sequence[Value], layer: str, taps: Sequence[int]) -> Value:
        """Apply a transposed layer of one channel: the sum of its kernels' outputs for one value each, and its bias."""

    def tanh(self, value: Value) -> Value:
        """Apply the hyperbolic tangent."""

    def squared_error(self, value: Value, target: Value, side: int) -> Value:
        """Return (frames, 1 + locations): mean squared error of each frame, then of each location, row by row."""


def stream(ops: Operations[Value], frames: Value) -> tuple[Value, Value]:
    """Compute the whole form: from new frames to the error of those seven before them, and their reconstruction.

    Args:
        ops: What computes it.
        frames: (n, 1, height, width) new frames in [-1, 1].

    Returns:
        (n, 1 + height/8 · width/8) errors as in `ClipError`, and (n, 1, height, width) reconstructions.
    """
    one, two = ops.ago(frames, FRAMES, 1), ops.ago(frames, FRAMES, 2)
    # With f the newest frame: L1[f-2], C1[f-1] and R1[f].
    left = ops.leaky(ops.conv(ops.join([two, one], 1), ops.weight("down0", [[1, 2]]), ops.bias("down0")))
    middle = ops.leaky(ops.conv(ops.join([two, one, frames], 1), ops.weight("down0", [[0, 1, 2]]), ops.bias("down0")))
    right = ops.leaky(ops.conv(ops.join([one, frames], 1), ops.weight("down0", [[0, 1]]), ops.bias("down0")))
    for level, step in ((1, 1), (2, 2), (3, 4)):
        left, middle, right = _level(ops, level, step, left, middle, right)
    # The newest addition to the left edge came 8 frames after the window's first, to the right edge 15.
    first, second = ops.ago(left, "first", AHEAD), right
    frame = _decode(ops, first, second)
    return ops.squared_error(frame, ops.ago(frames, FRAMES, AHEAD), LOCATION_SIDE), frame


def _level(
    ops: Operations[Value], level: int, step: int, left: Value, middle: Value, right: Value
) -> tuple[Value, Value, Value]:
    """Compute what a new frame adds to each kind of features at one level of the encoder.

    Args:
        ops: What computes it.
        level: Number of the level, from 1.
        step: Frames between two features of the previous level that a kernel in time covers.
        left: Newest left-edge features of the previous level.
        middle: Its newest middle features.
        right: Its newest right-edge features.
    """
    layer = f"down{level}"
    before, at, after = (
        ops.conv(middle, ops.weight(layer, [[tap]]), ops.bias(layer) if tap == 1 else None) for tap in (0, 1, 2)
    )
    both = ops.add(at, ops.ago(before, f"before{level}", step))
    edge = ops.conv(left, ops.weight(layer, [[1]]), ops.bias(layer))
    # At the first level, the left edge's next frame is already available; the other levels wait for it.
    edge = edge if level == 1 else ops.ago(edge, f"left{level}", step)
    new_left = ops.leaky(ops.add(edge, after))
    due = both if level == 1 else ops.ago(both, f"both{level}", step - 1)
    new_right = ops.leaky(ops.add(ops.conv(right, ops.weight(layer, [[2]]), None), due))
    new_middle = after if level == 3 else ops.leaky(ops.add(ops.ago(both, f"both{level}", step), after))
    return new_left, new_middle, new_right


def _decode(ops: Operations[Value], first: Value, second: Value) -> Value:
    """Decode the 9th frame from the encoder's two; a transposed layer makes frames 2i-1, 2i and 2i+1 from frame i."""
    # Frames 1-3 of the first layer: the first from both, the others from the second only.
    a, b, c = (ops.deconv(second, ops.weight("up0", [[tap]]), ops.bias("up0")) for tap in (0, 1, 2))
    a = ops.add(ops.deconv(first, ops.weight("up0", [[2]]), None), a)
    maps = [ops.leaky(a), ops.leaky(b), ops.leaky(c)]
    for layer in ("up1", "up2"):  # frames 3-5 from frames 1-3, then 7-9 from frames 3-5
        bias, odd = ops.bias(layer), ops.weight(layer, [[2, 0]])
        maps = [
            ops.leaky(ops.deconv(ops.join(maps[:2], 1), odd, bias)),
            ops.leaky(ops.deconv(maps[1], ops.weight(layer, [[1]]), bias)),
            ops.leaky(ops.deconv(ops.join(maps[1:], 1), odd, bias)),
        ]
    return ops.tanh(ops.picture(maps, "up3", [2, 1, 0]))


@dataclass(frozen=True)
class Layer:
    """A layer of F, with its BatchNorm as a factor and a bias.

    Attributes:
        taps: The three trained 2-D kernels in time, (out, in, 3, 3), or (in, out, 3, 3) if transposed.
        scale: (out,) factor on the outputs.
        bias: (out,).
        transposed: Whether it enlarges maps.
    """

    taps: tuple[Tensor, Tensor, Tensor]
    scale: Tensor
    bias: Tensor
    transposed: bool


def folded_layers(network: ClipAutoencoder) -> dict[str, Layer]:
    """Return the layers of a trained F by name, down0-3 and up0-3. BatchNorm uses its running statistics."""
    answer = {}
    for side, layers in (("down", network.encoder), ("up", network.decoder)):
        for number, (conv, norm) in enumerate(_convolutions(layers)):
            weight = conv.weight.detach()
            assert conv.bias is not None
            scale, bias = torch.ones_like(conv.bias), conv.bias.detach().double()
            if norm is not None:
                assert norm.running_var is not None
                assert norm.running_mean is not None
                factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
                bias = (bias - norm.running_mean.double()) * factor + norm.bias.detach().double()
                scale = factor.float()
            a, b, c = weight.unbind(2)
            answer[f"{side}{number}"] = Layer((a, b, c), scale.detach(), bias.float(), side == "up")
    return answer


def put_together(layer: Layer, taps: Taps) -> Tensor:
    """Combine kernels of a layer, scaled as by its BatchNorm: (out, in, 3, 3), or (in, out, 3, 3) if transposed."""
    out_axis = 1 if layer.transposed else 0
    shape = [1, 1, 1, 1]
    shape[out_axis] = -1
    kernels = [tap * layer.scale.reshape(shape) for tap in layer.taps]
    rows = [
        torch.cat([torch.zeros_like(kernels[0]) if k is None else kernels[k] for k in row], 1 - out_axis)
        for row in taps
    ]
    return torch.cat(rows, out_axis)


def _convolutions(
    layers: nn.Module,
) -> Iterator[tuple[nn.Conv3d | nn.ConvTranspose3d, nn.BatchNorm3d | None]]:
    """Yield each convolution with the BatchNorm that follows it."""
    parts = list(layers.children())
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            yield part, after if isinstance(after, nn.BatchNorm3d) else None


class TorchOperations:
    """The form computed by torch.

    Args:
        layers: Layers of F.
        before: Earlier values of the carried outputs, by the names of the inputs that take them.
        kernels: Combined kernels computed earlier; added to.
    """

    def __init__(
        self, layers: Mapping[str, Layer], before: Mapping[str, Tensor], kernels: dict[str, Tensor] | None = None
    ) -> None:
        self._layers = layers
        self._before = before
        self._kernels = {} if kernels is None else kernels
        self.carried: dict[str, Tensor] = {}
        """Values to carry on, by name."""

    def weight(self, layer: str, taps: Taps) -> Tensor:
        """See `Operations.weight`."""
        key = f"{layer} {taps}"
        if key not in self._kernels:
            self._kernels[key] = put_together(self._layers[layer], taps)
        return self._kernels[key]

    def bias(self, layer: str) -> Tensor:
        """See `Operations.bias`."""
        return self._layers[layer].bias

    def ago(self, value: Tensor, name: str, frames: int) -> Tensor:
        """See `Operations.ago`."""
        self.carried[name] = value
        old = self._before[state_buffer_name(name, frames)]
        return torch.cat([old, value[: len(value) - len(old)]])

    def conv(self, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Operations.conv`."""
        return nn.functional.conv2d(value, weight, bias, stride=2, padding=1)

    def deconv(self, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Operations.deconv`."""
        return nn.functional.conv_transpose2d(value, weight, bias, stride=2, padding=1, output_padding=1)

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Operations.add`."""
        return first + second

    def leaky(self, value: Tensor) -> Tensor:
        """See `Operations.leaky`."""
        return nn.functional.leaky_relu(value, LEAK)

    def join(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """See `Operations.join`."""
        return torch.cat(list(values), axis)

    def picture(self, values: Sequence[Tensor], layer: str, taps: Sequence[int]) -> Tensor:
        """See `Operations.picture`."""
        return self.deconv(self.join(values, 1), self.weight(layer, [list(taps)]), self.bias(layer))

    def tanh(self, value: Tensor) -> Tensor:
        """See `Operations.tanh`."""
        return torch.tanh(value)

    def squared_error(self, value: Tensor, target: Tensor, side: int) -> Tensor:
        """See `Operations.squared_error`."""
        locations = nn.functional.avg_pool2d((value - target) ** 2, side)
        return torch.cat([locations.mean(dim=(2, 3)), locations.flatten(1)], dim=1)


class _Recorder(TorchOperations):
    """Records the names and shapes of the state. On torch's `meta` tensors, nothing is computed."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__(layers, {})
        self.state_buffers: list[StateBuffer] = []

    def ago(self, value: Tensor, name: str, frames: int) -> Tensor:
        self.carried[name] = value
        self.state_buffers.append(StateBuffer(state_buffer_name(name, frames), name, frames))
        return value


def shapes_and_state_buffers(
    layers: Mapping[str, Layer], height: int, width: int
) -> tuple[dict[str, tuple[int, ...]], tuple[StateBuffer, ...]]:
    """Return the shape of one frame's value of every input and output by name, and the state buffers."""
    shadow = {
        name: Layer((a.to("meta"), b.to("meta"), c.to("meta")), s.scale.to("meta"), s.bias.to("meta"), s.transposed)
        for name, s in layers.items()
        for a, b, c in (s.taps,)
    }
    recorder = _Recorder(shadow)
    errors, rebuilt = stream(recorder, torch.empty((1, 1, height, width), device="meta"))
    values = {**recorder.carried, OUTPUTS: errors, REBUILT: rebuilt}
    return {name: tuple(value.shape[1:]) for name, value in values.items()}, tuple(recorder.state_buffers)


class StreamingNetwork(nn.Module):
    """F's streaming form in torch.

    Args:
        network: Trained F with its error; BatchNorm uses its running statistics.
        height: Height of the frames, a multiple of 16.
        width: Width of the frames, a multiple of 16.
    """

    def __init__(self, network: ClipError, height: int, width: int) -> None:
        super().__init__()
        self._layers = folded_layers(network.reconstructor)
        self._kernels: dict[str, Tensor] = {}
        shapes, state_buffers = shapes_and_state_buffers(self._layers, height, width)
        self.shapes: Mapping[str, tuple[int, ...]] = shapes
        self.state_buffers: tuple[StateBuffer, ...] = state_buffers

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from the new frames and the state by name."""
        ops = TorchOperations(self._layers, inputs, self._kernels)
        errors, frames = stream(ops, inputs[FRAMES])
        return {OUTPUTS: errors, REBUILT: frames, **ops.carried}
