"""IGD's losses: MS-SSIM for images and for pixels, mean absolute error, the critic's error, the Gaussian SVDD."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamad.errors import UsageError

WANG_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (source: paper, after Wang, Simoncelli and Bovik 2003)."""
WINDOW_SIGMA = 1.5
"""Standard deviation of the Gaussian window, pixels (source: Wang et al. 2004)."""
C1, C2 = 0.01**2, 0.03**2
"""(0.01·L)² and (0.03·L)², with L the range of the pixels, here 1; the paper's 4.7579 is that of its standardized input
(source: paper, after Wang et al. 2004)."""
CONVOLVED = 128
"""Smallest side of a scale, pixels, for which a convolution is faster than a product with a banded matrix."""
SMALLEST = 1e-6
"""Smallest contrast-structure and luminance: negative numbers have no power, and at 0 its gradient is infinite."""


def scale_weights(scales: int) -> tuple[float, ...]:
    """Return the weights of the finest `scales` scales, in the proportions of Wang et al., with the sum 1.

    For four scales they are the paper's local weights (0.0516, 0.3295, 0.3463, 0.2726) to three decimals.

    Raises:
        UsageError: There are no weights for this number of scales.
    """
    if not 1 <= scales <= len(WANG_WEIGHTS):
        raise UsageError(
            f"MS-SSIM is defined for 1 to {len(WANG_WEIGHTS)} scales, got {scales}", hint="change `scales`"
        )
    taken = WANG_WEIGHTS[:scales]
    return tuple(weight / sum(taken) for weight in taken)


def check_window(side: int, scales: int, window: int) -> None:
    """Check that the window fits into the coarsest scale.

    Args:
        side: Side of the image, pixels.
        scales: Number of scales; each halves the side (rounded down).
        window: Taps of the window, odd.

    Raises:
        UsageError: The window is even, or larger than the image at the coarsest scale.
    """
    scale_weights(scales)
    if window < 3 or window % 2 == 0:
        raise UsageError(f"the window of MS-SSIM must be an odd number of at least 3 pixels, got {window}")
    coarsest = side >> (scales - 1)
    if coarsest < window:
        raise UsageError(
            f"images of {side} px are {coarsest} px at scale {scales} of {scales}, less than the window of {window} px",
            hint="use fewer `scales`, a smaller `window` or larger images",
        )


def mean_absolute_error(x: Tensor, y: Tensor) -> Tensor:
    """Return the (n,) mean of |x − y| over channels and pixels of (n, c, h, w) images; in [0, 1] if they are.

    The paper's L1 distance, as a mean, so that it does not depend on the size of the image.
    """
    return (x - y).abs().mean(dim=(1, 2, 3))


def interpolate(z: Tensor, alpha: Tensor) -> Tensor:
    """Return mixtures alpha · z + (1 − alpha) · z of the batch in reverse order.

    Source: paper; mixing along the batch, public code.

    Args:
        z: (n, length).
        alpha: (n,) in [0, 0.5].
    """
    share = alpha[:, None]
    return share * z + (1 - share) * z.flip(0)


