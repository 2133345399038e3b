"""Post-training quantization of a float32 network by NNCF, so that its convolutions multiply in 8 bits.

Weights are rounded per channel, and activations by their ranges on the given video; sums stay in 32 bits. Everything
but convolutions stays in float32: the squared errors that make up a score, the sums that are carried from frame to
frame, and the matrix products at a network's end. They are hardly any work, and quantizing ADACL's made its scores of
normal patches six times less exact (root mean square 0.057 instead of 0.010, on training clips of UCSD Ped2).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from streamad.engines.state_buffers import Array
from streamad.errors import EngineError, install_hint

EXACT = (
    "MatMul", "Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt", "SquaredDifference", "Maximum", "Minimum",
    "Abs", "AvgPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "MVN", "NormalizeL2",
    "Interpolate", "Softmax",
)  # fmt: skip
"""Operators that stay in float32 although NNCF would quantize them; see the module docstring for the measurement."""

Sample = Mapping[str, Array]


def quantization_problem() -> str:
    """Reason why networks cannot be quantized here; "" if they can."""
    import importlib.util

    missing = importlib.util.find_spec("nncf") is None
    return f"the module nncf is not installed ({install_hint('int8')})" if missing else ""


def write_int8(source: Path, target: Path, samples: Iterable[Sample], count: int) -> None:
    """Write the 8-bit form of a network as an OpenVINO model: `target` (.xml) plus a file of weights (.bin).

    Args:
        source: The float32 ONNX file.
        target: The file to write, ending in .xml.
        samples: Representative inputs by name. They are iterated several times.
        count: Number of samples.

    Raises:
        EngineError: If NNCF is not installed or cannot quantize the network.
    """
    problem = quantization_problem()
    if problem:
        raise EngineError(f"int8 quantization is unavailable: {problem}", hint=install_hint("int8"))
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)  # hide messages about its graphs
    try:
        with contextlib.redirect_stdout(sys.stderr):  # progress bars belong on stderr
            model = nncf.quantize(
                ov.Core().read_model(source),
                nncf.Dataset(_Dictionaries(samples)),
                # LeakyReLU activations are mostly on one side of zero.
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=count,
                ignored_scope=nncf.IgnoredScope(types=list(EXACT), validate=False),
            )
    except (RuntimeError, nncf.ValidationError) as error:
        raise EngineError(f"NNCF cannot quantize {source}: {str(error).strip().splitlines()[0]}") from error
    if not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        raise EngineError(f"{source} has no operation that can run in 8 bits", hint="run it in fp32")
    # Remove names and options of the creator from the file.
    for path in (["nncf"], ["conversion_parameters"]):
        if model.has_rt_info(path):
            model.set_rt_info("", path)
    ov.save_model(model, target, compress_to_fp16=False)


class _Dictionaries:
    """Samples as dictionaries, as NNCF requires."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for sample in self._samples:
            yield dict(sample)
