"""Exported files: any batch, one file, and a parity that is really measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from safetensors.torch import load_file  # noqa: E402

from streamad.detectors.adacl.network import AdaclNet  # noqa: E402
from streamad.engines.export import export_onnx, export_openvino, measure_parity  # noqa: E402
from streamad.engines.openvino_engine import OpenVinoEngine  # noqa: E402
from streamad.errors import EngineError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def network_of(bundle: Path) -> torch.nn.Module:
    network = AdaclNet(3)
    network.load_state_dict(load_file(bundle / "weights.safetensors"))
    return network.eval()


def tiles(count: int = 70) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3, 30, 30)).astype(np.float32)


def test_the_onnx_file_is_valid_whole_and_takes_any_batch(small_bundle: Path) -> None:
    model = onnx.load(small_bundle / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    dimensions = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert isinstance(dimensions[0], str)
    assert dimensions[1:] == [3, 30, 30]
    stored = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    assert 278_000 < stored < 290_000  # the weights are in it


def test_openvino_files_score_as_torch_does(small_bundle: Path, tmp_path: Path) -> None:
    export_openvino(small_bundle / "model.onnx", tmp_path / "net.xml")
    assert (tmp_path / "net.bin").stat().st_size > 4 * 278_000  # float32, not half
    engine = OpenVinoEngine(tmp_path / "net.xml", batch_sizes=(4,))
    try:
        with torch.inference_mode():
            expected = network_of(small_bundle)(torch.from_numpy(tiles(4))).numpy()
        assert np.abs(engine.infer(tiles(4)) - expected).max() <= 1e-5
    finally:
        engine.close()


@pytest.mark.slow
def test_weights_in_16_bits_halve_the_file_and_are_computed_with_in_32(small_bundle: Path, tmp_path: Path) -> None:
    network = network_of(small_bundle)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    export_onnx(network, (3, 30, 30), tmp_path / "half.onnx", half_weights=True)
    export_onnx(network, (3, 30, 30), tmp_path / "whole.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "half.onnx"))
    sizes = [(tmp_path / name).stat().st_size for name in ("half.onnx", "whole.onnx")]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    engine = OpenVinoEngine(tmp_path / "half.onnx", batch_sizes=(4,))
    try:
        with torch.inference_mode():
            expected = network(torch.from_numpy(tiles(4))).numpy()
        # BatchNorm is folded before rounding, so weights differ by up to 2⁻¹¹ of themselves.
        assert np.abs(engine.infer(tiles(4)) - expected).max() <= 5e-3 * max(1.0, float(np.abs(expected).max()))
    finally:
        engine.close()


def test_what_is_no_network_cannot_be_converted(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nonsense" * 100)
    with pytest.raises(EngineError, match=r"bad\.onnx"):
        export_openvino(tmp_path / "bad.onnx", tmp_path / "net.xml")


def test_parity_is_the_largest_difference(small_bundle: Path) -> None:
    engine = OpenVinoEngine(small_bundle / "model.onnx", batch_sizes=(1, 8))
    try:
        network = network_of(small_bundle)
        parity = measure_parity(engine, network, tiles(20))
        assert parity.max_abs_output <= 1e-5
        assert (parity.tiles, parity.engine, parity.batch_sizes) == (20, "openvino", (1, 8))
        # Another network by half a score: the measure sees it.
        with torch.no_grad():
            network.head[-1].bias.add_(0.5)
        assert measure_parity(engine, network, tiles(20)).max_abs_output == pytest.approx(0.5, abs=1e-4)
    finally:
        engine.close()


@pytest.mark.parametrize("count", [1, 5, 9])
def test_parity_compares_whatever_tiles_there_are(small_bundle: Path, count: int) -> None:
    """A short validation clip gives fewer tiles than the largest batch: they are compared all the same."""
    engine = OpenVinoEngine(small_bundle / "model.onnx", batch_sizes=(8, 64))
    try:
        network = network_of(small_bundle)
        with torch.no_grad():
            network.head[-1].bias.add_(0.5)
        assert measure_parity(engine, network, tiles(count)).max_abs_output == pytest.approx(0.5, abs=1e-4)
    finally:
        engine.close()


def test_an_exported_file_names_no_path_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    export_onnx(AdaclNet(3), (3, 30, 30), path)
    content = path.read_bytes()
    assert b"network.py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content
