"""TensorRT-RTX builds every shipped model for GPUs that are not here, through the code that TensorRT runs through.

It needs no GPU to build, and cannot run what it built. Its errors are real ones.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from bundle_support import slow_at_full_width

if os.environ.get("STREAMAD_REQUIRE_RTX") != "1":
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu13 (the extra `dev` on x86-64)")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from streamad.bundle import ONNX, STREAMING, load_bundle  # noqa: E402
from streamad.engines import EngineSpec, available_engines, open_engine  # noqa: E402
from streamad.engines.base import batch_sizes_for  # noqa: E402
from streamad.engines.half import write_half  # noqa: E402
from streamad.engines.stateful_graph import read_state_buffers, specialize_graph  # noqa: E402
from streamad.engines.tensorrt import driver_problem  # noqa: E402
from streamad.engines.tensorrt.building import BuildSpec, build_plan  # noqa: E402
from streamad.engines.tensorrt.failures import (  # noqa: E402
    GpuMemoryError,
    GpuUnavailableError,
    PlanMismatchError,
    UnsupportedOperatorError,
    failure,
)
from streamad.engines.tensorrt.library import Library, load_library  # noqa: E402
from streamad.engines.tensorrt.profiles import BatchProfile, profiles_for  # noqa: E402
from streamad.engines.tensorrt.stateful import stateful_spec  # noqa: E402
from streamad.errors import EngineError, ExitCode  # noqa: E402

MODELS = Path(__file__).resolve().parents[3] / "models"
SHIPPED = sorted(path.parent.name for path in MODELS.glob(f"*/{ONNX}"))
STREAMING_SHIPPED = sorted(path.parent.name for path in MODELS.glob(f"*/{STREAMING}"))
ADA = (8, 9)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def rtx() -> Library:
    return load_library("tensorrt-rtx")


def spec(*batches: tuple[int, int, int], capability: tuple[int, int] = ADA, workspace: int | None = None) -> BuildSpec:
    return BuildSpec(tuple(BatchProfile(*batch) for batch in batches), capability, workspace)


def one_node(path: Path, operator: str, **attributes: object) -> Path:
    """An ONNX file of one node over (batch, 4)."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "one", [x], [y])
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("custom", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
    return path


def test_models_are_shipped() -> None:
    assert len(SHIPPED) >= 8
    assert len(STREAMING_SHIPPED) >= 3


@pytest.mark.parametrize("name", slow_at_full_width(SHIPPED))
def test_every_shipped_model_builds_with_its_profiles_in_fp32_and_fp16(rtx: Library, name: str, tmp_path: Path) -> None:
    bundle = load_bundle(MODELS / name)
    profiles = profiles_for(batch_sizes_for(bundle.manifest.tiling.kind))
    full = build_plan(rtx, bundle.onnx_path, BuildSpec(profiles, ADA))
    if bundle.manifest.detector == "motion":  # distances and logarithms, no layers
        with pytest.raises(EngineError, match="no layer that runs in fp16"):
            write_half(bundle.onnx_path, tmp_path / "half.onnx")
        return
    write_half(bundle.onnx_path, tmp_path / "half.onnx")
    half = build_plan(rtx, tmp_path / "half.onnx", BuildSpec(profiles, ADA))
    # Nothing but the ONNX file differs, and its weights are carried in 16 bits.
    assert full != half
    stored = onnx.load(tmp_path / "half.onnx").graph.initializer
    halved = sum(int(np.prod(w.dims)) for w in stored if w.data_type == TensorProto.FLOAT16)
    assert halved > 0.85 * bundle.manifest.parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMING_SHIPPED)
def test_every_streaming_form_builds_for_runs_and_cameras_in_fp32_and_fp16(
    rtx: Library, name: str, tmp_path: Path
) -> None:
    """The networks that carry state, through the code that makes the engine's plans; one width in all combinations."""
    path, half = load_bundle(MODELS / name).streaming_path, tmp_path / "half.onnx"
    assert path is not None
    write_half(path, half)
    runs = {(path, 1, 8), (half, 4, 1)} if name.endswith("noise-ped2") else {(path, 1, 1)}
    if "light" in name:
        runs = set(itertools.product((path, half), (1, 4), (8,)))
    plans = set()
    for file, frames, cameras in runs:
        network, spec = stateful_spec(file.read_bytes(), frames, cameras, ADA)
        plans.add(build_plan(rtx, file, spec, network))
    assert len(plans) == len(runs)


def test_a_run_of_one_frame_takes_all_of_it_from_before() -> None:
    path = MODELS / "learned-noise-light-ped2" / STREAMING
    joins = {}
    for frames in (1, 2, 9):
        graph = onnx.load_from_string(specialize_graph(path.read_bytes(), frames)).graph
        kinds = [node.op_type for node in graph.node]
        assert not {"Shape", "Sub"} & set(kinds[: kinds.index("Tanh")])  # nothing is counted while it runs
        joins[frames] = kinds.count("Slice")
    state_buffers = read_state_buffers(path.read_bytes())
    assert joins == {frames: sum(delay.frames < frames for delay in state_buffers) for frames in (1, 2, 9)}
    assert joins[1] == 0


