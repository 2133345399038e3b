"""Engines that cannot run or fail: a typed error that names the cause, never another engine, never a hang."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from streamad.bundle import Bundle, load_bundle  # noqa: E402
from streamad.detectors.adacl.network import AdaclNet  # noqa: E402
from streamad.engines import Engine, EngineSpec, available_engines, open_engine  # noqa: E402
from streamad.errors import EngineError, ExitCode  # noqa: E402

Name = Literal["openvino", "onnx", "torch"]
NAMES: tuple[Name, ...] = ("openvino", "onnx", "torch")
MODULES = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "torch"}


def opened(bundle: Bundle, name: Name, device: str = "CPU") -> Engine:
    return open_engine(bundle, EngineSpec(name=name, device=device), build_network=lambda: AdaclNet(3))


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_asked_for_by_name_never_falls_back(
    small_bundle: Path, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    assert "not installed" in available_engines()[name]
    assert all(available_engines()[other] == "" for other in NAMES if other != name)
    assert available_engines().keys() == {*NAMES, "tensorrt", "tensorrt-rtx"}
    with pytest.raises(EngineError, match=rf"the engine {name} cannot run here.*{MODULES[name]}") as caught:
        opened(load_bundle(small_bundle), name)
    assert caught.value.exit_code == ExitCode.ENGINE


def test_auto_says_what_it_took_and_why(small_bundle: Path) -> None:
    engine = open_engine(load_bundle(small_bundle))
    try:
        assert engine.info.name == "openvino"
        assert engine.info.why.startswith("auto")
    finally:
        engine.close()


def test_torch_without_a_network_is_refused(small_bundle: Path) -> None:
    with pytest.raises(EngineError, match="network"):
        open_engine(load_bundle(small_bundle), EngineSpec(name="torch"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["random", "truncated", "empty", "missing"])
def test_a_damaged_file_is_named(small_bundle: Path, tmp_path: Path, name: Name, damage: str) -> None:
    folder = shutil.copytree(small_bundle, tmp_path / "damaged")
    path = folder / ("weights.safetensors" if name == "torch" else "model.onnx")
    content = path.read_bytes()
    bundle = load_bundle(folder)
    if damage == "missing":
        path.unlink()
    else:
        rng = np.random.default_rng(0)
        path.write_bytes({"random": rng.bytes(5000), "truncated": content[:5000], "empty": b""}[damage])
    with pytest.raises(EngineError, match=path.name):
        opened(bundle, name)


def test_weights_of_another_network_are_refused(small_bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"weights\.safetensors"):
        open_engine(load_bundle(small_bundle), EngineSpec(name="torch"), build_network=lambda: AdaclNet(1))


@pytest.mark.parametrize(("name", "device"), [("openvino", "NPU7"), ("torch", "abacus"), ("torch", "meta:99x")])
def test_a_device_that_is_not_there_is_named(small_bundle: Path, name: Name, device: str) -> None:
    with pytest.raises(EngineError, match=rf"(?i){device}"):
        opened(load_bundle(small_bundle), name, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so asking for it is no fault")
def test_cuda_without_cuda_is_an_engine_error(small_bundle: Path) -> None:
    with pytest.raises(EngineError, match="cuda"):
        opened(load_bundle(small_bundle), "torch", "cuda")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_tile_shapes_are_engine_errors(small_bundle: Path, name: Name) -> None:
    engine = opened(load_bundle(small_bundle), name)
    try:
        for shape in ((4, 1, 30, 30), (4, 3, 30), (4, 3, 31, 30)[:2], (4,)):
            with pytest.raises(EngineError):
                engine.infer(np.zeros(shape, np.float32))
        # An engine that has failed goes on.
        assert engine.infer(np.zeros((2, 3, 30, 30), np.float32)).shape == (2,)
        for count in (0, 65):
            with pytest.raises(ValueError, match="must be 1 to 64"):
                engine.infer(np.zeros((count, 3, 30, 30), np.float32))
    finally:
        engine.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_batch_that_is_submitted_is_answered_or_raised(small_bundle: Path, name: Name) -> None:
    engine = opened(load_bundle(small_bundle), name)
    try:
        failures: list[Exception] = []
        for count in (4, 65):
            shape = (count, 1, 30, 30) if count == 4 else (count, 3, 30, 30)
            try:
                engine.submit(np.zeros(shape, np.float32), lambda _: None, failures.append)
                engine.drain()
            except (EngineError, ValueError) as error:
                failures.append(error)
        assert len(failures) == 2
    finally:
        engine.close()


@pytest.fixture(scope="module")
def fragile_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX network that fails while running for some inputs: it reshapes to what the first pixel says."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["pixels"]),
        helper.make_node("Slice", ["pixels", "zero", "one"], ["first"]),
        helper.make_node("Cast", ["first"], ["columns"], to=TensorProto.INT64),
        helper.make_node("Concat", ["rest", "columns"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["table"]),
        helper.make_node("ReduceSum", ["table"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "total"], ["y"]),
    ]
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("rest", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "fragile", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("fragile") / "fragile.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_failure_while_running_is_told_and_does_not_hang(fragile_network: Path, name: str) -> None:
    from streamad.engines.onnx_engine import OnnxEngine
    from streamad.engines.openvino_engine import OpenVinoEngine

    engine: Engine = (OpenVinoEngine if name == "openvino" else OnnxEngine)(fragile_network, batch_sizes=(1, 4))
    good = np.full((2, 1, 2, 2), 2, np.float32)
    bad = np.full((1, 1, 2, 2), 3, np.float32)  # 4 pixels do not fill rows of 3
    try:
        np.testing.assert_allclose(engine.infer(good), [24, 24])
        with pytest.raises(EngineError, match="failed"):
            engine.infer(bad)
        answers: list[np.ndarray] = []
        failures: list[Exception] = []
        for batch in (good, bad, good, bad, bad, good):
            engine.submit(batch, answers.append, failures.append)
        engine.drain()
        assert (len(answers), len(failures)) == (3, 3)
        assert all(isinstance(f, EngineError) for f in failures)
        np.testing.assert_allclose(engine.infer(good), [24, 24])
    finally:
        engine.close()
