"""Learned noise: training of the reconstructor F and the noise generator G, and the recipe for video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.bundle import Bundle, InputSpec, ScoreSpec, TilingSpec, load_bundle
from streamad.detectors.learned_noise.network import (
    IMAGE_SIDE,
    LOCATION_SIDE,
    SCORED,
    WINDOW,
    ClipAutoencoder,
    ClipError,
    build,
    clip_generator,
    clip_reconstructor,
    image_generator,
    image_reconstructor,
    implant,
    quieten,
)
from streamad.detectors.options import parse_options
from streamad.engines.torch_engine import load_weights
from streamad.errors import UsageError
from streamad.training.compute import Compute, Precision, one_cycle, set_learning_rate
from streamad.training.frame_recipe import FrameRecipe
from streamad.training.loop import ImageTask, Task
from streamad.training.muon import Muon
from streamad.training.patch_recipe import OFFSET, SCALE, scaled
from streamad.training.plan import OpenClip, TrainingPlan

Images = npt.NDArray[np.uint8]
VALIDATED = 32
"""Held-out crops that the logged PSNR is measured on."""

CANDIDATES = 4
"""Positions among which the one with the most movement is taken, for a crop that should show movement."""


@dataclass(frozen=True)
class LearnedNoiseOptions:
    """Options of a training.

    Attributes:
        noise: "learned" (paper), "gaussian" or "none": the paper's variant and its baseline.
        sigma: Standard deviation of the Gaussian noise, in the network's range (paper: .1, .5 or 1).
        probability: Share p of samples that are pseudo anomalies (paper: .5).
        amplitude: λ, the weight of the noise's power in G's loss (paper: .1 on video, 5 on CIFAR-10).
        width: Factor on all channels; 1.0 is the paper's.
        crop: Side of the crops to train on, pixels; 0 uses whole frames (paper). The network is fully convolutional; a
            crop of 64 costs a sixteenth.
        moving: Share of crops taken where most moves among four positions (paper: none). Otherwise most crops of a
            fixed camera show only background.
        batch: Clips or images in a step (paper: 4 and 256).
        optimizer: "adam" (paper), or "muon" for short trainings, which got as far as Adam in a third of the steps.
        learning_rate: Learning rate of the optimizer (paper: 1e-4 and 1e-3, constant; a short training needs more).
        generator_rate: G's learning rate as a share of F's (paper: 1). If F already reconstructs well, a G that learns
            as fast makes more noise than F can remove before F has learned anything.
        schedule: "constant" (paper), or "one-cycle" for short trainings.
        precision: See `Compute`; "bfloat16" made a step at full width twice as fast on a processor that supports it.
        epochs: Passes over the samples.
        samples: Clips drawn for an epoch of a video training; 0 takes every window once (paper).
        start: Name or folder of a trained model whose F the training starts from, of the same width or narrower: a
            wider network starts by computing the same, and G starts almost silent. "": random weights (paper).
    """

    noise: Literal["learned", "gaussian", "none"] = "learned"
    sigma: float = 0.1
    probability: float = 0.5
    amplitude: float = 0.1
    width: float = 1.0
    crop: int = 0
    moving: float = 0.5
    batch: int = 4
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-4
    generator_rate: float = 1.0
    schedule: Literal["constant", "one-cycle"] = "constant"
    precision: Precision = "auto"
    epochs: int = 60
    samples: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        if self.crop % 16:
            raise UsageError(
                f"crop {self.crop} is not a multiple of 16, the factor by which the network shrinks a clip",
                hint="give 0 (whole frames), 64 or 128",
            )
        if not 0 <= self.probability <= 1 or not 0 <= self.moving <= 1:
            raise UsageError("probability and moving are shares", hint="give numbers from 0 to 1")
        rates = self.learning_rate, self.generator_rate
        if self.sigma < 0 or self.amplitude < 0 or min(rates) <= 0 or self.batch < 1 or self.epochs < 1:
            raise UsageError("sigma and amplitude must not be negative; the rates, batch and epochs must be positive")


class _NoiseTask(Task):
    """What trainings on clips and on images share: the two steps, the loss, the schedule.

    Each iteration makes one step of G, in which F's weights and its BatchNorm statistics are frozen, then one of F on
    normal and pseudo-anomalous samples (the paper trains them alternately and does not state the order). G processes
    only the samples that become pseudo anomalies, share p of them, so that none of its work is wasted. The last weights
    are the result.
    """

    def __init__(
        self, reconstructor: nn.Module, generator: nn.Module, options: LearnedNoiseOptions, device: str
    ) -> None:
        self.options: LearnedNoiseOptions = options
        self.compute = Compute(device, options.precision)
        self.network = self.reconstructor = self.compute.place(reconstructor)  # G is discarded after training (paper)
        self.networks = {"reconstructor": self.reconstructor}
        self.generator = self.compute.place(generator) if options.noise == "learned" else None
        rate = options.learning_rate
        kind = Muon if options.optimizer == "muon" else torch.optim.Adam
        self.optimizers = {"reconstructor": kind(self.reconstructor.parameters(), lr=rate)}
        if self.generator is not None:
            self.networks["generator"] = self.generator
            self.optimizers["generator"] = kind(self.generator.parameters(), lr=rate * options.generator_rate)
        self.low = -1.0
        """Lower end of the input's range; the upper is 1."""

    def _step(self, normal: Tensor, step: int, rng: np.random.Generator) -> float:
        """Make one iteration on normal samples (n, channels, …), and return F's loss."""
        options = self.options
        if options.schedule == "one-cycle":
            rate = one_cycle(step, options.epochs * self.steps_per_epoch, options.learning_rate)
            for name, optimizer in self.optimizers.items():
                set_learning_rate(optimizer, rate * (options.generator_rate if name == "generator" else 1.0))
        inputs = normal
        chosen = rng.random(len(normal)) < options.probability
        if options.noise != "none" and chosen.any():
            rows = torch.from_numpy(np.flatnonzero(chosen)).to(normal.device)
            inputs = normal.index_copy(0, rows, self._pseudo_anomalies(normal[rows], rng))
        self.reconstructor.train()
        with self.compute.autocast():
            rebuilt = self.reconstructor(inputs)
        loss = torch.mean((rebuilt.float() - normal) ** 2)  # source: paper, equations 2 and 3
        self.compute.descend(loss, self.optimizers["reconstructor"])
        return float(loss.detach())

    def _pseudo_anomalies(self, normal: Tensor, rng: np.random.Generator) -> Tensor:
        if self.generator is not None:
            return self._generate(normal)
        noise = torch.from_numpy(rng.standard_normal(tuple(normal.shape), dtype=np.float32)).to(normal.device)
        return self._bounded(normal + self.options.sigma * noise)

    def _generate(self, normal: Tensor) -> Tensor:
        """Make one step of G (source: paper, equation 7), and return its pseudo anomalies, detached."""
        assert self.generator is not None
        self.reconstructor.eval()
        self.reconstructor.requires_grad_(False)
        self.generator.train()
        with self.compute.autocast():
            pseudo = self._bounded(normal + self.generator(normal))
            rebuilt = self.reconstructor(pseudo)
        pseudo = pseudo.float()
        change = pseudo - normal  # what is left of it within the bounds
        loss = torch.mean((rebuilt.float() - pseudo) ** 2) - self.options.amplitude * torch.mean(change**2)
        self.compute.descend(loss, self.optimizers["generator"])
        self.reconstructor.requires_grad_(True)
        detached: Tensor = pseudo.detach()
        return detached

    def _bounded(self, samples: Tensor) -> Tensor:
        return samples.clamp(self.low, 1.0)

    def _error(self, samples: Tensor) -> Tensor:
        """Return the squared error of each value, in evaluation mode."""
        self.reconstructor.eval()
        with torch.inference_mode():
            error: Tensor = (self.reconstructor(samples).float() - samples) ** 2
        return error


