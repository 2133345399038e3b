"""IGD's networks: shapes, export, the anomaly map by construction, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from igd_support import igd_manifest

torch = pytest.importorskip("torch")

from streamad.detectors.igd.network import IgdNet, build, from_patches, to_patches  # noqa: E402
from streamad.errors import BundleError, UsageError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def settled(net: IgdNet) -> IgdNet:
    """The network with statistics and a Gaussian that are not the initial ones."""
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    for branch in (net.whole, net.patch):
        if branch is not None:
            branch.gaussian.mu.uniform_(-0.1, 0.1, generator=generator)
            branch.gaussian.sigma.fill_(1.3)
    return net.eval()


@pytest.mark.parametrize(
    ("channels", "side", "options", "cells"),
    [
        (1, 28, {}, 28),
        (3, 32, {}, 32),
        (1, 64, {"pooling": "peak"}, 32),
        (1, 256, {"scales": 5, "window": 11}, 32),
        (3, 96, {"beta": 1.0}, 32),
    ],
)
def test_the_output_is_the_score_and_the_heat_map(
    channels: int, side: int, options: dict[str, Any], cells: int
) -> None:
    torch.manual_seed(0)
    net = settled(IgdNet(channels, side, 4, descriptor=8, **options))
    x = torch.rand(2, channels, side, side)
    with torch.no_grad():
        out, parts = net(x), net.parts(x)
    assert out.shape == (2, 1 + cells**2)
    assert net.map_side == cells
    assert ((out >= 0) & (out <= 1)).all()
    torch.testing.assert_close(out[:, 1:].reshape(2, cells, cells), parts.anomaly_map)
    if options.get("pooling") == "peak":
        torch.testing.assert_close(out[:, 0], out[:, 1:].amax(dim=1))
    else:
        torch.testing.assert_close(out[:, 0], 0.5 * parts.reconstruction + 0.5 * parts.svdd)
    assert (net.patch is None) == (side < 64 or options.get("beta") == 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("side", [28, 64])
def test_onnx_equals_torch_in_every_batch_size(side: int, tmp_path: Path) -> None:
    """With the global branch alone, of odd sizes on the way (28, 14, 7, 4), and with both branches."""
    ort = pytest.importorskip("onnxruntime")
    from streamad.engines.export import export_onnx

    torch.manual_seed(1)
    net = settled(IgdNet(1, side, 4, descriptor=8, scales=2))
    export_onnx(net, (1, side, side), tmp_path / "model.onnx")
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        x = torch.rand(count, 1, side, side)
        with torch.no_grad():
            want = net(x).numpy()
        got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        np.testing.assert_allclose(got, want, atol=2e-5)


class _Fixed(torch.nn.Module):
    """A decoder that always paints the same picture."""

    def __init__(self, picture: torch.Tensor) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.picture.expand(len(z), -1, -1, -1)


@pytest.mark.parametrize(("side", "place"), [(28, (20, 6)), (32, (8, 22)), (128, (40, 100))])
def test_the_heat_map_is_highest_where_image_and_reconstruction_differ(side: int, place: tuple[int, int]) -> None:
    net = settled(IgdNet(1, side, 4, descriptor=8))
    net.whole.decoder = _Fixed(torch.full((1, 1, side, side), 0.5))
    if net.patch is not None:
        net.patch.decoder = _Fixed(torch.full((1, 1, 32, 32), 0.5))
        net.patch.gaussian.sigma.fill_(1e6)  # the Gaussian says the same of every patch
    x = torch.full((1, 1, side, side), 0.5)
    y0, x0 = place
    x[..., y0 - 2 : y0 + 3, x0 - 2 : x0 + 3] = 1.0
    with torch.no_grad():
        heat = net.parts(x).anomaly_map[0]
    row, col = divmod(int(heat.argmax()), net.map_side)
    scale = side / net.map_side
    assert abs((row + 0.5) * scale - y0 - 0.5) <= 2 + scale
    assert abs((col + 0.5) * scale - x0 - 0.5) <= 2 + scale
    assert heat.max() > 2 * heat.median()


def test_patches_are_cut_row_by_row_and_put_back() -> None:
    x = torch.arange(2 * 96 * 96, dtype=torch.float32).reshape(2, 1, 96, 96)
    patches = to_patches(x)
    assert patches.shape == (18, 1, 32, 32)
    torch.testing.assert_close(patches[9 + 5, 0], x[1, 0, 32:64, 64:96])
    torch.testing.assert_close(from_patches(patches[:, 0], 3), x[:, 0])


def test_weights_carry_the_gaussian_and_fit_a_built_network() -> None:
    manifest = igd_manifest(side=64)
    net, other = settled(build(manifest)), build(manifest)
    weights = net.state_dict()
    assert {"whole.gaussian.mu", "whole.gaussian.sigma", "patch.gaussian.mu"} <= weights.keys()
    assert not any("similarity" in name for name in weights)
    other.load_state_dict(weights)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(x), net(x))


def test_a_bundle_that_does_not_say_what_shapes_the_network_is_refused() -> None:
    with pytest.raises(BundleError, match="no width"):
        build(igd_manifest(side=64, without="width"))
    with pytest.raises(BundleError, match="64×32"):
        build(igd_manifest(side=64, height=32))


@pytest.mark.parametrize(
    ("side", "options", "message"),
    [
        (100, {}, "multiple of 32 px, got 100 px"),
        (8, {}, "got 8 px"),
        (32, {"width": 2}, "width 2"),
        (32, {"rho": 1.5}, "rho 1.5"),
        (32, {"scales": 5}, "2 px at scale 5"),
    ],
)
def test_what_does_not_work_is_refused(side: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        IgdNet(1, side, **{"width": 4, "descriptor": 8, **options})
