"""Recipes of detectors over whole frames: learned noise (windows of 16) and IGD (single frames)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import Bundle, InputSpec, ScoreSpec, TilingSpec, load_bundle
from streamad.detectors.igd.network import MAP_SIDE
from streamad.detectors.igd.options import IgdOptions
from streamad.detectors.igd.step import IgdTask
from streamad.detectors.learned_noise.network import HEAT_CELL, SCORED, WINDOW, ClipAutoencoder, ClipError, build
from streamad.detectors.learned_noise.step import OFFSET, SCALE, VALIDATED, ClipTask, LearnedNoiseOptions
from streamad.detectors.options import parse_options
from streamad.engines.torch_engine import load_weights
from streamad.errors import UsageError
from streamad.training.frames import FrameSampler
from streamad.training.recipes.base import MEDIAN_SECONDS, OpenClip, Recipe, TrainingPlan

IGD_SCALE = 255.0
"""IGD's networks see 0 to 1."""

POOLING = "peak"
"""On video a frame's score is its highest heat-map cell: the mean of a frame hardly moves for a thing that covers a
hundredth of it (our choice; the paper, on images, has the mean)."""

MULTIPLE = 16
"""The 3-D network halves a frame four times."""


class _FrameRecipe(Recipe):
    """What they share: frames at the network's size."""

    window = 1

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        if plan.side % MULTIPLE or plan.side < 2 * MULTIPLE:
            raise UsageError(
                f"a side of {plan.side} pixels does not suit {plan.detector}",
                hint=f"give a multiple of {MULTIPLE} from {2 * MULTIPLE} up; the papers have 256",
            )
        self._collector, (self.pixels, self.starts) = self._collect(clips, plan.max_frames, tick)
        _, (self.held_pixels, self.held_starts) = self._collect(held, max(1024, plan.max_frames // 4), tick)

    @property
    def frames(self) -> int:
        """Frames trained on."""
        return self._collector.frames

    @property
    def samples(self) -> int:
        """Number of windows."""
        return len(self.starts)

    def _input(self, channels: int, scale: float, offset: float) -> InputSpec:
        side = self.plan.side
        return InputSpec(channels=channels, height=side, width=side, scale=scale, offset=offset, resizer="linear")

    def _collect(
        self, clips: Sequence[OpenClip], most: int, tick: Callable[[], None]
    ) -> tuple[FrameSampler, tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]]:
        side = self.plan.side
        collector = FrameSampler(side, side, window=self.window, max_frames=most, seed=self.plan.seed)
        for clip in clips:
            collector.feed(clip())
            tick()
        return collector, collector.windows()


class LearnedNoiseRecipe(_FrameRecipe):
    """Learned noise: windows of 16 frames reconstructed."""

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
            # The record names the model, not its folder, which is this machine's affair; the hash says which it was.
            options = replace(options, start=bundle.name)
            self._started_from = bundle.sha256
        self._from = start
        self.task: ClipTask = self._make_task(options)

    @property
    def batch(self) -> int:
        """Windows in a step."""
        return self.task.options.batch

    @property
    def looked_at(self) -> int:
        """Held-out crops."""
        return VALIDATED

    def shorten(self, epochs: int, steps: int) -> None:
        """See `Recipe.shorten`; windows are drawn anew for each epoch."""
        options = self.task.options
        if steps < self.task.steps_per_epoch:
            options = replace(options, samples=steps * options.batch)
        self.task = self._make_task(replace(options, epochs=epochs))

    def _make_task(self, options: LearnedNoiseOptions) -> ClipTask:
        plan, windows = self.plan, (self.pixels, self.starts, self.held_pixels, self.held_starts)
        return ClipTask(*windows, options, plan.seed, plan.device, self._from)

    def _start(self, name: str) -> tuple[Bundle, ClipAutoencoder]:
        """A trained model and its F."""
        bundle = load_bundle(name)
        if bundle.manifest.detector != self.plan.detector:
            raise UsageError(
                f"{bundle.path} is a model of {bundle.manifest.detector}, and a training of learned_noise was to start "
                "from it",
                hint="give a model of learned_noise to --option start",
            )
        network = cast(ClipError, load_weights(lambda: build(bundle.manifest), bundle.weights_path))
        return bundle, network.reconstructor

    def exported(self) -> nn.Module:
        """F with the error of the 9th frame."""
        return ClipError(cast(ClipAutoencoder, self.task.network))

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, 16, side, side) held-out windows."""
        chosen = self.held_starts[:: max(1, len(self.held_starts) // 4)][:4]
        windows = np.stack([self.held_pixels[start : start + WINDOW] for start in chosen]).astype(np.float32)
        return (windows / np.float32(SCALE) + np.float32(OFFSET)).astype(np.float32)

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        options = self.task.options
        kind = {"learned": "learned noise", "gaussian": f"Gaussian noise {options.sigma:g}", "none": "baseline"}
        title = f"3-D autoencoder, {kind[options.noise]}, width {options.width:g}, {self.plan.data}"
        score = ScoreSpec(kind="psnr", frame=SCORED, peak=1.0, heat_cell=HEAT_CELL)
        tiling = TilingSpec(kind="clips", window=WINDOW)
        notes: dict[str, Any] = {"windows": len(self.starts)}
        if options.start:
            notes["start_sha256"] = self._started_from
        return title, self._input(WINDOW, SCALE, OFFSET), tiling, score, notes


class IgdRecipe(_FrameRecipe):
    """IGD: single frames, reconstructed and described."""

    def __init__(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> None:
        super().__init__(plan, clips, held, tick)
        self.task: IgdTask = self._make_task(parse_options(IgdOptions, {"pooling": POOLING, **plan.overrides}, "igd"))

    @property
    def batch(self) -> int:
        """Frames in a step."""
        return cast(int, self.task.options.batch)

    @property
    def samples(self) -> int:
        """Number of frames."""
        return len(self.pixels)

    @property
    def looked_at(self) -> int:
        """The training frames, encoded anew, and those held out, scored twice."""
        return len(self.pixels) + 2 * len(self.held_pixels)

    def shorten(self, epochs: int, steps: int) -> None:
        """See `Recipe.shorten`; of the frames held out the same share is left."""
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
        """Autoencoder and descriptor with the score and the heat map."""
        return self.task.network

    def examples(self) -> npt.NDArray[np.float32]:
        """(n, 1, side, side) held-out frames."""
        frames = self.held_pixels[:: max(1, len(self.held_pixels) // 16)][:16, None].astype(np.float32)
        return (frames / np.float32(IGD_SCALE)).astype(np.float32)

    def specs(self) -> tuple[str, InputSpec, TilingSpec, ScoreSpec, dict[str, Any]]:
        """See `Recipe.specs`."""
        median = max(1, round(MEDIAN_SECONDS * self.plan.fps))
        score = ScoreSpec(kind="map", heat_cell=max(1, self.plan.side // MAP_SIDE), median_frames=median)
        tiling = TilingSpec(kind="clips", window=1)
        title = f"IGD on whole frames, {self.plan.data}"
        return title, self._input(1, IGD_SCALE, 0.0), tiling, score, {"frames_kept": len(self.pixels)}