class ClipTask(_NoiseTask):
    """A training on windows of 16 frames.

    Args:
        frames: (n, height, width) uint8 gray frames; height and width multiples of 16.
        starts: First frame of each window; windows never cross gaps.
        validation: The same for held-out normal video.
        validation_starts: Its windows.
        options: Options of the training.
        seed: Seed of the weights and of the fixed validation crops.
        device: "cpu", "cuda" or "cuda:N".
        start: A trained F to start from, of this width or narrower.

    Raises:
        UsageError: A crop is larger than the frames, or `start` is wider.
    """

    def __init__(
        self,
        frames: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.intp],
        validation: npt.NDArray[np.uint8],
        validation_starts: npt.NDArray[np.intp],
        options: LearnedNoiseOptions,
        seed: int = 17,
        device: str = "cpu",
        start: ClipAutoencoder | None = None,
    ) -> None:
        torch.manual_seed(seed)
        reconstructor = clip_reconstructor(options.width)
        if start is not None:
            implant(start, reconstructor)
        generator = clip_generator(options.width)
        if start is not None:
            quieten(generator)
        super().__init__(reconstructor, generator, options, device)
        if options.crop > min(frames.shape[1:]):
            raise UsageError(
                f"a crop of {options.crop} does not fit into frames of {frames.shape[2]}×{frames.shape[1]}",
                hint="give a smaller crop, or 0 for whole frames",
            )
        self.frames, self.starts = frames, starts
        self.samples_per_epoch = options.samples or len(starts)
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(validation_starts))[:VALIDATED]
        self._validation = np.stack([self._clip(validation, int(validation_starts[k]), rng) for k in chosen])

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make one iteration on the given windows, and return F's loss."""
        if self.options.samples:
            rows = rng.integers(len(self.starts), size=self.options.batch)
        clips = np.stack([self._clip(self.frames, int(self.starts[row]), rng) for row in rows])
        return self._step(self._input(clips), step, rng)

    def validate(self) -> float:
        """Return the PSNR of the 9th frame over fixed held-out crops, decibels (peak 1); only logged."""
        errors = [self._error(self._input(self._validation[k : k + 4]))[:, :, SCORED] for k in range(0, VALIDATED, 4)]
        return float(-10 * torch.log10(torch.cat([e for e in errors if len(e)]).mean()).cpu())

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record."""
        return {"detector": "learned_noise", **asdict(self.options)}

    def _clip(self, frames: npt.NDArray[np.uint8], start: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        window = frames[start : start + WINDOW]
        side = self.options.crop
        if not side:
            return window
        height, width = window.shape[1:]
        count = CANDIDATES if rng.random() < self.options.moving else 1
        places = [
            (int(y), int(x))
            for y, x in zip(
                rng.integers(0, height - side + 1, count), rng.integers(0, width - side + 1, count), strict=True
            )
        ]
        crops = [window[:, y : y + side, x : x + side] for y, x in places]
        return max(crops, key=_movement) if count > 1 else crops[0]

    def _input(self, clips: npt.NDArray[np.uint8]) -> Tensor:
        return self.compute.tensor(scaled(clips)[:, None])


class LearnedNoiseImageTask(_NoiseTask, ImageTask):
    """A training on images; 28-pixel ones are padded to 32 by repeating the edge.

    Args:
        images: (n, channels, side, side) uint8, side 28 to 32.
        validation: The same, held out.
        options: Options of the training.
        seed: Seed of the weights.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: The images are larger than 32 pixels, or smaller than 28.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        validation: npt.NDArray[np.uint8],
        options: LearnedNoiseOptions,
        seed: int = 17,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        colors, side = images.shape[1], images.shape[-1]
        if not IMAGE_SIDE - 4 <= side <= IMAGE_SIDE:
            raise UsageError(
                f"learned noise on images takes 28 to 32 pixels a side (the paper's network has 32), got {side}",
                hint="use igd for larger images",
            )
        super().__init__(
            image_reconstructor(colors, options.width), image_generator(colors, options.width), options, device
        )
        self.low = 0.0
        self.images, self._validation = images, validation
        self.samples_per_epoch = len(images)

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make one iteration on the given images, and return F's loss."""
        return self._step(self._input(self.images[rows]), step, rng)

    def validate(self) -> float:
        """Return the PSNR of the held-out normal images, decibels (peak 1); only logged."""
        return float(-10 * np.log10(self.score_images(self._validation)["reconstruction"].mean()))

    def score_images(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the mean squared error of F's reconstruction of each image (n, channels, side, side) uint8."""
        errors = [
            self._error(self._input(images[k : k + 512])).mean(dim=(1, 2, 3)).cpu() for k in range(0, len(images), 512)
        ]
        return {"reconstruction": torch.cat(errors).numpy().astype(np.float64)}

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record."""
        return {"detector": "learned_noise", "form": "image", **asdict(self.options)}

    def _input(self, images: npt.NDArray[np.uint8]) -> Tensor:
        missing = IMAGE_SIDE - images.shape[-1]
        before, after = missing // 2, missing - missing // 2
        padded = np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)), mode="edge")
        return self.compute.tensor(padded.astype(np.float32) / np.float32(255))


IMAGE_OPTIONS: dict[str, Any] = {"batch": 256, "learning_rate": 1e-3, "amplitude": 5.0, "crop": 0, "epochs": 60}
"""Source: paper, CIFAR-10, but for the number of epochs: the paper picks the best validated one out of a number that it
does not state."""


def image_task(
    images: Images, validation: Images, *, data_set: str, seed: int, device: str = "cpu", options: Mapping[str, Any]
) -> LearnedNoiseImageTask:
    """See `Detector.image_task`; there is one preset for all data sets."""
    chosen = parse_options(LearnedNoiseOptions, {**IMAGE_OPTIONS, **options}, "learned_noise")
    return LearnedNoiseImageTask(images, validation, chosen, seed, device)


def _movement(crop: npt.NDArray[np.uint8]) -> float:
    # Every fifth frame suffices: a walker moves in half a second.
    return float(crop[::5].astype(np.float32).std(axis=0).mean())


class LearnedNoiseRecipe(FrameRecipe):
    """Learned noise on video: windows of 16 frames, reconstructed."""

    window = WINDOW

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        overrides = {key: value for key, value in plan.overrides.items() if key != "patience"}
        options = parse_options(LearnedNoiseOptions, overrides, "learned_noise")
        start = None
        if options.start:
            bundle, start = self._start(options.start)
            # The record names the model rather than its folder on this machine; the hash identifies it.
            options = replace(options, start=bundle.name)
            self._started_from = bundle.sha256
        self._from = start
        self.task: ClipTask = self._make_task(options)

    @property
    def evaluated(self) -> int:
        """Held-out crops."""
        return VALIDATED

    def shorten(self, epochs: int, steps: int) -> None:
        """See `Recipe.shorten`; windows are drawn again for each epoch."""
        options = self.task.options
        if steps < self.task.steps_per_epoch:
            options = replace(options, samples=steps * options.batch)
        self.task = self._make_task(replace(options, epochs=epochs))

    def _make_task(self, options: LearnedNoiseOptions) -> ClipTask:
        plan, windows = self.plan, (self.pixels, self.starts, self.held_pixels, self.held_starts)
        return ClipTask(*windows, options, plan.seed, plan.device, self._from)

    def _start(self, name: str) -> tuple[Bundle, ClipAutoencoder]:
        """Load a trained model and return it with its F."""
        bundle = load_bundle(name)
        if bundle.manifest.detector != self.plan.detector:
            raise UsageError(
                f"{bundle.path} is a model of {bundle.manifest.detector}; learned_noise cannot start from it",
                hint="give a model of learned_noise to --option start",
            )
        network = cast(ClipError, load_weights(lambda: build(bundle.manifest), bundle.weights_path))
        return bundle, network.reconstructor

    def exported(self) -> nn.Module:
        """Return F with the error of the 9th frame."""
        return ClipError(cast(ClipAutoencoder, self.task.network))

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, 16, side, side) held-out windows."""
        chosen = self.held_starts[:: max(1, len(self.held_starts) // 4)][:4]
        return scaled(np.stack([self.held_pixels[start : start + WINDOW] for start in chosen]))

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        options = self.task.options
        kind = {"learned": "learned noise", "gaussian": f"Gaussian noise {options.sigma:g}", "none": "baseline"}
        title = f"3-D autoencoder, {kind[options.noise]}, width {options.width:g}, {self.plan.data}"
        score = ScoreSpec(kind="psnr", frame=SCORED, peak=1.0, heat_cell=LOCATION_SIDE)
        tiling = TilingSpec(kind="clips", window=WINDOW)
        notes: dict[str, Any] = {"windows": len(self.starts)}
        if options.start:
            notes["start_sha256"] = self._started_from
        return title, self._input(WINDOW, SCALE, OFFSET), tiling, score, notes


OPTIONS, RECIPE = LearnedNoiseOptions, LearnedNoiseRecipe
"""What `TrainedDetector` looks for in this module, next to `image_task`."""
