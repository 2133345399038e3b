"""`streamad export` into a bundle, and `streamad doctor --selftest`, with and without a (stand-in) GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_support

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from streamad.bundle import load_bundle
from streamad.detectors import find_detector
from streamad.engines import EngineSpec, StatefulEngine, open_engine
from streamad.engines.tensorrt import driver_problem
from streamad.engines.tensorrt.selftest_stateful import run_stateful_selftest
from streamad.errors import BundleError, EngineError
from streamad.inference import open_model

pytestmark = pytest.mark.usefixtures("one_torch_thread")
needs_no_gpu = pytest.mark.skipif(driver_problem() == "", reason="there is a GPU")


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_bundle, tmp_path / "mine")


def test_an_fp16_variant_lies_in_the_bundle_with_its_parity(call: Any, bundle: Path) -> None:
    before = load_bundle(bundle)
    with pytest.raises(BundleError, match="no fp16 variant"):
        before.network_path("fp16")
    assert call("export", bundle, "--engine", "openvino")[0] == 0
    for _ in range(2):  # again: the entry is replaced, not added
        code, out, err = call("export", bundle, "--engine", "onnx", "--precision", "fp16", "--json")
        assert code == 0, err
    after = load_bundle(bundle)  # checks the hashes
    assert after.network_path("fp16") == bundle / "model.fp16.onnx"
    assert after.sha256 == before.sha256  # calibrations go on to hold
    plain, parity = after.manifest.parity
    assert (plain.engine, plain.precision) == ("openvino", "fp32")
    assert plain.max_abs_score is not None
    assert plain.max_abs_score <= 1e-5
    assert (parity.engine, parity.precision) == ("onnx", "fp16")
    assert parity.max_abs_score is not None
    assert 1e-6 < parity.max_abs_output < 0.02
    assert 1e-7 < parity.max_abs_score <= parity.max_abs_output
    assert json.loads(out)["parity"]["max_abs_score"] == parity.max_abs_score
    size = (bundle / "model.fp16.onnx").stat().st_size
    assert 0.45 < size / (bundle / "model.onnx").stat().st_size < 0.55


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--engine", "coreml"), "expected one of onnx"),
        (("--engine", "openvino", "--precision", "fp16"), "openvino supports fp32"),
        (("--engine", "tensorrt", "--precision", "int8"), "fp32 and fp16"),
        (("--engine", "tensorrt", "--out", "x"), "plan cache"),
    ],
)
def test_what_is_not_exported_is_refused(call: Any, bundle: Path, arguments: tuple[str, ...], word: str) -> None:
    code, _, err = call("export", bundle, *arguments)
    assert code == 2
    assert word in err


@needs_no_gpu
@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_export_and_selftest_say_why_and_change_nothing(call: Any, bundle: Path, engine: str) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    for arguments in (("export", bundle, "--engine", engine, "--precision", "fp16"), ("doctor", "--selftest", engine)):
        code, out, err = call(*arguments, "--json")
        assert code == 4
        assert json.loads(out)["error"]["type"] == "EngineError"
        assert "no NVIDIA driver" in err
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert call("doctor", "--selftest", "openvino")[0] == 2


@pytest.mark.slow
def test_with_a_gpu_the_selftest_compares_times_and_weighs(
    call: Any, bundle: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMAD_CACHE", str(tmp_path / "cache"))
    module = tensorrt_support.install(monkeypatch)
    assert call("export", bundle, "--engine", "tensorrt", "--precision", "fp16")[0] == 0
    code, out, err = call("doctor", "--selftest", "tensorrt", "--model", bundle, "--json")
    assert code == 0, err
    full, half = json.loads(out)["results"]
    assert (full["precision"], half["precision"]) == ("fp32", "fp16")
    assert full["max_abs_output"] <= 1e-5 < half["max_abs_output"] < half["allowed"]
    assert [time["batch"] for time in full["times"]] == [1, 20, 64]
    assert full["buffer_mib"] == pytest.approx((tensorrt_support.SCRATCH + 64 * (3 * 900 + 1) * 4) / 2**20)
    assert full["gpu_mib"] == pytest.approx(full["buffer_mib"])
    assert full["leaked_mib"] == 0
    engine = open_engine(load_bundle(bundle), EngineSpec(name="tensorrt", precision="fp16"))
    assert engine.info.precision == "fp16"
    engine.close()

    # A GPU that computes something else is found out.
    monkeypatch.setattr(tensorrt_support.ICudaEngine, "spoil", 0.5)
    code, out, err = call("doctor", "--selftest", "tensorrt", "--model", small_bundle)
    assert code == 4
    assert "NO" in out
    assert "differ from ONNX Runtime's: small (windows) in fp32" in err
    assert module._stage.broken_rules() == []


@pytest.mark.slow
def test_the_streaming_form_is_exported_in_fp16_and_tested_on_a_gpu(
    call: Any, narrow_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("streamad.engines.tensorrt.selftest.ROUNDS", 2)
    mine = shutil.copytree(narrow_bundle, tmp_path / "mine")
    before = load_bundle(mine)
    code, out, err = call("export", mine, "--engine", "onnx", "--precision", "fp16", "--json")
    assert code == 0, err
    window, streaming = json.loads(out)["files"]
    assert (window["parity"]["file"], streaming["parity"]["file"]) == ("model.fp16.onnx", "streaming.fp16.onnx")
    assert 0 < streaming["parity"]["max_abs_output"] < 0.02
    after = load_bundle(mine)  # checks the hashes
    assert after.sha256 == before.sha256
    assert after.network_path("fp16", streaming=True) == mine / "streaming.fp16.onnx"

    module = tensorrt_support.install(monkeypatch)
    code, out, err = call("doctor", "--selftest", "tensorrt", "--model", mine, "--json")
    assert code == 0, err
    results = json.loads(out)["results"]
    assert [(r["form"], r["precision"]) for r in results] == [
        ("windows", "fp32"), ("streaming", "fp32"), ("windows", "fp16"), ("streaming", "fp16")
    ]  # fmt: skip
    full, half = results[1], results[3]
    assert full["max_abs_output"] <= 1e-5 < half["max_abs_output"] < half["allowed"]
    assert [(t["batch"], t["of"]) for t in full["times"]] == [
        (1, "frame"), (8, "frames of 8 cameras"), (4, "frames of a camera")
    ]  # fmt: skip
    assert full["leaked_mib"] == 0
    with open_model(mine, EngineSpec(name="tensorrt", precision="fp16")) as model:
        assert isinstance(model.engine, StatefulEngine)
        assert (model.engine.info.name, model.engine.info.precision) == ("tensorrt", "fp16")
        assert model.engine.camera_sizes == tuple(range(1, 9))
    monkeypatch.setattr(tensorrt_support.ICudaEngine, "spoil", 0.5)
    assert not run_stateful_selftest(after, "tensorrt", "fp32", None).passed
    assert module._stage.broken_rules() == []


def test_the_precision_that_an_engine_cannot_run_is_refused(bundle: Path) -> None:
    with pytest.raises(EngineError, match="openvino supports fp32"):
        open_engine(load_bundle(bundle), EngineSpec(name="openvino", precision="fp16"))


def test_scores_for_parity_are_the_detectors_own(bundle: Path) -> None:
    manifest = load_bundle(bundle).manifest
    outputs = np.array([0.3, -0.2, 0.9, 0.1], np.float32)
    scores_of = find_detector(manifest.detector).frame_scores
    assert scores_of(manifest)(outputs) == pytest.approx([0.9])
    three = manifest.model_copy(update={"score": manifest.score.model_copy(update={"cells": 3, "median_frames": 9})})
    assert scores_of(three)(outputs) == pytest.approx([(0.9 + 0.3 + 0.1) / 3])
