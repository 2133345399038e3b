"""Half-precision ONNX files: what runs in 16 bits, what stays in 32, and that the network is the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from streamad.engines.half import write_half  # noqa: E402
from streamad.errors import EngineError  # noqa: E402

RNG = np.random.default_rng(4)


def save(path: Path, nodes: list[object], weights: dict[str, np.ndarray], outputs: dict[str, int]) -> Path:
    """A network over (batch, 2, 8, 8)."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 8, 8])
    ys = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, 8, 8][:rank])
        for name, rank in outputs.items()
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "net", [x], ys, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return list(ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x}))


def types(path: Path) -> dict[str, int]:
    """Tensor → its type, by ONNX's own inference."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True)
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {v.name: v.type.tensor_type.elem_type for v in values} | {w.name: w.data_type for w in graph.initializer}


@pytest.fixture(scope="module")
def branching(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network in which a layer's output is read by a layer, by a square, and is an output too; and its half form."""
    weights = {
        "w1": RNG.normal(0, 0.3, (4, 2, 3, 3)).astype(np.float32),
        "w2": RNG.normal(0, 0.3, (2, 4, 3, 3)).astype(np.float16),  # stored in 16 bits
        "axes": np.array([1, 2, 3], np.int64),
        "two": np.array(2, np.float32),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["w2"], ["w2_full"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w1"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2_full"], ["c"], **pads),
        helper.make_node("Sub", ["c", "x"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["e"]),
        helper.make_node("ReduceMean", ["e", "axes"], ["error"], keepdims=0),
        helper.make_node("ReduceMean", ["b", "axes"], ["mean"], keepdims=0),
    ]
    folder = tmp_path_factory.mktemp("half")
    full = save(folder / "full.onnx", nodes, weights, {"error": 1, "mean": 1, "c": 4})
    write_half(full, folder / "half.onnx")
    return full, folder / "half.onnx"


def test_layers_run_in_16_bits_and_sums_of_errors_in_32(branching: tuple[Path, Path]) -> None:
    known = types(branching[1])
    for node in onnx.load(branching[1]).graph.node:
        kinds = {known[name] for name in (*node.input, *node.output) if known[name] != TensorProto.INT64}
        if node.op_type != "Cast":
            half = node.op_type in ("Conv", "Relu")
            assert kinds == {TensorProto.FLOAT16 if half else TensorProto.FLOAT}, node.op_type
    assert all(known[name] == TensorProto.FLOAT for name in ("x", "error", "mean", "c"))


def test_what_was_stored_in_16_bits_is_used_as_it_is_and_nothing_is_cast_twice(branching: tuple[Path, Path]) -> None:
    graph = onnx.load(branching[1]).graph
    assert {w.name: w.data_type for w in graph.initializer if len(w.dims) == 4} == {
        "w1_half": TensorProto.FLOAT16,
        "w2": TensorProto.FLOAT16,
    }
    casts = [node.input[0] for node in graph.node if node.op_type == "Cast"]
    assert sorted(casts) == ["b_half", "c_half", "x"]  # once each


def test_the_network_is_the_same_but_for_rounding(branching: tuple[Path, Path]) -> None:
    x = RNG.uniform(-1, 1, (5, 2, 8, 8)).astype(np.float32)
    for full, half in zip(run(branching[0], x), run(branching[1], x), strict=True):
        assert half.dtype == np.float32
        assert full.shape == half.shape
        assert 0 < np.abs(full - half).max() < 4e-3 * np.abs(full).max()


def test_a_small_error_is_not_lost(tmp_path: Path) -> None:
    """A reconstruction that is off by 1e-3 has a squared error of 1e-6, which fp16 holds with three bits."""
    weights = {
        "one": np.eye(2, dtype=np.float32)[:, :, None, None],
        "off": np.full((1, 2, 8, 8), 1e-3, np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "two": np.array(2, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "one"], ["same"]),
        helper.make_node("Add", ["same", "off"], ["near"]),
        helper.make_node("Sub", ["near", "x"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["e"]),
        helper.make_node("ReduceMean", ["e", "axes"], ["error"], keepdims=0),
    ]
    write_half(save(tmp_path / "net.onnx", nodes, weights, {"error": 1}), tmp_path / "half.onnx")
    x = RNG.integers(-8, 9, (3, 2, 8, 8)).astype(np.float32) / 8  # fp16 holds these exactly
    np.testing.assert_allclose(run(tmp_path / "half.onnx", x)[0], 1e-6, rtol=1e-3)


def test_what_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nonsense" * 50)
    with pytest.raises(EngineError, match=r"bad\.onnx"):
        write_half(tmp_path / "bad.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
