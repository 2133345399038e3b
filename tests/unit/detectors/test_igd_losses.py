"""IGD's losses against derivations of their own in numpy and scipy, and against numbers worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from streamad.detectors.igd import losses  # noqa: E402
from streamad.detectors.igd.losses import (  # noqa: E402
    Gaussian,
    MsSsim,
    critic_error,
    interpolate,
    mean_absolute_error,
    scale_weights,
)
from streamad.errors import UsageError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang, Simoncelli and Bovik (2003), table in section 3.2
SIZES = [(28, 3, 5), (32, 4, 3), (176, 5, 11), (20, 1, 11)]


def pair(side: int, channels: int = 1, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures and noisy, darker copies of them, in [0, 1]."""
    rng = np.random.default_rng(side)
    x = ndimage.gaussian_filter(rng.random((count, channels, side, side)), (0, 0, 2, 2))
    x = (x - x.min()) / (x.max() - x.min())
    y = np.clip(0.9 * x + rng.normal(0, 0.05, x.shape), 0, 1)
    return x.astype(np.float32), y.astype(np.float32)


def terms(x: np.ndarray, y: np.ndarray, window: int, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and contrast · structure of two (h, w) pictures, from variances and covariance about the mean."""
    taps = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(values: np.ndarray) -> np.ndarray:
        def both(v: np.ndarray) -> np.ndarray:
            return ndimage.correlate1d(ndimage.correlate1d(v, taps, 0, mode="constant"), taps, 1, mode="constant")

        if whole:  # what lies outside has no weight
            return both(values) / both(np.ones_like(values))
        r = window // 2
        return both(values)[r:-r, r:-r]

    x, y = x.astype(np.float64), y.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    c3 = c2 / 2
    sx, sy = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vy, 0))
    contrast = (2 * sx * sy + c2) / (vx + vy + c2)
    structure = (cov + c3) / (sx * sy + c3)
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1), contrast * structure


def halve(picture: np.ndarray) -> np.ndarray:
    h, w = (side // 2 * 2 for side in picture.shape)
    return picture[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


def derived(x: np.ndarray, y: np.ndarray, scales: int, window: int) -> float:
    weights = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    product = 1.0
    for scale, weight in enumerate(weights):
        light, rest = terms(x, y, window, whole=False)
        product *= (light * rest if scale == scales - 1 else rest).mean() ** weight
        x, y = halve(x), halve(y)
    return product


def derived_map(x: np.ndarray, y: np.ndarray, scales: int, window: int) -> np.ndarray:
    weights = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    side, product = len(x), np.ones_like(x, np.float64)
    for scale, weight in enumerate(weights):
        light, rest = terms(x, y, window, whole=True)
        value = np.maximum(light * rest if scale == scales - 1 else rest, 1e-6)
        product *= cv2.resize(value, (side, side), interpolation=cv2.INTER_LINEAR) ** weight
        x, y = halve(x), halve(y)
    return product


@pytest.mark.parametrize(("side", "scales", "window"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_ms_ssim_equals_a_derivation_of_its_own(side: int, scales: int, window: int, channels: int) -> None:
    x, y = pair(side, channels)
    got = MsSsim(side, scales=scales, window=window)(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    want = [np.mean([derived(x[n, c], y[n, c], scales, window) for c in range(channels)]) for n in range(len(x))]
    np.testing.assert_allclose(got, want, rtol=2e-4)
    assert np.all((got > 0.05) & (got < 0.99))  # so that it is not the trivial case that agrees


@pytest.mark.parametrize(("side", "scales", "window"), SIZES)
def test_the_map_equals_a_derivation_of_its_own(side: int, scales: int, window: int) -> None:
    x, y = pair(side, count=1)
    similarity = MsSsim(side, scales=scales, window=window)
    score, pixels = similarity.with_map(torch.from_numpy(x), torch.from_numpy(y))
    torch.testing.assert_close(score, similarity(torch.from_numpy(x), torch.from_numpy(y)), atol=1e-5, rtol=0)
    got = pixels.numpy()
    assert got.shape == (1, side, side)
    np.testing.assert_allclose(got[0], derived_map(x[0, 0], y[0, 0], scales, window), atol=2e-3)


def test_a_large_scale_is_convolved_to_the_same_value() -> None:
    """Value and gradient of the convolution are those of the product with a matrix."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((2, 3, 128, 128), generator=generator)
    found = []
    for convolved in (128, 129):
        y = torch.rand((2, 3, 128, 128), generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses, "CONVOLVED", convolved)
            value = losses.MsSsim(128, scales=3, window=11)(x, y)
        value.sum().backward()
        found.append((value.detach(), y.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "scales", "window"), SIZES)
def test_equal_images_have_one_and_others_less(side: int, scales: int, window: int) -> None:
    x, y = (torch.from_numpy(part) for part in pair(side))
    similarity = MsSsim(side, scales=scales, window=window)
    torch.testing.assert_close(similarity(x, x), torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(similarity.with_map(x, x)[1], torch.ones(2, side, side), atol=1e-4, rtol=0)
    torch.testing.assert_close(similarity(x, y), similarity(y, x))
    assert similarity(x, 1 - x).max() < similarity(x, y).min()


@pytest.mark.parametrize("case", ["black", "equal", "black and white", "negative"])
def test_gradients_are_finite_on_constant_and_on_inverted_images(case: str) -> None:
    x = torch.from_numpy(pair(28)[0]) if case == "negative" else torch.zeros(2, 1, 28, 28)
    y = {"black": x, "equal": x + 0.5, "black and white": x + 1, "negative": 1 - x}[case].clone().requires_grad_()
    similarity = MsSsim(28, scales=3, window=5)
    (similarity(x, y).sum() + similarity.with_map(x, y)[1].sum()).backward()
    assert torch.isfinite(y.grad).all()


def test_the_papers_local_weights() -> None:
    np.testing.assert_allclose(scale_weights(4), (0.0516, 0.3295, 0.3463, 0.2726), atol=2e-4)
    assert sum(scale_weights(5)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((28, 4, 5), "3 px at scale 4"),
        ((256, 6, 11), "1 to 5 scales, got 6"),
        ((28, 3, 4), "odd"),
        ((28, 0, 3), "got 0"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(arguments: tuple[int, int, int], message: str) -> None:
    side, scales, window = arguments
    with pytest.raises(UsageError, match=message):
        MsSsim(side, scales=scales, window=window)


def test_the_absolute_error_is_not_signed() -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    y = x + torch.tensor([[0.1, -0.1], [0.3, -0.3]])
    assert mean_absolute_error(x, y).item() == pytest.approx(0.2)


def test_mixtures_are_of_the_batch_and_its_reverse() -> None:
    z = torch.tensor([[0.0, 0.0], [10.0, 20.0], [2.0, 4.0]])
    mixed = interpolate(z, torch.tensor([0.5, 0.3, 0.0]))
    torch.testing.assert_close(mixed, torch.tensor([[1.0, 2.0], [10.0, 20.0], [0.0, 0.0]]))


def test_the_critics_error_by_hand() -> None:
    answers = torch.tensor([0.4, 0.1, 0.3, -0.1])  # two mixtures, two that are not mixed
    targets = torch.tensor([0.2, 0.4, 0.0, 0.0])
    mixtures, unmixed = (0.2**2 + 0.3**2) / 2, (0.3**2 + 0.1**2) / 2
    assert critic_error(answers, targets).item() == pytest.approx(mixtures + unmixed)


@pytest.mark.parametrize(("spread", "floor"), [(3.0, 1.0), (0.01, 1.0), (0.01, 1e-6)])
def test_the_e_step_equals_numpy_and_takes_the_new_mean(spread: float, floor: float) -> None:
    z = np.random.default_rng(1).normal(4, spread, (200, 6)).astype(np.float32)
    gaussian = Gaussian(6)
    gaussian.estimate(torch.from_numpy(z), kappa=0.5, floor=floor)
    mu = z.astype(np.float64).mean(axis=0)
    squared = max(floor, 0.5 * ((z - mu) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(gaussian.mu.numpy(), mu, rtol=1e-6)
    assert gaussian.sigma.item() == pytest.approx(np.sqrt(squared), rel=1e-5)
    want = 1 - np.exp(-((z - mu) ** 2).sum(axis=1) / squared)
    np.testing.assert_allclose(gaussian(torch.from_numpy(z)).numpy(), want, atol=1e-4)


def test_a_share_of_the_e_step_goes_part_of_the_way() -> None:
    z = np.random.default_rng(2).normal(1, 2, (50, 4)).astype(np.float32)
    gaussian = Gaussian(4)
    gaussian.estimate(torch.from_numpy(z), kappa=0.5, floor=1.0, share=0.25)
    mu = 0.25 * z.mean(axis=0)
    squared = 0.75 * 1.0 + 0.25 * 0.5 * ((z - mu) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(gaussian.mu.numpy(), mu, rtol=1e-5)
    assert gaussian.sigma.item() == pytest.approx(np.sqrt(squared), rel=1e-5)
