"""Detector: everything that the rest of streamad asks of a method, in one object.

A detector holds no state and imports what is heavy inside its methods, so that scoring never loads torch. What belongs
to one camera is in its `CameraScorer`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from streamad.bundle import CARD, STREAMING, Bundle, Manifest, Parity, write_manifest
from streamad.calibration.false_alarms import FalseAlarm
from streamad.errors import UsageError
from streamad.files import write_atomic
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import ModelInput
from streamad.protocols import Progress
from streamad.scoring.frame_score import FrameScore
from streamad.training.plan import Clip, OpenClip, TrainingPlan

if TYPE_CHECKING:  # what scoring does not need
    from streamad.evaluation.image_table import Published
    from streamad.training.budget import Shortening
    from streamad.training.loop import EpochReport, ImageTask
    from streamad.training.recipe import Recipe

Outputs = npt.NDArray[np.float32]

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class CameraScorer(Protocol):
    """A detector's state for one camera: from frames to the network's input, from its outputs to scores."""

    @property
    def gaps(self) -> int:
        """Number of times that the history was reset because frames were missing."""

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """Return what the engine should run after this frame; None while no frame's score is due.

        Detectors of windows score a frame in the middle of the window: its input comes some frames late, and the last
        frames before a gap or the end have none. A network that carries state must see every frame, so there is an
        input for each; those that score nothing say so (`ModelInput.due`).

        Raises:
            FrameSizeError: The frame is too small for this detector.
        """

    def score(self, model_input: ModelInput, outputs: Outputs) -> FrameScore:
        """Score the frame from the engine's (n, …) outputs for its input; called in the order of `preprocess`."""

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location of the map in pixels of the source's frame; x1, y1 exclusive."""

    def reset(self) -> None:
        """Forget all frames."""


class StreamingForm(Protocol):
    """A network in a form that takes one frame at a time and carries state, for a trained network on windows."""

    def network(self, network: Any, manifest: Manifest) -> Any:
        """Convert the trained torch module."""

    def export(self, network: Any, manifest: Manifest, path: Path, *, half_weights: bool) -> None:
        """Write the form as ONNX, with weights stored in 16 bits if asked for."""

    def export_quantizable(self, network: Any, manifest: Manifest, path: Path) -> None:
        """Write the form as ONNX from operators that engines compute in 8 bits.

        Raises:
            UsageError: The form cannot be quantized.
        """


@dataclass(frozen=True)
class Fit:
    """A model fitted in closed form, and how it scores the video that it was fitted to.

    Attributes:
        bundle: The exported model, without a calibration.
        scores: One (frames,) array a clip: each part of the video scored by a model fitted to the others, as it would
            be scored live; NaN where there is no score.
        fps: Frames per second of these scores.
        ceilings: (frames,) of each clip: the threshold that was active at frames of alerts, NaN elsewhere; see
            `calibrate`. None: there was no alert.
    """

    bundle: Bundle
    scores: tuple[npt.NDArray[np.float64], ...]
    fps: float
    ceilings: tuple[npt.NDArray[np.float64], ...] | None = None


