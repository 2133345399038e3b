"""IGD's options of a training."""

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
    """Options of a training.

    None stands for a value that suits the size of the images; the task's own `options` have the number.

    Attributes:
        epochs: Passes over the training images (paper: 128; fewer here, for a processor).
        patience: Without effect, since the last weights are kept.
        batch: Images in a batch (paper: 64). None: 32, or 16 from 64 px on, since few epochs need many steps.
        learning_rate: Highest learning rate of Adam (paper: 1e-4, for 128 epochs).
        schedule: "one_cycle", for few epochs, or "polynomial" (paper: to 0; its power is not stated, 0.9 here).
        weight_decay: Weight decay of Adam (paper).
        width: Channels of the first block (paper: 128). None: 16, or 8 from 64 px on.
        descriptor: Length of z (paper).
        rho: Share of the absolute error in ℓ_m (paper).
        xi: Share of ℓ_m in the score (paper).
        beta: Share of the global branch (paper, for MVTec AD); without effect below 64 px.
        critic: Weight lambda of the critic in the autoencoder's loss (paper).
        zeta: Share of the image in the mixture that the critic should call unmixed (paper).
        kappa: Share of the mean squared distance in sigma² (paper).
        floor: Smallest sigma² (paper).
        svdd: Weight of ℓ_h against ℓ_m, in the loss and in the score (paper: 1). From scratch, an encoder that no
            teacher holds would at 1 pull all descriptors together before it has learned to reconstruct. It rises from 0
            over the first epoch.
        balance: How the score weighs ℓ_m against ℓ_h: "normal", each in units of its standard deviation over held-out
            normal images, or "loss", by `svdd` as in the loss (paper, with 1). Which of two losses is larger does not
            show which is more informative.
        noise: Standard deviation of the noise on each element of z in training, 0 for none (paper: none). Without noise
            the encoder can shrink z and the decoder enlarge it, and ℓ_h is not informative.
        follow: Share of the way that mu and sigma² move to each batch's estimate between E steps, 0 for none (paper).
            This is the incremental EM of Neal and Hinton: at high learning rates z moves away from a mu that is fixed
            for an epoch, to where ℓ_h has no gradient.
        e_step_epochs: Epochs from one E step over all training images to the next (public code: 10 of 128).
        interpolated: Share of each batch from which mixtures are made (paper: all; fewer are cheaper).
        scales: Scales of MS-SSIM on the whole image. None: 3, or the paper's 5 from 176 px on.
        window: Taps of its window. None: 5, or 11 from 176 px on.
        patches: Random patches of each image that the local branch learns from in one epoch.
        pooling: "mean" (paper) or "peak", the highest location of the anomaly map.
        teacher: A backbone trained on ImageNet that the encoders have or learn from, see `Teacher`. None: no teacher.
        distill_epochs: Epochs before the others in which the encoders learn the teacher's features (paper, equation 10:
            50 000 steps); a linear layer to the descriptor follows. 0: the teacher itself encodes, frozen.
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
    distill_epochs: int = 0

    def for_side(self, side: int) -> IgdOptions:
        """Return the options with numbers that suit images of this side instead of None.

        Raises:
            UsageError: A number is out of range.
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
        weights = {
            name: getattr(chosen, name) for name in ("critic", "svdd", "noise", "weight_decay", "distill_epochs")
        }
        positive = {name: getattr(chosen, name) for name in ("learning_rate", "kappa", "floor")}
        wrong = [
            *(f"{name} must be at least 1, got {value}" for name, value in counts.items() if value < 1),
            *(f"{name} must be in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1),
            *(f"{name} must not be negative, got {value}" for name, value in weights.items() if value < 0),
            *(["distill_epochs needs a teacher"] if chosen.distill_epochs and not chosen.teacher else []),
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
"""Options of the image benchmarks. None was chosen by looking at anomalies of a test set."""
