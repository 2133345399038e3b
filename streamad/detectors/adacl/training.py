"""ADACL's training: labels, loss, training step, validation, and the recipe for video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamad.detectors.adacl.augment import (
    AREA,
    MIRRORED,
    SHARE,
    SPATIAL,
    add_noise,
    create_anomalies,
    distinct_kinds,
    lags_needed,
)
from streamad.detectors.adacl.network import STRIDES, AdaclNet
from streamad.detectors.options import parse_options
from streamad.training.compute import Compute, set_learning_rate
from streamad.training.loop import LoopResult
from streamad.training.patch_recipe import PatchRecipe, PatchTask, scaled
from streamad.training.patch_sampler import FLOW_CONSISTENT
from streamad.training.plan import OpenClip, TrainingPlan

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AdaclOptions:
    """Options of a training.

    Attributes:
        lags: Age of each input channel, in frames; (0,) is the paper's single picture.
        kinds: Kinds of synthetic anomalies.
        flip: Mirror half of the normal patches left to right, for more data. Off if the direction of movement matters
            ("reverse" among the kinds).
        noise: Standard deviation of the noise added to every input, in gray levels.
        loss: Squared error (paper), or binary cross-entropy, its ablation.
        labels: Drawn from the intervals for every batch (paper), or "discrete": 0 and 1, its ablation.
        normal: Interval of normal labels (paper: [0, .3]).
        anomaly: Interval of labels of synthetic anomalies (paper: [.7, 1]).
        least_change: A synthetic anomaly that differs from its sample by less than this share of the sample's variance
            is drawn again: a rectangle of background on background is no anomaly. 0 keeps all.
        distinct: Kinds that leave a picture whole are used if they move it this much further from other normal pictures
            than those are from each other; see `distinct_kinds`. 0 uses all.
        twice: Share of synthetic anomalies that are altered a second time.
        area: Area of the rectangle of "cut_paste", share of the patch.
        share: Share of the patch itself in "mix_up".
        strides: Strides of the four convolutions.
        averaging: η of the polynomial-decay averaging of the weights (Shamir and Zhang, Stochastic gradient descent for
            non-smooth optimization, 2013): the result is the mean of all steps' weights, in which step t has a weight
            of about t^η. 0 takes the last weights (paper, which mentions no averaging).
        keep: "best": weights of the best validation (paper); "last": those at the end of the cycle.
        batch: Normal patches in a batch; the same number of synthetic anomalies is added.
        learning_rates: Lower and upper end of the triangular cycle.
        half_cycle_epochs: Epochs from the lower end to the upper.
        epochs: Maximum number of epochs, unless the caller gives one.
        patience: Epochs without improvement before the training stops, unless the caller gives a number.
    """

    lags: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = tuple(SPATIAL)
    flip: bool = True
    noise: float = 0.0
    loss: Literal["mse", "bce"] = "mse"
    labels: Literal["continuous", "discrete"] = "continuous"
    normal: tuple[float, float] = (0.0, 0.3)
    anomaly: tuple[float, float] = (0.7, 1.0)
    least_change: float = 0.0
    distinct: float = 0.0
    twice: float = 0.0
    area: tuple[float, float] = AREA
    share: tuple[float, float] = SHARE
    strides: tuple[int, ...] = STRIDES
    averaging: int = 0
    keep: Literal["best", "last"] = "best"
    batch: int = 128
    learning_rates: tuple[float, float] = (1e-4, 1e-3)
    half_cycle_epochs: float = 2.0
    epochs: int = 30
    patience: int = 5


class AdaclTask(PatchTask):
    """One training of ADACL, run by the common loop.

    The result are the weights of the best validation (paper: early stopping), or those at the end of the learning
    rate's cycle.

    Args:
        stacks: (n, len(stack_lags), side, side) uint8 normal patches with their history, or images.
        validation: The same for held-out normal data.
        stack_lags: Ages of the stacks' channels, in frames.
        options: Options of the training.
        seed: Seed of the weights and of the fixed validation set.
        device: "cpu", "cuda" or "cuda:N".
    """

    def __init__(
        self,
        stacks: npt.NDArray[np.uint8],
        validation: npt.NDArray[np.uint8],
        stack_lags: tuple[int, ...],
        options: AdaclOptions | None = None,
        seed: int = 17,
        device: str = "cpu",
    ) -> None:
        self.options: AdaclOptions = options or AdaclOptions()
        self.keep = self.options.keep
        self.stacks, self.stack_lags, self.seed = stacks, stack_lags, seed
        self.samples_per_epoch = len(stacks)
        self.compute = Compute(device)
        torch.manual_seed(seed)
        self._learner: nn.Module = self.compute.place(AdaclNet(len(self.options.lags), self.options.strides))
        self.network = self._learner
        self.networks = {"adacl": self._learner}
        if self.options.averaging:  # the mean of its weights is what is exported
            self.network = self.networks["average"] = deepcopy(self._learner)
        self.optimizer = torch.optim.Adam(self._learner.parameters(), lr=self.options.learning_rates[0])
        self.optimizers = {"adam": self.optimizer}
        self._channels = [stack_lags.index(lag) for lag in self.options.lags]
        self._validation = self._fixed_validation(validation)

    def training_step(self, step: int, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> float:
        """Make one step on the given normal patches and as many synthetic anomalies, and return the loss.

        Loss (paper, section 3.2.1): squared error, to labels drawn for every batch. It is taken on the unclipped
        output, since a clip has no gradient outside [0, 1].
        """
        stacks = self.stacks[rows]
        if self.options.flip and rng.random() < 0.5:
            stacks = stacks[..., ::-1]
        normal = add_noise(stacks[:, self._channels].astype(np.float32), rng, self.options.noise)
        created = self._create(stacks, rng)
        labels = self.compute.tensor(self._labels(len(normal), len(created), rng))
        set_learning_rate(self.optimizer, self._learning_rate(step))
        self._learner.train()
        with self.compute.autocast():
            outputs = self._learner(self._input(np.concatenate([normal, created]))).float()
        if self.options.loss == "bce":
            loss = nn.functional.binary_cross_entropy_with_logits(outputs, labels)
        else:
            loss = torch.mean((outputs - labels) ** 2)
        self.compute.descend(loss, self.optimizer)
        if self.options.averaging:
            self._average(step)
        return float(loss.detach())

    def validate(self) -> float:
        """Return the AUROC of held-out normal patches against anomalies made from them, no real ones (paper)."""
        return _auroc(*(self._outputs(patches) for patches in self._validation))

    def lowest_normal(self) -> float:
        """Return the 1st percentile of the output over held-out normal patches: the score without movement."""
        return float(np.quantile(self._outputs(self._validation[0]), 0.01))

    def score_images(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the unclipped output for each image.

        Args:
            images: (n, channels, side, side) uint8.
        """
        return {"regressed": self._outputs(images).astype(np.float64)}

    def description(self) -> dict[str, Any]:
        """Return what was chosen, for the record."""
        return {"detector": "adacl", **asdict(self.options), "stack_lags": self.stack_lags}

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Add the weights after this step, and BatchNorm's statistics, to their mean."""
        share = (self.options.averaging + 1) / (step + 1 + self.options.averaging)
        for mean, value in zip(
            self.network.state_dict().values(), self._learner.state_dict().values(), strict=True
        ):  # both share memory with the networks
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)  # BatchNorm's count of batches

    def _labels(self, normal: int, created: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        if self.options.labels == "discrete":
            return np.repeat(np.array([0, 1], np.float32), [normal, created])
        drawn = [rng.uniform(*self.options.normal, normal), rng.uniform(*self.options.anomaly, created)]
        return np.concatenate(drawn).astype(np.float32)

    def _create(self, stacks: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        o = self.options
        changes = (o.noise, o.least_change, o.twice, o.area, o.share)
        return create_anomalies(stacks, o.lags, self.stack_lags, o.kinds, rng, *changes)

    def _learning_rate(self, step: int) -> float:
        low, high = self.options.learning_rates
        half = self.options.half_cycle_epochs * self.steps_per_epoch
        phase = (step % (2 * half)) / half
        return low + (high - low) * (phase if phase < 1 else 2 - phase)

    def _fixed_validation(
        self, validation: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        # Up to 2000 samples rather than the paper's 150, since patches of one frame resemble one another.
        rng = np.random.default_rng(self.seed)
        rows = rng.permutation(len(validation))[:2000]
        stacks = validation[rows]
        normal = add_noise(stacks[:, self._channels].astype(np.float32), rng, self.options.noise)
        return normal, self._create(stacks, rng)

    def _outputs(self, patches: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        self.network.eval()
        with torch.inference_mode():
            parts = [self.network(self._input(patches[k : k + 512])).float().cpu() for k in range(0, len(patches), 512)]
        return torch.cat(parts).numpy()

    def _input(self, patches: npt.NDArray[Any]) -> Tensor:
        return self.compute.tensor(scaled(patches))


def image_task(
    images: Images, validation: Images, *, data_set: str, seed: int, device: str = "cpu", options: Mapping[str, Any]
) -> AdaclTask:
    """See `Detector.image_task`; colors take the place of a patch's history."""
    channels = tuple(range(images.shape[1]))
    chosen = {**IMAGE_OPTIONS, **IMAGE_SETS.get(data_set, {}), "lags": channels, **options}
    parsed = parse_options(AdaclOptions, chosen, "adacl")
    kinds = distinct_kinds(images, parsed.kinds, parsed.distinct, np.random.default_rng(seed))
    return AdaclTask(images, validation, channels, replace(parsed, kinds=kinds), seed, device)


IMAGE_OPTIONS: dict[str, Any] = {
    "flip": False,
    "kinds": (*SPATIAL, *MIRRORED),
    "distinct": 1.1,
    "least_change": 0.1,
    "strides": (2, 2, 2, 1),
    "keep": "last",
    "epochs": 10,
    "half_cycle_epochs": 5.0,
}
"""Choices for images. One cycle of the learning rate spans the training, so that it ends at the low rate.
docs/results/README.md lists what was tried, and on what."""

IMAGE_SETS: dict[str, dict[str, Any]] = {
    "mnist": {
        "kinds": (*SPATIAL, "mirror", "upside_down"),  # a stretched digit is the same digit
        "distinct": 1.3,
        "area": (0.05, 0.4),
        "share": (0.2, 0.8),
        "twice": 0.5,
    },
    "fashion-mnist": {"averaging": 1},
    "cifar10": {"epochs": 15, "half_cycle_epochs": 7.5},  # number of epochs: paper
}
"""Digits differ by whole strokes, so theirs are altered more; clothes differ by small parts."""


def _auroc(normal: npt.NDArray[np.float32], anomaly: npt.NDArray[np.float32]) -> float:
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, anomaly, "left") + np.searchsorted(ordered, anomaly, "right")
    return float(below.mean() / (2 * len(ordered)))


STANDING_NOISE = 2.0
"""Noise added to inputs if "stands still" is among the synthetic anomalies, in gray levels: about that of a camera by
day. Without it, a frozen patch could be recognized by its identical channels."""


class AdaclRecipe(PatchRecipe):
    """ADACL on video: a label regressed from a patch."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        one_way = plan.temporal and self.collected.flow_consistency >= FLOW_CONSISTENT
        extra = (("reverse",) if one_way else ()) + (("freeze",) if plan.temporal and plan.standing else ())
        chosen = {
            "lags": plan.lags,
            "kinds": self._kinds + extra,
            "flip": not one_way,
            "noise": STANDING_NOISE if plan.standing else 0.0,
            **plan.overrides,
        }
        self.task: AdaclTask = self._make_task(parse_options(AdaclOptions, chosen, "adacl"))

    def exported(self) -> nn.Module:
        """Return the regressor."""
        return self.task.network

    def checkpoint_rule(self, result: LoopResult) -> str:
        """The weights of the best validation, unless the last ones were asked for."""
        if self.task.keep == "last":
            return super().checkpoint_rule(result)
        return (
            f"epoch {result.best_epoch}: best AUROC ({result.best_validation:.4f}) of held-out normal patches "
            "against synthetic anomalies made from them; no real anomaly was used"
        )

    def _make_task(self, options: AdaclOptions) -> AdaclTask:
        plan = self.plan
        return AdaclTask(self.stacks, self.held_stacks, self.stack_lags, options, plan.seed, plan.device)

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(SPATIAL) + (("speed",) if self.plan.temporal else ())

    def _stack_lags(self) -> tuple[int, ...]:
        return lags_needed(self.plan.lags, self._kinds)


OPTIONS, RECIPE = AdaclOptions, AdaclRecipe
"""What `TrainedDetector` looks for in this module, next to `image_task`."""