class Detector(ABC):
    """A method of anomaly detection; subclass `FittedDetector` or `TrainedDetector`.

    Attributes:
        name: Name in commands, bundles and configurations.
        summary: What it looks at, in one line.
        paper: The paper that it implements; empty if there is none.
        window: Frames that one score needs.
        min_fps: Lowest frame rate at which it works, frames per second.
        one_rate: Whether time is counted in frames, so that all clips of a camera need one frame rate.
        per_location: Whether calibration uses per-location statistics unless told otherwise. They help error maps of
            whole frames much; scores of moving patches are comparable already
            (docs/results/per-location-calibration.md).
        reference: What engines are compared with at export, "torch" or "numpy".
        streaming: Its form that carries state; None if there is none.
        has_reference_program: Whether the paper's straightforward computation can stand beside ours in benchmarks.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    window: ClassVar[int] = 1
    min_fps: ClassVar[float] = 0.0
    one_rate: ClassVar[bool] = True
    per_location: ClassVar[bool] = False
    reference: ClassVar[str] = "torch"
    streaming: ClassVar[StreamingForm | None] = None
    has_reference_program: ClassVar[bool] = True

    @abstractmethod
    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """Return a fresh scorer for one camera.

        Args:
            manifest: The bundle's manifest.
            camera: Configured id of the camera.
            streaming: The network that runs is the streaming form.

        Raises:
            BundleError: The bundle is not one of this detector's.
        """

    @abstractmethod
    def network(self, manifest: Manifest) -> Any:
        """Return the untrained torch module of a bundle, for the torch engine and for export.

        Raises:
            UsageError: The detector has no torch form.
        """

    @property
    def computes_as_paper(self) -> bool:
        """Whether `network` computes all that the paper's does."""
        return type(self).paper_network is Detector.paper_network

    def paper_network(self, manifest: Manifest) -> Any:
        """Return the network computed as the paper does, where ours takes a shorter way; for benchmarks."""
        return self.network(manifest)

    def options(self) -> type[Any]:
        """Return the dataclass of options that `--option` sets; all its fields have defaults."""
        return _NoOptions

    def export(self, network: Any, manifest: Manifest, path: Path) -> None:
        """Write a trained torch module as ONNX, its weights stored in 16 bits where it keeps them so."""
        from streamad.engines.export import export_onnx, needs_half_weights

        spec = manifest.input
        export_onnx(network, (spec.channels, spec.height, spec.width), path, half_weights=needs_half_weights(network))

    def require_rate(self, fps: float) -> None:
        """Check that video has enough frames per second, before any of it is read.

        Raises:
            UsageError: It has too few.
        """
        if fps < self.min_fps:
            raise UsageError(
                f"the video has {fps:.2g} frames a second; {self.name} needs at least {self.min_fps:.2g}",
                hint="raise the camera's frame rate; for a folder of images, --fps states the rate it was taken at",
            )

    def smallest_object(self, manifest: Manifest) -> int | None:
        """Return the size in working pixels of the smallest object that the detector sees; None: not known."""
        return manifest.input.height if manifest.tiling.kind == "cells" else None

    def limitations(self, manifest: Manifest) -> list[str]:
        """Return sentences on what this model cannot see, judged from its own normal video."""
        return []

    def card_rows(self, manifest: Manifest) -> list[str]:
        """Return the rows of the model card on the input, the score and the training data, as Markdown."""
        from streamad.training.card import frame_rows, patch_rows

        return patch_rows(manifest) if manifest.tiling.kind == "cells" else frame_rows(manifest)

    def card(self, manifest: Manifest) -> str:
        """Return the model card of a bundle, as Markdown."""
        from streamad.training.card import card

        return card(manifest, self.card_rows(manifest), self.reference)

    def image_task(
        self,
        images: npt.NDArray[np.uint8],
        validation: npt.NDArray[np.uint8],
        *,
        data_set: str,
        seed: int,
        device: str = "cpu",
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> ImageTask:
        """Return the training on images of one class, for the image benchmarks.

        Args:
            images: (n, channels, side, side) images of the normal class.
            validation: The same, held out.
            data_set: Name of the data set, which selects a preset.
            seed: Seed of all random choices.
            device: "cpu", "cuda" or "cuda:N".
            options: Options by name; they take precedence over the preset.

        Raises:
            UsageError: The detector cannot be trained on images, or an option is wrong.
        """
        raise UsageError(f"{self.name} cannot be trained on images", hint="choose another detector")

    def published(self) -> Mapping[str, Published]:
        """Return the paper's own results on the image benchmarks, by data set."""
        return {}

    @property
    def takes_images(self) -> bool:
        """Whether the detector can be trained on images of one class."""
        return type(self).image_task is not Detector.image_task

    def frame_scores(self, manifest: Manifest) -> Callable[[Outputs], npt.NDArray[np.float64]]:
        """Return a function from a batch of outputs to frame scores, to compare engines.

        The scores are the scorer's, without smoothing over time. A batch of patches counts as one frame in which all of
        them move; whole frames and windows have a score each.
        """

        def score(outputs: Outputs) -> float:
            count = len(outputs)
            model_input = ModelInput(
                camera="parity",
                index=0,
                pts_seconds=0.0,
                received_at=0.0,
                batch=np.empty((count, 0, 0, 0), np.float32),
                locations=np.stack([np.zeros(count, np.intp), np.arange(count)], axis=1) if patches else None,
                boxes=LocationBoxes.between((1, count), range(2), range(count + 1)),
            )
            return float(self.scorer(manifest, "parity").score(model_input, outputs).score)  # a fresh scorer: no median

        def scores(outputs: Outputs) -> npt.NDArray[np.float64]:
            if patches:
                return np.array([score(outputs)])
            return np.array([score(outputs[k : k + 1]) for k in range(len(outputs))])

        patches = manifest.tiling.kind == "cells"
        return scores

    def export_streaming(
        self, network: Any, manifest: Manifest, path: Path, windows: npt.NDArray[np.float32]
    ) -> Parity | None:
        """Write the streaming form of a trained network, and measure its parity with torch.

        Args:
            network: Trained torch module on windows.
            manifest: Manifest of its bundle.
            path: The ONNX file to write.
            windows: (n, frames, height, width) inputs to compare on.

        Returns:
            The parity; None if the detector has no streaming form, and nothing is written.
        """
        if self.streaming is None:
            return None
        from streamad.engines.export import measure_stateful_parity, needs_half_weights
        from streamad.engines.openvino_stateful import OpenVinoStatefulEngine

        self.streaming.export(network, manifest, path, half_weights=needs_half_weights(network))
        with closing(OpenVinoStatefulEngine(path, (manifest.tiling.window or 1) - 1)) as engine:
            return measure_stateful_parity(engine, network, windows)

    def add_streaming(self, bundle: Bundle, network: Any, windows: npt.NDArray[np.float32]) -> tuple[Bundle, Parity]:
        """Add the streaming form to a bundle made without it; network, weights and calibration stay as they are.

        Raises:
            UsageError: The detector has no streaming form.
        """
        parity = self.export_streaming(network, bundle.manifest, bundle.path / STREAMING, windows)
        if parity is None:
            raise UsageError(f"the detector {self.name} has no streaming form to add to {bundle.name}")
        others = tuple(p for p in bundle.manifest.parity if p.file != STREAMING)
        manifest = bundle.manifest.model_copy(update={"parity": (*others, parity)})
        write_atomic(bundle.path / CARD, self.card(manifest))
        return write_manifest(bundle.path, manifest), parity


class FittedDetector(Detector):
    """A detector that is fitted in closed form, in one pass and without a held-out part; it should need no torch."""

    @abstractmethod
    def fit(self, plan: TrainingPlan, clips: Sequence[Clip], out: Path, *, progress: Progress | None = None) -> Fit:
        """Fit to clips of one camera's normal video and write a bundle.

        Args:
            plan: What to fit.
            clips: Normal video in order of time; one clip is enough.
            out: Folder of the bundle.
            progress: Called with each stage's name, the steps done, and their total.

        Raises:
            UsageError: There is too little video, or an option is wrong.
            OutputError: `out` cannot be written to.
        """

    def learns_on(self, bundle: Bundle) -> bool:
        """Return whether a bundle of this detector can be learned on from watched video."""
        return False

    def learn_on(self, bundle: Bundle, folder: Path, out: Path, *, false_alarms: Sequence[FalseAlarm] = ()) -> Fit:
        """Fit to what a bundle was learned from and to what a running watch kept, and write a new bundle.

        Args:
            bundle: The model so far, one that `learns_on`.
            folder: See `streamad.training.watched`.
            out: Folder of the new bundle.
            false_alarms: Alerts whose frames are examples, too.

        Raises:
            UsageError: There is too little video, or the detector cannot do it.
            BundleError: What the model was learned from cannot be read.
            OutputError: `out` cannot be written to.
        """
        raise UsageError(f"{self.name} cannot learn on from watched video")


class TrainedDetector(Detector):
    """A detector whose network is trained step by step, with clips held out; needs the `train` extra.

    Its folder holds two modules, imported when they are needed: `network` with `build(manifest)`, and `training` with
    `OPTIONS` (a dataclass), `RECIPE` (a `streamad.training.recipe.Recipe`) and `image_task`.
    """

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{type(self).__module__}.{name}")

    def network(self, manifest: Manifest) -> Any:
        """See `Detector.network`."""
        return self._module("network").build(manifest)

    def options(self) -> type[Any]:
        """See `Detector.options`."""
        options: type[Any] = self._module("training").OPTIONS
        return options

    def image_task(self, *images: npt.NDArray[np.uint8], **chosen: Any) -> ImageTask:
        """See `Detector.image_task`."""
        task: ImageTask = self._module("training").image_task(*images, **chosen)
        return task

    def recipe(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> Recipe:
        """Read the clips and prepare the training; see `streamad.training.recipe.Recipe`."""
        recipe: Recipe = self._module("training").RECIPE(plan, clips, held, tick)
        return recipe

    def train(
        self,
        plan: TrainingPlan,
        clips: Sequence[OpenClip],
        out: Path,
        *,
        progress: Progress | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
        max_seconds: float | None = None,
        shortened: Callable[[Shortening], None] | None = None,
    ) -> Bundle:
        """Train on clips of one camera's normal video and write a bundle; see `training.build.train_bundle`."""
        from streamad.training.build import train_bundle

        return train_bundle(
            self, plan, clips, out, progress=progress, on_epoch=on_epoch, max_seconds=max_seconds, shortened=shortened
        )


@dataclass(frozen=True)
class _NoOptions:
    """A detector without options."""


def skipped_score(model_input: ModelInput, reason: str, fault: str | None = None) -> FrameScore:
    """Return the score of a frame that gets none.

    Args:
        model_input: The frame's model input.
        reason: See `FrameScore.skipped_reason`.
        fault: What is wrong with the picture, if that is why.
    """
    return frame_score(model_input, float("nan"), skipped_reason=reason, reason=fault)


def frame_score(model_input: ModelInput, score: float, **more: Any) -> FrameScore:
    """Return the score of a model input's frame; `more` are further fields of `FrameScore`."""
    return FrameScore(
        camera=model_input.camera,
        index=model_input.index,
        pts_seconds=model_input.pts_seconds,
        score=score,
        received_at=model_input.received_at,
        **more,
    )
