"""ALPS's training: the two opposing steps, the scores, validation, and the recipe for video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.detectors.alps.network import SHAPE, AlpsNet, Mode, Score, squared_error
from streamad.detectors.base import NO_OPTIONS
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.training.compute import Compute, one_cycle, set_learning_rate
from streamad.training.patch_recipe import PatchRecipe, PatchTask, scaled
from streamad.training.plan import OpenClip, TrainingPlan

_SCORED_AT_ONCE = 256
_LATENTS = 4096
"""Training images whose latents define what is normal: enough for a covariance of any latent length in use."""

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]

PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {"contrast": True},
    "fashion-mnist": {"score": "weighted", "latent": 32},
    "cifar10": {"latent": 32},
    "mvtec": {"latent": 32},
}
"""Options that differ from the defaults, by data set. How much ink a digit has does not tell which one it is, so MNIST
gets equal contrast; the brightness of a garment, a photograph or a patch of video is content. Photographs vary in more
ways and get a longer latent, as in the authors' other code."""


@dataclass(frozen=True)
class AlpsOptions:
    """Options of a training.

    Attributes:
        mode: "alps"; or the paper's ablations "ae" (no perturbation) and "noise" (random perturbation only). All three
            run the same code.
        plain_term: Add the plain reconstruction's error to the perturbed one's in the autoencoder's loss. Off as in the
            thesis' equation 3.2, which has only the perturbed one; on, a step costs half as much again. Without effect
            for "ae", which has only the plain one.
        distorter_every: Number of steps per distorter step (paper: every n epochs; 3 from the authors' other code;
            steps instead of epochs because a short training has few epochs).
        epsilon: Bound of the distorter's perturbation, in standard deviations of each latent dimension. With all of 16
            dimensions at 0.25 it is as long as `noise` is along any one direction.
        noise: Normal noise added to the latents in training, in standard deviations of each latent dimension: the only
            perturbation in mode "noise", and added to the distorter's in mode "alps", since the autoencoder could learn
            to cancel a fixed function of the image (paper: 0). Never added when scoring.
        bounded: Bound the distorter's output; see `AlpsNet`.
        contrast: Bring every image to the same mean and contrast first; see `equal_contrast`.
        score: "perturbed" (paper), or "weighted": the same times the latent's distance from the normal ones.
        width: Channels of the widest layers; even.
        latent: Length of the latent vector.
        batch: Images in a batch.
        rate: Highest learning rate of the autoencoder (Adam, one cycle).
        distorter_rate: The same for the distorter. With Adam, a weight on a loss has no effect; the two rates balance
            the networks.
        epochs: Epochs of the cycle.
        patience: Without effect, since the last weights are the result (see `AlpsTask`); for the common interface.

    Raises:
        UsageError: A value is out of range.
    """

    mode: Mode = "alps"
    plain_term: bool = False
    distorter_every: int = 3
    epsilon: float = 0.25
    noise: float = 1.0
    bounded: bool = True
    contrast: bool = False
    score: Score = "perturbed"
    width: int = 32
    latent: int = 16
    batch: int = 32
    rate: float = 2e-3
    distorter_rate: float = 1e-3
    epochs: int = 16
    patience: int = 16

    def __post_init__(self) -> None:
        for name in ("distorter_every", "latent", "batch", "epochs", "patience"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("epsilon", "rate", "distorter_rate"):
            _require(0 < getattr(self, name) < float("inf"), name, getattr(self, name), "a number above 0")
        _require(0 <= self.noise < float("inf"), "noise", self.noise, "a number from 0 on")
        _require(self.width >= 2 and self.width % 2 == 0, "width", self.width, "an even number, at least 2")
        _require(self.mode in ("alps", "ae", "noise"), "mode", self.mode, "alps, ae or noise")
        _require(self.score in ("perturbed", "weighted"), "score", self.score, "perturbed or weighted")


@dataclass
class AlpsTask(PatchTask):
    """One training of ALPS on images or on patches of video, run by the common loop.

    In every step, the autoencoder learns to reconstruct under the distorter's perturbations. In every third step,
    before that and on the same batch, the distorter learns to perturb more harmfully. In the distorter's step the
    autoencoder is frozen, with its BatchNorm statistics. In the autoencoder's step the distorter is frozen and runs in
    evaluation mode, so that the autoencoder meets the perturbations that it will be scored with.

    The last weights are kept. The perturbed error does not show which of two epochs is better, since the distorter grew
    stronger between them; and the learning rate is lowest at the end.

    Source: the two objectives, paper (equation 3.2 of the thesis). Order and freezing are not stated there.

    Args:
        images: (n, channels, side, side) uint8, normal.
        validation: The same, held out.
        options: Options of the training.
        seed: Seed of the weights.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: Images of an unsupported shape or type.
        EngineError: The device is not available.
    """

    images: Images
    validation: Images
    options: AlpsOptions = field(default_factory=AlpsOptions)
    seed: int = 17
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, images in (("images", self.images), ("validation", self.validation)):
            if images.ndim != 4 or images.shape[2] != images.shape[3] or images.dtype != np.uint8 or not len(images):
                raise UsageError(
                    f"ALPS takes (n, channels, side, side) uint8 as {name}, got {images.shape} {images.dtype}",
                    hint="give square images, at least one",
                )
        if self.images.shape[1:] != self.validation.shape[1:]:
            raise UsageError(
                f"images are {self.images.shape[1:]} and validation images {self.validation.shape[1:]}",
                hint="give both in one shape",
            )
        chosen = self.options
        self.compute = Compute(self.device)
        torch.manual_seed(self.seed)
        channels, side = self.images.shape[1:3]
        self._net = AlpsNet(channels, side, **{name: getattr(chosen, name) for name in (*SHAPE, "score")})
        self.network = self.compute.place(self._net)
        self.networks = {"network": self.network}  # the distorter is part of it because it takes part in scoring
        self.samples_per_epoch = len(self.images)
        learned = [*self._net.encoder.parameters(), *self._net.decoder.parameters()]
        self.optimizers = {"autoencoder": _adam(learned, chosen.rate)}
        if self._net.distorter is not None:
            self.optimizers["distorter"] = _adam([*self._net.distorter.parameters()], chosen.distorter_rate)

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make one step of the autoencoder, after one of the distorter if it is due; return the autoencoder's loss."""
        images = self._net.prepare(self._input(self.images[rows]))
        self.network.train()
        with self.compute.autocast():
            latents: Tensor = self._net.encoder(images)
            scale: Tensor = self._net.scale(latents)
        steps = self.epochs * self.steps_per_epoch
        if "distorter" in self.optimizers and step % self.options.distorter_every == 0:
            set_learning_rate(self.optimizers["distorter"], one_cycle(step, steps, self.options.distorter_rate))
            self._distorter_step(images, latents.detach(), scale.detach(), rng)
        set_learning_rate(self.optimizers["autoencoder"], one_cycle(step, steps, self.options.rate))
        return self._autoencoder_step(images, latents, scale, rng)

    def validate(self) -> float:
        """Return minus the mean score of held-out normal images; no labels are used."""
        if self._net.normal is not None:
            self._net.normal.fit(self._latents(self.images[:_LATENTS]))
        return -float(self.score_images(self.validation)[self._headline].mean())

    def lowest_normal(self) -> float:
        """Return the 1st percentile of the score over held-out normal images, which scores a frame without movement."""
        return float(np.quantile(self.score_images(self.validation)[self._headline], 0.01))

    def score_images(self, images: Images) -> dict[str, Scores]:
        """Score images; the first score is the headline score, fixed beforehand.

        "perturbed" and "plain" are the mean squared errors of the two reconstructions. "mean" is their mean ("averaging
        between the two losses before scaling" in the paper; the scaling itself changes no order and is omitted).
        "mean_scaled" is the mean of the two after each was scaled to [0, 1] by its lowest and highest value among the
        given images. It depends on the other images and serves offline comparison only. The paper reports the best of
        its scores, chosen on labeled data; here none is chosen.
        "weighted", if selected, is "perturbed" times the distance of the latent from the normal ones.

        Modes "ae" and "noise" have only "plain" (and "weighted"): no noise is added when scoring.

        Args:
            images: (n, channels, side, side) uint8.

        Returns:
            (n,) of each score, higher is more anomalous.

        Raises:
            UsageError: Images of another shape or type than those trained on.
        """
        if images.shape[1:] != self.images.shape[1:] or images.dtype != np.uint8:
            raise UsageError(
                f"this network scores (n, {', '.join(map(str, self.images.shape[1:]))}) uint8, "
                f"got {images.shape} {images.dtype}",
                hint="give images like those trained on",
            )
        errors = self._errors(images)
        if self._net.distorter is not None:
            perturbed, plain = errors["perturbed"], errors["plain"]
            errors["mean"] = (perturbed + plain) / 2
            errors["mean_scaled"] = (_scaled(perturbed) + _scaled(plain)) / 2
        return {self._headline: errors.pop(self._headline), **errors}

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record; it defines the networks' shape."""
        channels, side = self.images.shape[1:3]
        return {"detector": "alps", "channels": channels, "side": side, **asdict(self.options)}

    def _distorter_step(self, images: Tensor, latents: Tensor, scale: Tensor, rng: np.random.Generator) -> None:
        self._net.decoder.requires_grad_(False)  # avoids computing unused gradients
        noisy = latents + self._noise(scale, len(images), rng)
        with self.compute.autocast():
            distorted = self._net.decoder(noisy + self._net.perturb(images, scale))
        self.compute.descend(-squared_error(images, distorted).mean(), self.optimizers["distorter"])
        self._net.decoder.requires_grad_(True)

    def _autoencoder_step(self, images: Tensor, latents: Tensor, scale: Tensor, rng: np.random.Generator) -> float:
        given = [latents]
        if self.options.mode != "ae":
            perturbed = latents + self._perturbation(images, scale, rng)
            given = [perturbed, latents] if self.options.plain_term else [perturbed]
        with self.compute.autocast():
            decoded = self._net.decoder(torch.cat(given))
        loss = torch.stack([squared_error(images, part).mean() for part in decoded.chunk(len(given))]).sum()
        self.compute.descend(loss, self.optimizers["autoencoder"])
        return float(loss.detach())

    def _perturbation(self, images: Tensor, scale: Tensor, rng: np.random.Generator) -> Tensor:
        perturbation = self._noise(scale, len(images), rng)
        if self._net.distorter is None:
            return perturbation
        self._net.distorter.eval()
        with torch.no_grad(), self.compute.autocast():
            learned = self._net.perturb(images, torch.ones_like(scale))
        return perturbation + (scale * learned if self.options.bounded else learned)

    def _noise(self, scale: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        drawn = rng.standard_normal((count, self.options.latent), dtype=np.float32)
        return self.options.noise * scale * self.compute.tensor(drawn)

    @property
    def _headline(self) -> str:
        if self._net.normal is not None:
            return "weighted"
        return "plain" if self._net.distorter is None else "perturbed"

    def _errors(self, images: Images) -> dict[str, Scores]:
        """Return (n,) of each score that is not derived from others."""
        self.network.eval()
        parts: list[dict[str, Tensor]] = []
        with torch.no_grad():
            for start in range(0, len(images), _SCORED_AT_ONCE):
                seen = self._net.prepare(self._input(images[start : start + _SCORED_AT_ONCE]))
                found = {"plain": squared_error(seen, self._net.reconstruct(seen))}
                if self._net.distorter is not None:
                    found["perturbed"] = squared_error(seen, self._net.reconstruct(seen, perturbed=True))
                if self._net.normal is not None:
                    error = found.get("perturbed", found["plain"])
                    found["weighted"] = error * self._net.normal(self._net.encoder(seen))
                parts.append(found)
        return {name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in parts[0]}

    def _latents(self, images: Images) -> Tensor:
        """Return the (n, latent) latents of the network as it scores."""
        self.network.eval()
        with torch.no_grad():
            return torch.cat(
                [
                    self._net.encoder(self._net.prepare(self._input(images[start : start + _SCORED_AT_ONCE])))
                    for start in range(0, len(images), _SCORED_AT_ONCE)
                ]
            )

    def _input(self, images: Images) -> Tensor:
        return self.compute.tensor(scaled(images))


def image_task(
    images: Images,
    validation: Images,
    *,
    data_set: str,
    seed: int,
    device: str = "cpu",
    options: Mapping[str, Any] = NO_OPTIONS,
) -> AlpsTask:
    """See `Detector.image_task`; a data set without a preset is refused."""
    if data_set not in PRESETS:
        raise UsageError(f"ALPS has no preset for {data_set!r}; known: {', '.join(PRESETS)}")
    chosen = parse_options(AlpsOptions, {**PRESETS[data_set], **options}, "alps")
    return AlpsTask(images, validation, chosen, seed, device)


def _adam(learned: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    # Betas as in the authors' other code: a short memory suits opposing losses.
    return torch.optim.Adam(learned, lr=rate, betas=(0.5, 0.9), fused=True)


def _require(holds: bool, name: str, given: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"alps, option {name}: got {given!r}, expected {wanted}")


def _scaled(values: Scores) -> Scores:
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


class AlpsRecipe(PatchRecipe):
    """ALPS on video: a patch reconstructed from its perturbed latent."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        self.task: AlpsTask = self._make_task(parse_options(AlpsOptions, plan.overrides, "alps"))

    def exported(self) -> nn.Module:
        """Return encoder, distorter and decoder with the perturbed error."""
        return self.task.network

    def _make_task(self, options: AlpsOptions) -> AlpsTask:
        return AlpsTask(self.stacks, self.held_stacks, options, self.plan.seed, self.plan.device)


OPTIONS, RECIPE = AlpsOptions, AlpsRecipe
"""What `TrainedDetector` looks for in this module, next to `image_task`."""
