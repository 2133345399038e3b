"""`streamad export --precision int8`: the variant, its parity, what runs it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4

pytest.importorskip("torch")
pytest.importorskip("nncf")

import openvino as ov
from scoring_support import score_video

from streamad.bundle import load_bundle, write_manifest
from streamad.engines import EngineSpec
from streamad.engines.openvino_engine import OpenVinoEngine
from streamad.engines.openvino_stateful import OpenVinoStatefulEngine
from streamad.errors import BundleError, EngineError
from streamad.frame import Frame
from streamad.inference import open_model

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(
        "INT8" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="no int8 on this processor"
    ),
]
INT8 = EngineSpec(name="openvino", threads=1, precision="int8")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed in (1, 2):
        write_mp4(folder / f"{seed}.mp4", moving_shapes(60, (96, 64), seed=seed))
    return folder


def frames_of(count: int, seed: int) -> list[Frame]:
    return [
        Frame("cam", k, k / 25, 0.0, picture) for k, picture in enumerate(moving_shapes(count, (96, 64), seed=seed))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "file", "times"), [("narrow", "streaming.int8.xml", 1), ("small", "model.int8.xml", 2)]
)
def test_the_variant_lies_in_the_bundle_runs_in_8_bits_and_is_near(
    call: Any,
    request: pytest.FixtureRequest,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    file: str,
    times: int,
) -> None:
    # Fewer pieces than a model is made with: what is tested is the way, not how good the ranges are.
    monkeypatch.setattr("streamad.workflows.quantize.STREAMING_PIECES", 4)
    monkeypatch.setattr("streamad.workflows.quantize.PIECES", 16)
    bundle = shutil.copytree(request.getfixturevalue(f"{kind}_bundle"), tmp_path / kind)
    before = load_bundle(bundle)
    with pytest.raises(BundleError, match="no int8 variant") as refused:
        open_model(bundle, INT8)
    assert "--precision int8 --data" in (refused.value.hint or "")
    for _ in range(times):  # again: the entry is replaced, not added
        code, out, err = call("export", bundle, "--precision", "int8", "--data", clips, "--json")
        assert code == 0, err
    after = load_bundle(bundle)  # checks the hashes
    assert {file, file.replace(".xml", ".bin")} <= set(after.manifest.files)
    assert after.sha256 == before.sha256  # calibrations go on to hold
    ours = [p for p in after.manifest.parity if p.file == file]
    assert len(ours) == 1
    assert ours[0].max_abs_score is not None
    assert 0 < ours[0].max_abs_score < 0.5
    assert json.loads(out)["parity"]["precision"] == ours[0].precision == "int8"
    assert len(after.manifest.parity) == len(before.manifest.parity) + 1
    assert str(tmp_path) not in (bundle / file).read_text()  # nothing of whoever made it

    frames = frames_of(60, seed=9)
    with open_model(bundle, INT8) as model, open_model(bundle, EngineSpec(name="openvino", threads=1)) as exact:
        assert model.engine.info.precision == "int8"
        made = np.array([s.score for s in score_video(frames, model)])
        wanted = np.array([s.score for s in score_video(frames, exact)])
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))
    assert 0 < np.nanmax(np.abs(made - wanted)) < 0.5

    (bundle / file.replace(".xml", ".bin")).write_bytes(b"other weights")
    with pytest.raises(BundleError, match="does not match"):
        load_bundle(bundle)


def test_a_network_that_was_not_quantized_does_not_pass_for_one_that_was(narrow_bundle: Path) -> None:
    bundle = load_bundle(narrow_bundle)
    with pytest.raises(EngineError, match=r"does not run .* in int8"):
        OpenVinoEngine(bundle.onnx_path, precision="int8", batch_sizes=(1,))
    assert bundle.streaming_path is not None
    with pytest.raises(EngineError, match=r"does not run .* in int8"):
        OpenVinoStatefulEngine(bundle.streaming_path, 15, precision="int8")


def test_what_cannot_be_is_refused_and_changes_nothing(
    call: Any, narrow_bundle: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shutil.copytree(narrow_bundle, tmp_path / "mine")
    write_manifest(bundle, load_bundle(bundle).manifest)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    short = write_mp4(tmp_path / "short.mp4", moving_shapes(17, (96, 64), seed=1))
    for arguments, word in (
        (("--precision", "int8"), "go together"),
        (("--data", clips), "go together"),
        (("--engine", "onnx", "--precision", "int8", "--data", clips), "onnx supports fp32 and fp16"),
        (("--precision", "int8", "--data", clips, "--out", tmp_path / "out"), "into the bundle"),
        (("--precision", "int8", "--data", short), "too little to see"),
    ):
        code, _, err = call("export", bundle, *arguments)
        assert code == 2, err
        assert word in err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call("export", bundle, "--precision", "int8", "--data", clips)
    assert code == 4
    assert "streamad-video[int8]" in err
    monkeypatch.undo()
    with pytest.raises(EngineError, match="supports fp32, not int8"):
        open_model(narrow_bundle, EngineSpec(name="onnx", precision="int8"))
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