def test_a_network_that_carries_nothing_is_told() -> None:
    with pytest.raises(EngineError, match="not contain a stateful network"):
        read_state_buffers((MODELS / "adacl-ped2" / ONNX).read_bytes())
    with pytest.raises(EngineError, match="not contain a network"):
        read_state_buffers(b"nonsense" * 100)


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (12, 0)])
def test_plans_are_made_for_gpus_of_other_generations(
    rtx: Library, small_bundle: Path, capability: tuple[int, int]
) -> None:
    plan = build_plan(rtx, small_bundle / ONNX, spec((1, 8, 16), (17, 64, 64), capability=capability))
    assert len(plan) > 4 * 278_000  # its weights, in fp32


@pytest.mark.parametrize("operator", ["Bernoulli", "Det"])
def test_an_operator_that_cannot_run_is_named(rtx: Library, tmp_path: Path, operator: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=rf"operator {operator} of net\.onnx") as caught:
        build_plan(rtx, one_node(tmp_path / "net.onnx", operator), spec((1, 1, 8)))
    assert "openvino" in str(caught.value.hint)


def test_an_operator_of_a_plugin_that_is_not_here_is_named(rtx: Library, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match="operator Frob"):
        build_plan(rtx, one_node(tmp_path / "net.onnx", "Frob", domain="custom"), spec((1, 1, 8)))


@pytest.mark.parametrize("content", [b"nonsense" * 100, b""], ids=["random", "empty"])
def test_a_damaged_file_is_named(rtx: Library, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(EngineError, match=r"bad\.onnx"):
        build_plan(rtx, tmp_path / "bad.onnx", spec((1, 1, 8)))
    with pytest.raises(EngineError, match=r"gone\.onnx"):
        build_plan(rtx, tmp_path / "gone.onnx", spec((1, 1, 8)))


def test_too_little_workspace_is_a_memory_error(rtx: Library) -> None:
    network = MODELS / "learned-noise-light-ped2" / ONNX
    with pytest.raises(GpuMemoryError, match=r"(?i)OutOfMemory|workspace limit") as caught:
        build_plan(rtx, network, spec((1, 1, 1), workspace=1))
    assert "workspace_mib" in str(caught.value.hint)


def test_a_gpu_that_cannot_run_a_layer_is_told(rtx: Library) -> None:
    with pytest.raises(UnsupportedOperatorError, match="3D convolution is not supported"):
        build_plan(rtx, MODELS / "learned-noise-light-ped2" / ONNX, spec((1, 1, 1), capability=(7, 5)))


def test_a_gpu_that_the_library_does_not_know_is_told(rtx: Library, small_bundle: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"cannot build for SM37; it supports .*SM89"):
        build_plan(rtx, small_bundle / ONNX, spec((1, 1, 1), capability=(3, 7)))


def test_a_second_dynamic_dimension_is_refused(rtx: Library, tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "width"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "two", [x], [y])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "two.onnx"
    )
    with pytest.raises(EngineError, match="only its first dimension"):
        build_plan(rtx, tmp_path / "two.onnx", spec((1, 1, 8)))


@pytest.mark.skipif(driver_problem() == "", reason="there is a GPU, so plans can be loaded")
def test_without_a_driver_a_plan_cannot_be_loaded_and_the_reason_is_the_driver(rtx: Library, tmp_path: Path) -> None:
    plan = build_plan(rtx, one_node(tmp_path / "net.onnx", "Relu"), spec((1, 1, 8)))
    runtime = rtx.trt.Runtime(rtx.logger)
    mark = rtx.log.mark()
    assert runtime.deserialize_cuda_engine(plan) is None
    assert type(failure("loading", rtx.log.since(mark))) is GpuUnavailableError


def test_what_is_no_plan_is_told_in_the_librarys_words(rtx: Library) -> None:
    runtime = rtx.trt.Runtime(rtx.logger)
    mark = rtx.log.mark()
    assert runtime.deserialize_cuda_engine(b"garbage" * 99) is None
    said = [line for line in rtx.log.since(mark) if "cudaError" not in line]
    assert type(failure("loading", said)) is PlanMismatchError


@pytest.mark.skipif(driver_problem() == "", reason="there is a GPU")
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_asked_for_by_name_without_a_gpu_it_never_falls_back(small_bundle: Path, name: str) -> None:
    with pytest.raises(EngineError, match=rf"the engine {name} cannot run here.*no NVIDIA driver") as caught:
        open_engine(load_bundle(small_bundle), EngineSpec(name=name))  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.ENGINE
    assert "driver" in available_engines()[name]
