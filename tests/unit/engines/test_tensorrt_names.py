"""Every name of TensorRT that is used exists in the real bindings, with the parameters that it is called with.

mypy keeps the code to the protocols of `streamad.engines.tensorrt.api`; this keeps the protocols to the bindings: of
TensorRT 10.13, 10.16 and 11.4 as scripts/tensorrt_api.py recorded them, and of TensorRT-RTX as it is installed.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorrt_support
from cuda_support import PythonStage, python_driver

from streamad.engines.tensorrt import api

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RECORDED: dict[str, dict[str, dict[str, str | None]]] = json.loads((HERE / "tensorrt_names.json").read_text())
RTX_ALONE = {("IBuilderConfigRtx", "num_compute_capabilities"), ("IBuilderConfigRtx", "set_compute_capability"),
             ("Module", "ComputeCapability")}  # fmt: skip


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("scripts_tensorrt_api", ROOT / "scripts" / "tensorrt_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_fits(found: dict[str, dict[str, str | None]], absent: set[tuple[str, str]]) -> None:
    """Every protocol's names are there, and functions take the parameters that the protocol says."""
    assert {kind: sorted(names) for kind, names in found.items()} == tool().wanted()
    missing = {(kind, name) for kind, names in found.items() for name, text in names.items() if text is None}
    assert missing == absent
    for kind, names in found.items():
        for name, text in names.items():
            function = getattr(getattr(api, kind, None), name, None)
            if text is None or not inspect.isfunction(function):
                continue
            ours = list(inspect.signature(function).parameters)[1:]
            assert any(accepts(form, name, ours) for form in text.split(" | ")), f"{kind}.{name}{ours}: {text}"


def accepts(form: str, name: str, ours: list[str]) -> bool:
    """Whether a signature in pybind11's words takes these parameters, by name and in this order."""
    inside = re.fullmatch(rf"{name}\((.*)\)(?: -> .*)?", form)
    assert inside is not None, form
    theirs = [part.strip() for part in re.split(r", (?=\w+: )", inside[1])][1:]
    named = [part.partition(":")[0] for part in theirs]
    return named[: len(ours)] == ours and all("=" in part for part in theirs[len(ours) :])


@pytest.mark.parametrize("version", RECORDED)
def test_the_recorded_bindings_have_every_name(version: str) -> None:
    assert_fits(RECORDED[version], RTX_ALONE)


def test_versions_on_both_sides_of_the_break_are_recorded() -> None:
    assert {version.partition(".")[0] for version in RECORDED} == {"10", "11"}
    assert set(RECORDED) == set(tool().VERSIONS)


def test_tensorrt_rtx_as_installed_has_every_name() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu13 (the extra `dev` on x86-64)")
    assert_fits(tool().names_in(rtx), set())


@pytest.mark.parametrize(
    ("form", "ours", "fits"),
    [
        ("f(self: A, name: str, shape: Dims) -> bool", ["name", "shape"], True),
        ("f(self: A, name: str, shape: Dims, more: int = 0) -> bool", ["name", "shape"], True),
        ("f(self: A, name: str, shape: Dims, more: int) -> bool", ["name", "shape"], False),
        ("f(self: A, index: int) -> bool", ["name"], False),
        ("f(self: A) -> bool", ["name"], False),
    ],
)
def test_the_comparison_tells_fitting_from_unfitting(form: str, ours: list[str], fits: bool) -> None:
    assert accepts(form, "f", ours) is fits


def test_a_name_that_was_removed_is_noticed() -> None:
    """The record itself shows what 11 lost, so the comparison is not one of nothing with nothing."""
    found = json.loads(json.dumps(RECORDED["11.4.0.106"]))
    found["ICudaEngine"]["get_device_memory_size_for_profile_v2"] = None
    with pytest.raises(AssertionError):
        assert_fits(found, RTX_ALONE)


def test_the_stand_in_offers_what_the_protocols_have_and_no_more() -> None:
    module = tensorrt_support.StandIn(PythonStage())
    kinds = ("INetworkDefinition", "ITensor", "ParserError", "IOptimizationProfile", "IBuilderConfig", "ICudaEngine",
             "IExecutionContext", "OnnxParser", "Runtime", "Builder")  # fmt: skip
    for kind in kinds:
        stand_in = getattr(module, kind, None) or getattr(tensorrt_support, kind)
        offered = {name for name in vars(stand_in) if not name.startswith("_") and callable(getattr(stand_in, name))}
        assert offered <= set(tool().wanted()[kind]), kind
    used = {name for name in tool().wanted()["Module"] if name != "ComputeCapability"}
    assert used <= set(vars(module))


def test_pycuda_is_used_by_names_that_the_stand_in_has() -> None:
    """What `gpu` asks of PyCUDA; scripts/check_pycuda.py runs the same code over the real one."""
    source = (ROOT / "streamad" / "engines" / "tensorrt" / "gpu.py").read_text()
    driver = python_driver(PythonStage())
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "_cuda"
    }
    assert {"mem_alloc", "Stream", "pagelocked_empty"} <= used
    assert [name for name in used if not hasattr(driver, name)] == []
