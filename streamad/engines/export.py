"""Export of trained networks to ONNX and OpenVINO files, and measurement of their parity."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from streamad.bundle import ONNX, STREAMING, Parity
from streamad.engines.base import BATCH_SIZES, Engine, EngineInfo
from streamad.engines.stateful import StatefulEngine
from streamad.errors import EngineError

Array = npt.NDArray[np.float32]
Scores = Callable[[Array], npt.NDArray[np.float64]]

MAX_BATCH = 1024

HALF_FROM = 3_000_000
"""Number of parameters from which weights are stored in 16 bits: 12 MB in 32 bits. Chosen to keep bundles small."""

SMALL_WEIGHTS = 1024
"""Initializers with fewer values, such as biases, stay in 32 bits because they take little space."""


def export_onnx(network: nn.Module, input_shape: tuple[int, ...], path: Path, *, half_weights: bool = False) -> None:
    """Write a network as one ONNX file with a dynamic batch size.

    Args:
        network: The trained network. It is exported in evaluation mode (the exporter folds BatchNorm).
        input_shape: Shape of one input, without the batch dimension.
        path: The file to write.
        half_weights: Whether to store weights in 16 bits, which halves the file. They are cast back on loading, so
            the computation stays in 32 bits.
    """
    network = network.eval().cpu()
    # Trace with a batch of 2: the exporter would specialize a batch of 1.
    example = torch.zeros((2, *input_shape))
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hide the exporter's own deprecation warnings
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    program.save(str(path), external_data=False)
    _forget_origin(path)
    if half_weights:
        _halve_weights(path)


def needs_half_weights(network: nn.Module) -> bool:
    """Whether a network is so large that its weights are stored in 16 bits."""
    return sum(parameter.numel() for parameter in network.parameters()) > HALF_FROM


def _halve_weights(path: Path) -> None:
    """Store large float32 initializers as float16, each followed by a cast."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL_WEIGHTS:
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))


def _forget_origin(path: Path) -> None:
    """Remove information about the exporting machine: stack traces with its paths."""
    model = onnx.load(str(path))
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, str(path))


def export_openvino(source: Path, path: Path) -> None:
    """Convert an ONNX file to an OpenVINO model (`path`.xml and .bin) in float32.

    Raises:
        EngineError: If OpenVINO cannot read the ONNX file.
    """
    import openvino as ov

    try:
        ov.save_model(ov.Core().read_model(source), path, compress_to_fp16=False)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot convert {source}: {str(error).splitlines()[0]}") from error


def measure_parity(engine: Engine, network: nn.Module, inputs: Array, scores: Scores | None = None) -> Parity:
    """Measure the largest absolute difference between an engine and eager torch on real inputs, at every batch size.

    Args:
        engine: The engine to compare.
        network: The trained network.
        inputs: (n, channels, height, width) float32 inputs, n ≥ 1.
        scores: Function from a batch of outputs to frame scores (`Detector.frame_scores`). Default: scores are not
            compared.

    Raises:
        EngineError: If the engine's output is not finite.
    """
    network = network.eval().cpu()
    with torch.inference_mode():
        expected = np.concatenate([network(part).numpy() for part in torch.split(torch.from_numpy(inputs), 64)])
    compared = _Comparison(engine.info, scores)
    for size in engine.batch_sizes:
        # Also use one less than the size, so that padding is compared too.
        for count in {size, max(1, size - 1)}:
            for start in range(0, len(inputs), count):
                rows = np.arange(start, start + count) % len(inputs)  # wrap around, so that every batch is full
                compared.add(engine.infer(inputs[rows]), expected[rows])
    return compared.parity(len(inputs), engine.batch_sizes or BATCH_SIZES, ONNX)


class _Comparison:
    """The largest differences of an engine's outputs, and of the scores from them, so far."""

    def __init__(self, info: EngineInfo, scores: Scores | None) -> None:
        self._info = info
        self._scores = scores
        self._worst, self._worst_score = 0.0, 0.0

    def add(self, outputs: Array, expected: Array) -> None:
        if not np.isfinite(outputs).all():  # NaN would pass any comparison
            raise EngineError(
                f"{self._info.name} in {self._info.precision} returned outputs that are not finite",
                hint="use another engine or fp32",
            )
        self._worst = max(self._worst, float(np.abs(outputs - expected).max()))
        if self._scores is not None:
            difference = self._scores(outputs) - self._scores(expected)
            self._worst_score = max(self._worst_score, float(np.abs(difference).max()))

    def parity(self, inputs: int, sizes: tuple[int, ...], file: str) -> Parity:
        return Parity(
            engine=self._info.name,
            precision=self._info.precision,
            version=self._info.version,
            tiles=inputs,
            max_abs_output=self._worst,
            max_abs_score=None if self._scores is None else self._worst_score,
            batch_sizes=sizes,
            file=file,
        )


def measure_stateful_parity(
    engine: StatefulEngine, network: nn.Module, windows: Array, scores: Scores | None = None
) -> Parity:
    """Measure the largest absolute difference between a stateful network and eager torch on whole windows.

    Args:
        engine: Engine for the stateful form. Its output for a window's last frame is compared.
        network: The trained network on windows.
        windows: (n, frames, height, width) float32, n ≥ 1, with one frame more than the engine's context.
        scores: Function from a batch of outputs to frame scores (`Detector.frame_scores`). Default: scores are not
            compared.

    Raises:
        EngineError: If the engine's output is not finite.
    """
    network = network.eval().cpu()
    compared = _Comparison(engine.info, scores)
    for window in windows:
        with torch.inference_mode():
            expected = network(torch.from_numpy(window[None])).numpy()
        state = engine.new_state()
        for frame in window[:-1, None, None]:
            engine.advance(state, frame)
        compared.add(engine.advance(state, window[-1:, None]), expected)
    return compared.parity(len(windows), engine.run_sizes, STREAMING)
