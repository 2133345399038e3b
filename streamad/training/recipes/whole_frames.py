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
from streamad.detectors.learned_noise.step import OFFSET, SCALE, ClipTask, LearnedNoiseOptions
from streamad.detectors.options import parse_options
from streamad.engines.torch_engine import load_weights
from streamad.errors import UsageError
from streamad.training.frames import FrameCollector
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
    ) -> tuple[FrameCollector, tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]]:
        side = self.plan.side
        collector = FrameCollector(side, side, window=self.window, max_frames=most, seed=self.plan.seed)
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
        self.task: ClipTask = ClipTask(
            self.pixels, self.starts, self.held_pixels, self.held_starts, options, plan.seed, plan.device, start
        )

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
        options = parse_options(IgdOptions, {"pooling": POOLING, **plan.overrides}, "igd")
        self.task: IgdTask = IgdTask(self.pixels[:, None], self.held_pixels[:, None], options, plan.seed, plan.device)

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
