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
from streamad.detectors.igd.teacher import FrozenEncoder, Teacher, distillation_loss, teacher_terms
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
        self._teacher: Teacher | None = None
        if options.teacher and options.distill_epochs:
            self._teacher = cast(Teacher, self.compute.place(Teacher(options.teacher, channels, pretrained=True)))
            shape["teacher_features"] = self._teacher.length
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
        if self._teacher is not None:
            students = [parameter for features in self._frozen() for parameter in features.parameters()]
            self._student_steps = torch.optim.Adam(
                students, lr=options.learning_rate, weight_decay=DISTILLATION_WEIGHT_DECAY
            )
            self.optimizers["distillation"] = self._student_steps
        self._known: dict[nn.Module, Tensor] = {}
        self._steps_done = 0

    @property
    def epochs(self) -> int:
        """Epochs of distillation, and the others."""
        return self.options.distill_epochs + self.options.epochs

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make the M step on the given images: one step of the autoencoders, one of the critics.

        In the epochs of distillation, make a step of the encoders towards the teacher's features instead.

        Returns:
            The autoencoders' loss: ℓ_m + lambda · d(mixture)² + ℓ_h, for both branches together; in the epochs of
            distillation ℓ_KD.
        """
        self._steps_done = step + 1
        distillation = self.options.distill_epochs * self.steps_per_epoch
        if step < distillation:
            set_learning_rate(self._student_steps, self._rate(step, distillation))
            return self._distill(rows, rng)
        step -= distillation
        rate = self._rate(step, self.options.epochs * self.steps_per_epoch)
        for optimizer in (self._autoencoder_steps, self._critic_steps):
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
            x = self._tensor(given)
            z = self._descriptors(rows, x) if branch is self._net.whole else self._encode(branch, x)
            branch_loss, images, targets = self._losses(branch, critic, x, z, *draws, ramp=ramp)
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

        The E step is made here, at the end of an epoch, so that the Gaussian belongs to the weights that are kept. In
        the epochs of distillation, return minus ℓ_KD of these images.
        """
        epoch = -(-self._steps_done // self.steps_per_epoch) - self.options.distill_epochs
        if self._teacher is not None and epoch <= 0:
            return -self._distillation_error()
        if epoch <= 1 or epoch % self.options.e_step_epochs == 0 or epoch >= self.options.epochs:
            self.estimate()
        parts = self.score_images(self.validation)
        if self.options.balance == "normal":
            # The units of the score's two parts: their spread over the held-out normal images, as scored.
            spreads = [float(parts[name].std()) for name in ("reconstruction", "svdd")]
            self._net.units.copy_(torch.tensor([max(spread, _SMALLEST_UNIT) for spread in spreads]))
        return -float(parts["reconstruction"].mean())

    def estimate(self) -> None:
        """Make the E step: mu and sigma of each branch from all training images, as they are scored (evaluation mode).

        The local branch uses `patches` patches of each image, always the same ones.
        """
        self._net.eval()
        draws = np.random.default_rng(self.seed)
        found: list[list[Tensor]] = [[] for _ in _branches(self._net)]
        with torch.inference_mode():
            first = 0
            for x in self._batches(self.images):
                found[0].append(self._descriptors(np.arange(first, first + len(x)), x))
                first += len(x)
                if self._net.patch is not None:
                    patches = (x.shape[-1] // PATCH) ** 2
                    taken = draws.permuted(np.tile(np.arange(patches), (len(x), 1)), axis=1)[:, : self.options.patches]
                    numbers = torch.from_numpy((taken + patches * np.arange(len(x))[:, None]).ravel()).to(x.device)
                    found[1].append(self._net.patch.encoder(to_patches(x)[numbers]))
        for branch, descriptors in zip(_branches(self._net), found, strict=True):
            branch.gaussian.estimate(torch.cat(descriptors), kappa=self.options.kappa, floor=self.options.floor)

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

    def anomaly_maps(self, images: Images) -> npt.NDArray[np.float32]:
        """See `ImageTask.anomaly_maps`; 32×32 locations from 64 px on, else one a pixel."""
        self._net.eval()
        with torch.inference_mode():
            return np.concatenate([self._net.parts(x).anomaly_map.float().cpu().numpy() for x in self._batches(images)])

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record."""
        channels, side = self.images.shape[1:3]
        made = {"detector": "igd", "channels": channels, "side": side, **asdict(self.options)}
        if self._teacher is not None:
            made["teacher_features"] = self._teacher.length
        return made

    def _frozen(self) -> list[nn.Module]:
        """The features of each branch that do not learn with it: a teacher's, or those distilled from it."""
        encoders = [branch.encoder for branch in _branches(self._net)]
        return [encoder.features for encoder in encoders if isinstance(encoder, FrozenEncoder)]

    def _distill(self, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make a step of the encoders towards the teacher's features (source: paper, equation 10)."""
        assert self._teacher is not None
        x = self._tensor(self.images[rows])
        inputs = [x] if self._net.patch is None else [x, self._tensor(self._random_patches(self.images[rows], rng))]
        taught = [self._features(self._teacher)[rows], *(self._taught(patches) for patches in inputs[1:])]
        losses = []
        for student, given, features in zip(self._frozen(), inputs, taught, strict=True):
            student.train().requires_grad_(True)
            with self.compute.autocast():
                learned = student(given)
            losses.append(distillation_loss(features, learned.float()))
        loss = torch.stack(losses).sum()
        self.compute.descend(loss, self._student_steps)
        for student in self._frozen():
            student.eval().requires_grad_(False)
        return float(loss.detach())

    def _distillation_error(self) -> float:
        """ℓ_KD of the held-out normal images, whole and in patches that are always the same."""
        errors = []
        pixels = [self.validation]
        if self._net.patch is not None:
            pixels.append(self._random_patches(self.validation, np.random.default_rng(self.seed)))
        with torch.inference_mode():
            for student, given in zip(self._frozen(), pixels, strict=True):
                learned = torch.cat([student.eval()(x) for x in self._batches(given)])
                taught = torch.cat([self._taught(x) for x in self._batches(given)])
                errors.append(float(distillation_loss(taught, learned)))
        return sum(errors)

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
        assert self._teacher is not None
        taught: Tensor = self._teacher(x).float()
        return taught

    def _features(self, frozen: nn.Module) -> Tensor:
        """(n, length) features of all training images by a network that does not learn any more, computed once."""
        if frozen not in self._known:
            with torch.inference_mode(False), torch.no_grad():  # the linear layer's gradient needs ordinary tensors
                self._known[frozen] = torch.cat([frozen.eval()(x).float() for x in self._batches(self.images)])
        return self._known[frozen]

    def _descriptors(self, rows: npt.NDArray[np.intp], x: Tensor) -> Tensor:
        """Return the descriptors of whole training images, given by their numbers and as pixels."""
        encoder = self._net.whole.encoder
        if isinstance(encoder, FrozenEncoder):
            return cast(Tensor, encoder.head(self._features(encoder.features)[rows]))
        return self._encode(self._net.whole, x)

    def _encode(self, branch: Branch, x: Tensor) -> Tensor:
        with self.compute.autocast():
            return cast(Tensor, branch.encoder(x)).float()

    def _losses(
        self, branch: Branch, critic: nn.Module, x: Tensor, z: Tensor, alpha: Tensor, noise: Tensor, *, ramp: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a branch's loss, and what its critic learns from: images and their alphas."""
        count = len(alpha)
        with self.compute.autocast():
            noisy = z + noise
            pictures = branch.decoder(torch.cat([noisy, interpolate(noisy[:count], alpha)]))
        pictures = pictures.float()  # MS-SSIM needs more than half precision
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

    def _rate(self, step: int, steps: int) -> float:
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


DISTILLATION_WEIGHT_DECAY = 1e-5
"""Weight decay of Adam in the epochs of distillation (source: paper, section 4.2)."""

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
        distillation = min(self.task.options.distill_epochs, epochs // 2)
        self.task = self._make_task(
            replace(self.task.options, epochs=epochs - distillation, distill_epochs=distillation)
        )

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
        notes: dict[str, Any] = {"frames_kept": len(self.pixels)}
        if self.task.options.teacher:
            notes["teacher_terms"] = teacher_terms(self.task.options.teacher)
        return title, self._input(1, SCALE, 0.0), tiling, score, notes


OPTIONS, RECIPE = IgdOptions, IgdRecipe
"""What `TrainedDetector` looks for in this module, next to `image_task`."""
