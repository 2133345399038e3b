"""From a float32 network to one whose convolutions multiply in 8 bits, by NNCF's post-training quantization.

Weights are rounded channel by channel, activations by the ranges that they take on the video given; sums stay in 32
bits. What is no convolution stays in float32: the squared errors that a score is made of, the sums that are carried
from frame to frame, and the matrix products that end a network. Those are hardly any work, and rounding ADACL's made
its scores of normal cells six times as inexact (root mean square 0.057 against 0.010, on training clips of UCSD Ped2).
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
"""Operators that stay in float32 although NNCF would quantize them (our choice; see the module's description)."""

Sample = Mapping[str, Array]


def quantization_problem() -> str:
    """Why networks cannot be quantized here; "" where they can."""
    import importlib.util

    missing = importlib.util.find_spec("nncf") is None
    return f"the module nncf is not installed ({install_hint('int8')})" if missing else ""


def write_int8(source: Path, target: Path, samples: Iterable[Sample], count: int) -> None:
    """Write the 8-bit form of a network as an OpenVINO model: `target` (.xml) and a file of weights beside it (.bin).

    Args:
        source: float32 ONNX file.
        target: the file to write, ending in .xml.
        samples: inputs by name, such as the network will see; gone through several times.
        count: how many there are.

    Raises:
        EngineError: NNCF is not installed, or cannot quantize the network.
    """
    problem = quantization_problem()
    if problem:
        raise EngineError(f"int8 cannot be made here: {problem}", hint=install_hint("int8"))
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)  # what it has to say of its graphs is no news to a user
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where its progress bars belong
            model = nncf.quantize(
                ov.Core().read_model(source),
                nncf.Dataset(_Dictionaries(samples)),
                # Activations lie on one side of zero for the most part: LeakyReLU.
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=count,
                ignored_scope=nncf.IgnoredScope(types=list(EXACT), validate=False),
            )
    except (RuntimeError, nncf.ValidationError) as error:
        raise EngineError(f"NNCF cannot quantize {source}: {str(error).strip().splitlines()[0]}") from error
    if not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        raise EngineError(f"{source} has nothing that could be computed in 8 bits", hint="run it in fp32")
    # The names and options of whoever made it have no place in a file that is passed on.
    for path in (["nncf"], ["conversion_parameters"]):
        if model.has_rt_info(path):
            model.set_rt_info("", path)
    ov.save_model(model, target, compress_to_fp16=False)


class _Dictionaries:
    """Samples as NNCF takes them: dictionaries."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for sample in self._samples:
            yield dict(sample)
