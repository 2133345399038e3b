"""IGD's options: what is chosen for a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from streamad.errors import UsageError

LARGE = 64
"""Images of at least this side, pixels, get the four-block networks and, with beta below 1, the local branch."""
Pooling = Literal["mean", "peak"]
Balance = Literal["loss", "normal"]


@dataclass(frozen=True)
class IgdOptions:
    """What is chosen for a training.

    "None" stands for what suits the size of the images; the task's own `options` name the number.

    Attributes:
        epochs: passes over the training images (paper: 128; ours is for a processor).
        patience: without effect, since the last weights are kept.
        batch: images in a batch (paper: 64); None: 32, from 64 px on 16, since few epochs need many steps.
        learning_rate: highest rate of Adam (paper: 1e-4, for 128 epochs).
        schedule: "one_cycle" (ours, for few epochs) or "polynomial" (paper: to 0; power 0.9, our choice).
        weight_decay: of Adam (source: paper).
        width: channels of the first block (paper: 128); None: 16, from 64 px on 8.
        descriptor: length of z (source: paper).
        rho: share of the absolute error in ℓ_m (source: paper).
        xi: share of ℓ_m in the score (source: paper).
        beta: share of the global branch (source: paper, for MVTec AD); without effect below 64 px.
        critic: weight lambda of the critic in the autoencoder's loss (source: paper).
        zeta: share of the image in the mixture that the critic shall call unmixed (source: paper).
        kappa: share of the mean squared distance in sigma² (source: paper).
        floor: smallest sigma² (source: paper).
        svdd: weight of ℓ_h against ℓ_m, in the loss and in the score (paper: 1; ours, from scratch: at 1 an encoder
            that no teacher holds pulls all descriptors together before it has learned to reconstruct). It rises from 0
            over the first epoch.
        balance: how the score weighs ℓ_m against ℓ_h: "normal", each in units of its standard deviation over held-out
            normal images, or "loss", by `svdd` as in the loss (paper: as in the loss, 1; ours: which of two losses is
            larger says nothing of which tells more).
        noise: standard deviation of the noise on each element of z in training, 0 for none (our choice: without noise
            the encoder can shrink z and the decoder enlarge it, and ℓ_h says nothing).
        follow: share of the way that mu and sigma² go to each batch's estimate in between E steps, 0 for none (our
            choice, the incremental EM of Neal and Hinton: at our learning rates z moves away from a mu that stands
            still for an epoch, to where ℓ_h has no gradient).
        e_step_epochs: epochs from one E step over all training images to the next (public code: 10 of 128).
        interpolated: share of each batch of which mixtures are made (paper: all; ours is cheaper).
        scales: scales of MS-SSIM on the whole image; None: 3, from 176 px on the paper's 5.
        window: taps of its window; None: 5, from 176 px on 11.
        patches: random patches of each image that the local branch learns from in one epoch (our choice).
        pooling: "mean" (source: paper) or "peak", the highest cell of the heat map (our choice).
        teacher: a torchvision or timm backbone in place of the global encoder, None for none.
    """

    epochs: int = 6
    patience: int = 6
    batch: int | None = None
    learning_rate: float = 2e-3
    schedule: Literal["one_cycle", "polynomial"] = "one_cycle"
    weight_decay: float = 1e-6
    width: int | None = None
    descriptor: int = 128
    rho: float = 0.15
    xi: float = 0.5
    beta: float = 0.1
    critic: float = 0.1
    zeta: float = 0.2
    kappa: float = 0.5
    floor: float = 1.0
    svdd: float = 0.2
    balance: Balance = "normal"
    noise: float = 0.15
    follow: float = 0.05
    e_step_epochs: int = 1
    interpolated: float = 0.25
    scales: int | None = None
    window: int | None = None
    patches: int = 4
    pooling: Pooling = "mean"
    teacher: str | None = None

    def for_side(self, side: int) -> IgdOptions:
        """The same with numbers where None stands for what suits images of that side.

        Raises:
            UsageError: a number is out of its range.
        """
        large, paper = side >= LARGE, side >= 176  # 176 = 11 · 2⁴: the paper's window at its fifth scale
        chosen = replace(
            self,
            batch=self.batch if self.batch is not None else 16 if large else 32,
            width=self.width if self.width is not None else 8 if large else 16,
            scales=self.scales if self.scales is not None else 5 if paper else 3,
            window=self.window if self.window is not None else 11 if paper else 5,
            teacher=self.teacher or None,
        )
        counts = {name: getattr(chosen, name) for name in ("epochs", "batch", "e_step_epochs", "patches")}
        shares = {name: getattr(chosen, name) for name in ("rho", "xi", "beta", "zeta", "follow", "interpolated")}
        weights = {name: getattr(chosen, name) for name in ("critic", "svdd", "noise", "weight_decay")}
        positive = {name: getattr(chosen, name) for name in ("learning_rate", "kappa", "floor")}
        wrong = [
            *(f"{name} must be at least 1, got {value}" for name, value in counts.items() if value < 1),
            *(f"{name} must be in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1),
            *(f"{name} must not be negative, got {value}" for name, value in weights.items() if value < 0),
            *(f"{name} must be above 0, got {value}" for name, value in positive.items() if value <= 0),
        ]
        if wrong:
            raise UsageError(f"igd, options: {'; '.join(wrong)}")
        return chosen


PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {},
    "fashion-mnist": {},
    "cifar10": {},
    "mvtec": {"epochs": 64},
}
"""Options of the image benchmarks; nothing in them was chosen by looking at anomalies of a test set."""
