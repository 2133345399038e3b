"""IGD's training: the E and the M step, validation, and the recipe for video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.bundle import InputSpec, ScoreSpec, TilingSpec
from streamad.detectors.igd.losses import critic_error, interpolate
from streamad.detectors.igd.network import MAP_SIDE, PATCH, SHAPE, Branch, Encoder, IgdNet, to_patches
from streamad.detectors.igd.options import PRESETS, IgdOptions
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.training.compute import Compute, one_cycle, set_learning_rate
from streamad.training.frame_recipe import FrameRecipe
from streamad.training.loop import ImageTask
from streamad.training.plan import OpenClip, TrainingPlan
from streamad.training.recipe import MEDIAN_SECONDS

Images = npt.NDArray[np.uint8]
BATCH_PIXELS = 256 * 32 * 32
"""Pixels that are scored or encoded together."""


@dataclass
class IgdTask(ImageTask):
    """One training of IGD on images or on the frames of a video, run by the common loop.

    Args:
        images: (n, channels, side, side) uint8 normal images; may be a memory map.
        validation: (m, channels, side, side) uint8 held-out normal images.
        options: Options of the training; the attribute has numbers instead of None.
        seed: Seed of the weights.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: Images are not square or have an unsupported size, an option is out of range, or the teacher is not
            installed.
        EngineError: The device is not available.
    """

    images: Images
    validation: Images
    options: IgdOptions = field(default_factory=IgdOptions)
    seed: int = 17
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, given in (("images", self.images), ("validation", self.validation)):
            if given.ndim != 4 or given.shape[2] != given.shape[3] or given.dtype != np.uint8 or not len(given):
                raise UsageError(
                    f"IGD's {name} must be (n, channels, side, side) uint8 with n ≥ 1, got {given.shape} {given.dtype}"
                )
        if self.images.shape[1:] != self.validation.shape[1:]:
            raise UsageError(
                f"IGD's validation must have the images' shape {self.images.shape[1:]}, got {self.validation.shape[1:]}"
            )
        channels, side = self.images.shape[1:3]
        self.options = options = self.options.for_side(side)
        self.compute = Compute(self.device)
        torch.manual_seed(self.seed)
        shape = {name: getattr(options, name) for name in (*SHAPE, "balance")}
        net = IgdNet(channels, side, pretrained=True, **shape)
        # One critic per branch, on images of its size (source: paper).
        self._critics = nn.ModuleList(
            Encoder(channels, branch.similarity.side, cast(int, options.width), 1) for branch in _branches(net)
        )
        self._net = cast(IgdNet, self.compute.place(net))
        self.network = self._net
        self.compute.place(self._critics)
        self.networks = {"network": self._net, "critic": self._critics}
        self.samples_per_epoch = len(self.images)
        learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self._autoencoder_steps, self._critic_steps = (
            torch.optim.Adam(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
            for parameters in (learned, list(self._critics.parameters()))
        )
        self.optimizers = {"autoencoder": self._autoencoder_steps, "critic": self._critic_steps}
        self._steps_done = 0

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make the M step on the given images: one step of the autoencoders, one of the critics.

        Returns:
            The autoencoders' loss: ℓ_m + lambda · d(mixture)² + ℓ_h, for both branches together.
        """
        self._steps_done = step + 1
        rate = self._rate(step)
        for optimizer in self.optimizers.values():
            set_learning_rate(optimizer, rate)
        self._net.train()
        self._critics.train()
        pixels = self.images[rows]
        inputs = [pixels] if self._net.patch is None else [pixels, self._random_patches(pixels, rng)]
        ramp = min(1.0, step / self.steps_per_epoch)
        loss = torch.zeros((), device=self.compute.device)
        compared = []
        for branch, critic, given in zip(_branches(self._net), self._critics, inputs, strict=True):
            count = len(given)
            alpha = rng.uniform(0, 0.5, self._mixtures(count)).astype(np.float32)
            noise = rng.normal(0, self.options.noise, (count, self.options.descriptor)).astype(np.float32)
            draws = self.compute.tensor(alpha), self.compute.tensor(noise)
            branch_loss, images, targets = self._losses(branch, critic, self._tensor(given), *draws, ramp=ramp)
            loss = loss + branch_loss
            if len(targets):
                compared.append((critic, images, targets))
        self.compute.descend(loss, self._autoencoder_steps)
        if compared:
            errors = []
            for critic, images, targets in compared:
                with self.compute.autocast():
                    answers = critic(images).float().squeeze(1)
                errors.append(critic_error(answers, targets))
            self.compute.descend(torch.stack(errors).sum(), self._critic_steps)
        return float(loss.detach())

    def validate(self) -> float:
        """Make the E step if it is due, and return minus the mean ℓ_m of the held-out normal images.

        The E step is made here, at the end of an epoch, so that the Gaussian belongs to the weights that are kept.
        """
        epoch = -(-self._steps_done // self.steps_per_epoch)
        if epoch <= 1 or epoch % self.options.e_step_epochs == 0 or epoch >= self.options.epochs:
            self.estimate()
        if self.options.balance == "normal":
            self._measure_units()
        return -float(self.score_images(self.validation)["reconstruction"].mean())

    def estimate(self) -> None:
        """Make the E step: mu and sigma of each branch from all training images, as they are scored (evaluation mode).

        The local branch uses `patches` patches of each image, always the same ones.
        """
        self._net.eval()
        draws = np.random.default_rng(self.seed)
        found: list[list[Tensor]] = [[] for _ in _branches(self._net)]
        with torch.inference_mode():
            for x in self._batches(self.images):
                found[0].append(self._net.whole.encoder(x))
                if self._net.patch is not None:
                    patches = (x.shape[-1] // PATCH) ** 2
                    taken = draws.permuted(np.tile(np.arange(patches), (len(x), 1)), axis=1)[:, : self.options.patches]
                    numbers = torch.from_numpy((taken + patches * np.arange(len(x))[:, None]).ravel()).to(x.device)
                    found[1].append(self._net.patch.encoder(to_patches(x)[numbers]))
        for branch, descriptors in zip(_branches(self._net), found, strict=True):
            branch.gaussian.estimate(torch.cat(descriptors), kappa=self.options.kappa, floor=self.options.floor)

    def _measure_units(self) -> None:
        """Measure the units of the score's two parts: their spread over the held-out normal images, as scored."""
        self._net.units.fill_(1.0)
        parts = self.score_images(self.validation)
        spreads = [float(parts[name].std()) for name in ("reconstruction", "svdd")]
        self._net.units.copy_(torch.tensor([max(spread, _SMALLEST_UNIT) for spread in spreads]))

    def score_images(self, images: Images) -> dict[str, npt.NDArray[np.float64]]:
        """Score images, each score (n,); "combined" is the headline score.

        Args:
            images: (n, channels, side, side) uint8.
        """
        self._net.eval()
        with torch.inference_mode():
            found = [[part.double().cpu().numpy() for part in self._net.parts(x)[:3]] for x in self._batches(images)]
        combined, reconstruction, svdd = (np.concatenate(part) for part in zip(*found, strict=True))
        return {"combined": combined, "reconstruction": reconstruction, "svdd": svdd}

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record."""
        channels, side = self.images.shape[1:3]
        return {"detector": "igd", "channels": channels, "side": side, **asdict(self.options)}

    def _losses(
        self, branch: Branch, critic: nn.Module, x: Tensor, alpha: Tensor, noise: Tensor, *, ramp: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a branch's loss, and what its critic learns from: images and their alphas."""
        count = len(alpha)
        with self.compute.autocast():
            z = branch.encoder(x)
            noisy = z + noise
            pictures = branch.decoder(torch.cat([noisy, interpolate(noisy[:count], alpha)]))
        z, pictures = z.float(), pictures.float()  # MS-SSIM needs more than half precision
        y, mixtures = pictures[: len(x)], pictures[len(x) :]
        loss = branch.reconstruction_loss(x, y).mean()
        branch.gaussian.estimate(
            z.detach(),
            kappa=self.options.kappa,
            floor=self.options.floor,
            share=1.0 if ramp == 0 else self.options.follow,
        )
        if self.options.svdd:
            loss = loss + self.options.svdd * ramp * branch.gaussian(z).mean()
        if not count:
            return loss, x[:0], alpha
        critic.requires_grad_(False)
        with self.compute.autocast():
            guessed = critic(mixtures).float().squeeze(1)
        critic.requires_grad_(True)
        zeta = self.options.zeta
        unmixed = zeta * x[:count] + (1 - zeta) * y[:count]
        images = torch.cat([mixtures, unmixed]).detach()
        return loss + self.options.critic * guessed.square().mean(), images, torch.cat([alpha, torch.zeros_like(alpha)])

    def _rate(self, step: int) -> float:
        steps = self.options.epochs * self.steps_per_epoch
        if self.options.schedule == "one_cycle":
            return one_cycle(step, steps, self.options.learning_rate)
        return float(self.options.learning_rate * max(0.0, 1 - step / steps) ** 0.9)

    def _mixtures(self, images: int) -> int:
        wanted = round(self.options.interpolated * images)
        return wanted if wanted >= 2 else 0  # a single image has no other to mix with

    def _random_patches(self, pixels: Images, rng: np.random.Generator) -> Images:
        places = rng.integers(0, pixels.shape[2] - PATCH + 1, (len(pixels), self.options.patches, 2))
        return np.stack(
            [image[:, y : y + PATCH, x : x + PATCH] for image, at in zip(pixels, places, strict=True) for y, x in at]
        )

    def _tensor(self, pixels: Images) -> Tensor:
        return self.compute.tensor(pixels.astype(np.float32) / np.float32(255))

    def _batches(self, images: Images) -> Iterator[Tensor]:
        size = max(1, BATCH_PIXELS // images.shape[2] ** 2)
        for start in range(0, len(images), size):
            yield self._tensor(images[start : start + size])


_SMALLEST_UNIT = 1e-6
"""ℓ_h can be almost zero, but a unit of the score must not be."""


def image_task(
    images: Images, validation: Images, *, data_set: str, seed: int, device: str = "cpu", options: Mapping[str, Any]
) -> IgdTask:
    """See `Detector.image_task`."""
    chosen = parse_options(IgdOptions, {**PRESETS.get(data_set, {}), **options}, "igd")
    return IgdTask(images, validation, chosen, seed, device)


def _branches(net: IgdNet) -> list[Branch]:
    return [net.whole] if net.patch is None else [net.whole, net.patch]


SCALE = 255.0
"""IGD's networks take pixels from 0 to 1."""

POOLING = "peak"
"""On video, a frame's score is the highest location of its anomaly map: the mean over a frame hardly changes for an
object that covers a hundredth of it. The paper, on images, uses the mean."""


class IgdRecipe(FrameRecipe):
    """IGD on video: single frames, reconstructed and described."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        self.task: IgdTask = self._make_task(parse_options(IgdOptions, {"pooling": POOLING, **plan.overrides}, "igd"))

    @property
    def samples(self) -> int:
        """Number of frames."""
        return len(self.pixels)

    @property
    def evaluated(self) -> int:
        """The training frames, which are encoded again, and the held-out ones, which are scored twice."""
        return len(self.pixels) + 2 * len(self.held_pixels)

    def shorten(self, epochs: int, steps: int) -> None:
        """See `Recipe.shorten`; the same share of the held-out frames is kept."""
        before = self.task.steps_per_epoch
        if steps < before:
            rng = np.random.default_rng(self.plan.seed)
            self.pixels = self._some(self.pixels, steps * self.batch, rng)
            self.held_pixels = self._some(
                self.held_pixels, max(self.batch, len(self.held_pixels) * steps // before), rng
            )
        self.task = self._make_task(replace(self.task.options, epochs=epochs))

    @staticmethod
    def _some(frames: npt.NDArray[np.uint8], count: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        return frames[np.sort(rng.permutation(len(frames))[:count])]

    def _make_task(self, options: IgdOptions) -> IgdTask:
        plan = self.plan
        return IgdTask(self.pixels[:, None], self.held_pixels[:, None], options, plan.seed, plan.device)

    def exported(self) -> nn.Module:
        """Return autoencoder and descriptor with score and anomaly map."""
        return self.task.network

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, 1, side, side) held-out frames."""
        frames = self.held_pixels[:: max(1, len(self.held_pixels) // 16)][:16, None].astype(np.float32)
        return (frames / np.float32(SCALE)).astype(np.float32)

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        median = max(1, round(MEDIAN_SECONDS * self.plan.fps))
        score = ScoreSpec(kind="map", heat_cell=max(1, self.plan.side // MAP_SIDE), median_frames=median)
        tiling = TilingSpec(kind="clips", window=1)
        title = f"IGD on whole frames, {self.plan.data}"
        return title, self._input(1, SCALE, 0.0), tiling, score, {"frames_kept": len(self.pixels)}


OPTIONS, RECIPE = IgdOptions, IgdRecipe
"""What `TrainedDetector` looks for in this module, next to `image_task`."""