def critic_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return ℓ_d, the mean over both halves: (d(mixture) − alpha)² + d(unmixed)² (source: paper, equation 5).

    Args:
        answers: (2k,) outputs of the critic for k mixtures, then for k images that are not mixed.
        targets: (2k,) the k alphas, then k zeros.
    """
    return 2 * (answers - targets).square().mean()


class Gaussian(nn.Module):
    """The Gaussian SVDD: h(z) = exp(−‖z − mu‖² / sigma²) (source: paper, equation 7).

    Attributes:
        mu: (length,) mean of the descriptors.
        sigma: Its width.
    """

    mu: Tensor
    sigma: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("mu", torch.zeros(length))
        self.register_buffer("sigma", torch.ones(()))

    def forward(self, descriptors: Tensor) -> Tensor:
        """Return ℓ_h = 1 − h(z): (n, length) to (n,) in [0, 1], 0 at the mean."""
        distance = (descriptors - self.mu).square().sum(dim=1)
        return 1 - torch.exp(-distance / self.sigma.square())

    @torch.no_grad()
    def estimate(self, descriptors: Tensor, *, kappa: float, floor: float, share: float = 1.0) -> None:
        """Make the E step: mu = mean z, sigma² = max(floor, kappa · mean ‖z − mu‖²) with the new mu (source: paper).

        Args:
            descriptors: (n, length) of training images.
            kappa: Share of the mean squared distance.
            floor: Smallest sigma².
            share: Share of the way that mu and sigma² move to the estimate.
        """
        z = descriptors.double()
        mu = torch.lerp(self.mu.double(), z.mean(dim=0), share)
        variance = (kappa * (z - mu).square().sum(dim=1).mean()).clamp_min(floor)
        self.mu.copy_(mu)
        self.sigma.copy_(torch.lerp(self.sigma.double().square(), variance, share).sqrt())


class MsSsim(nn.Module):
    """Multi-scale structural similarity of images of one size (source: Wang, Simoncelli and Bovik 2003).

    Each scale is filtered with a separable Gaussian window, as two products with a banded matrix: on a processor that
    is faster than a convolution for small images, and its gradient costs as little. `forward` convolves scales
    of 128 px and more, where that takes a third. Scales are averages of 2×2 pixels. Channels are compared separately,
    and the mean over them is the result, as is common.

    Args:
        side: Side of the images, pixels.
        scales: 1 to 5.
        window: Taps of the Gaussian window, odd; 11 in Wang et al.

    Raises:
        UsageError: The window does not fit into the coarsest scale.
    """

    def __init__(self, side: int, *, scales: int = 5, window: int = 11) -> None:
        super().__init__()
        check_window(side, scales, window)
        self.side = side
        self.weights = scale_weights(scales)
        self._edge = window // 2
        for scale in range(scales):
            inner, same = _window_matrices(side >> scale, window)
            # They follow from the arguments, so they are not stored with the weights.
            self.register_buffer(f"inner{scale}", torch.from_numpy(inner), persistent=False)
            self.register_buffer(f"same{scale}", torch.from_numpy(same), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compare each image pair.

        Args:
            x: (n, c, side, side) float32.
            y: The same shape.

        Returns:
            (n,) MS-SSIM in about [0, 1]; 1 for equal images.
        """
        product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
        for scale, weight in enumerate(self.weights):
            if scale:
                x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
            large = self.side >> scale >= CONVOLVED
            value = self._value(x, y, scale, getattr(self, f"inner{scale}"), convolve=large)
            product = product * _mean_power(value, weight)
        return product.mean(dim=1)

    def with_map(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compare each image pair as `forward` does, and around each pixel, for little more than the cost of one.

        The paper's equation 12 needs a score per pixel, but does not state how scales are combined there. Here each
        scale's map is enlarged to full size bilinearly, and at the border the window is cut off and normalized again.

        Args:
            x: (n, c, side, side) float32.
            y: The same shape.

        Returns:
            (n,) and (n, side, side), both in about [0, 1]; 1 if the images are equal.
        """
        size = (self.side, self.side)
        total, pixels = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device), torch.ones_like(x)
        for scale, weight in enumerate(self.weights):
            if scale:
                x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
            value = self._value(x, y, scale, getattr(self, f"same{scale}"))
            edge, rows = self._edge, value.shape[2]
            total = total * _mean_power(value[:, :, edge : rows - edge, edge : rows - edge], weight)
            value = value.clamp_min(SMALLEST)
            if scale:
                value = functional.interpolate(value, size=size, mode="bilinear", align_corners=False)
            pixels = pixels * value**weight
        return total.mean(dim=1), pixels.mean(dim=1)

    def _value(self, x: Tensor, y: Tensor, scale: int, matrix: Tensor, *, convolve: bool = False) -> Tensor:
        """Return contrast · structure at every window position, (n, c, rows, rows); coarsest scale: · luminance."""
        moments = torch.stack([x, y, x * x + y * y, x * y])  # both variances are needed only as their sum
        if convolve:
            filtered = _convolved(moments, matrix[0, : 2 * self._edge + 1])
        else:
            filtered = matrix @ moments @ matrix.transpose(0, 1)
        mean_x, mean_y, power, product = filtered.unbind(0)
        squares, cross = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
        structure = (2 * (product - cross) + C2) / (power - squares + C2)
        if scale < len(self.weights) - 1:
            return structure
        return structure * ((2 * cross + C1) / (squares + C1))


def _mean_power(values: Tensor, weight: float) -> Tensor:
    # The mean over the pixels is taken before the power (Wang et al. 2003).
    return values.mean(dim=(2, 3)).clamp_min(SMALLEST) ** weight


def _convolved(moments: Tensor, window: Tensor) -> Tensor:
    """Filter (m, n, c, h, w) with a separable (taps,) window, without borders, channel by channel."""
    m, n, c, h, w = moments.shape
    maps = moments.reshape(m, n * c, h, w)
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        maps = functional.conv2d(maps, window.reshape(shape).expand(n * c, *(-1,) * 3), groups=n * c)
    return maps.reshape(m, n, c, *maps.shape[2:])


def _window_matrices(side: int, window: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the window as (side − window + 1, side) and as (side, side) matrix; rows sum to 1."""
    distance = np.arange(side)[:, None] - np.arange(side)[None, :]
    same = np.where(np.abs(distance) <= window // 2, np.exp(-(distance**2) / (2 * WINDOW_SIGMA**2)), 0.0)
    same /= same.sum(axis=1, keepdims=True)
    inner = same[window // 2 : side - window // 2]
    return inner.astype(np.float32), same.astype(np.float32)
