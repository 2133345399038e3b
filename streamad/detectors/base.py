"""What every detector offers, and the registry."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle
from streamad.errors import BundleError, UsageError
from streamad.frame import Frame
from streamad.preprocessing import ModelInput
from streamad.scoring.frame_score import FrameScore


class CameraScorer(Protocol):
    """The state of one detector for one camera: from frames to tiles, from outputs to scores."""

    @property
    def gaps(self) -> int:
        """Times that the history was reset because frames were missing."""

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """What the engine shall score now that this frame has come; None where no frame's score is due yet.

        Detectors of windows score a frame in the middle of theirs: its tiles come some frames late, and the last frames
        before a gap or the end have none. Where the network carries state, there are tiles for every frame, since it
        must see each; those that score nothing say so (`ModelInput.due`).

        Raises:
            FrameSizeError: the frame is too small for this detector.
        """

    def score(self, tiles: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """The frame's score, from the engine's (n, …) outputs for its input; called in the order of `preprocess`."""

    def cell_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of a heat-map cell in pixels of the source's frame; right and lower edge exclusive."""

    def reset(self) -> None:
        """Forget all frames."""


def skipped_score(tiles: ModelInput, reason: str, fault: str | None = None) -> FrameScore:
    """The score of a frame that gets none.

    Args:
        tiles: of the frame.
        reason: see `FrameScore.skipped_reason`.
        fault: what is wrong with the picture, where that is why.
    """
    return FrameScore(
        camera=tiles.camera,
        index=tiles.index,
        pts_seconds=tiles.pts_seconds,
        score=float("nan"),
        received_at=tiles.received_at,
        skipped_reason=reason,
        reason=fault,
    )


@dataclass(frozen=True, slots=True)
class DetectorParts:
    """Where the parts of a detector are: "module:name"."""

    scorer: str
    network: str
    task: str | None
    """Training step; None where the detector is fitted by other means than the training loop."""
    image_task: str | None
    """Training step on images; None where it has none."""
    summary: str
    paper: str | None = None
    """Builds the network computed as the paper does, where ours takes a shorter way; for benchmarks."""
    streaming: str | None = None
    """Makes of a trained network and its manifest the form that carries state; None where there is none."""
    streaming_graph: str | None = None
    """Writes that form as ONNX: of the network, the manifest, the path, and whether weights are stored in 16 bits."""
    quantizable_graph: str | None = None
    """Writes that form as ONNX of operators that engines compute in 8 bits: of the network, the manifest, the path."""


_REGISTRY = {
    "adacl": DetectorParts(
        scorer="streamad.detectors.adacl.scorer:AdaclScorer",
        network="streamad.detectors.adacl.network:build",
        task="streamad.detectors.adacl.step:AdaclTask",
        image_task="streamad.detectors.adacl.step:image_task",
        summary="augment to detect anomalies with continuous labeling: a small CNN over moving 30×30 cells",
    ),
    "alps": DetectorParts(
        scorer="streamad.detectors.alps.scorer:AlpsScorer",
        network="streamad.detectors.alps.network:build",
        task="streamad.detectors.alps.step:AlpsTask",
        image_task="streamad.detectors.alps.step:image_task",
        summary="adversarially learned perturbations of latent space: an autoencoder over moving 30×30 cells",
    ),
    "learned_noise": DetectorParts(
        scorer="streamad.detectors.learned_noise.scorer:LearnedNoiseScorer",
        network="streamad.detectors.learned_noise.network:build",
        task="streamad.detectors.learned_noise.step:ClipTask",
        image_task="streamad.detectors.learned_noise.step:image_task",
        summary="learning to generate pseudo anomalies: a 3-D autoencoder over windows of 16 frames",
        paper="streamad.detectors.learned_noise.network:build_whole",
        streaming="streamad.detectors.learned_noise.streaming:streaming_network",
        streaming_graph="streamad.detectors.learned_noise.streaming_graph:export_streaming",
        quantizable_graph="streamad.detectors.learned_noise.subpixel_graph:export_quantizable",
    ),
    "igd": DetectorParts(
        scorer="streamad.detectors.igd.scorer:IgdScorer",
        network="streamad.detectors.igd.network:build",
        task="streamad.detectors.igd.step:IgdTask",
        image_task="streamad.detectors.igd.step:image_task",
        summary="interpolated Gaussian descriptors: an autoencoder with a descriptor over whole frames",
    ),
    "motion": DetectorParts(
        scorer="streamad.detectors.motion.scorer:MotionScorer",
        network="streamad.detectors.motion.network:build",
        task=None,
        image_task=None,
        summary="speed, direction and look of what moves, against what was normal there; fitted in seconds, no torch",
    ),
}


def detector_names() -> tuple[str, ...]:
    """Names of all detectors."""
    return tuple(_REGISTRY)


def detector_parts(name: str) -> DetectorParts:
    """The parts of a detector.

    Raises:
        UsageError: no detector has that name.
    """
    if name not in _REGISTRY:
        raise UsageError(f"there is no detector {name!r}; known: {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


def camera_scorer(bundle: Bundle, camera: str, *, streaming: bool | None = None) -> CameraScorer:
    """A fresh scorer of the bundle's detector for one camera.

    Args:
        bundle: the model.
        camera: configured id of the camera.
        streaming: the network that runs carries state; None: it does where the bundle has that form.

    Raises:
        BundleError: the bundle is of a detector that this version does not know.
    """
    name = bundle.manifest.detector
    if bundle.manifest.fusion is not None:
        return cast(CameraScorer, load_part("streamad.detectors.fused_scorer:fused_scorer")(bundle, camera))
    if name not in _REGISTRY:
        raise BundleError(
            f"the bundle {bundle.name} is of detector {name!r}; this streamad knows {', '.join(_REGISTRY)}",
            hint="update streamad",
        )
    if bundle.streaming_path is not None and _REGISTRY[name].streaming is None:
        raise BundleError(
            f"the bundle {bundle.name} has a streaming form, and the detector {name} knows none",
            hint="export the bundle again with this version",
        )
    streams = bundle.streaming_path is not None if streaming is None else streaming
    options = {"streaming": True} if streams else {}
    return cast(CameraScorer, load_part(_REGISTRY[name].scorer)(bundle.manifest, camera, **options))


def load_part(reference: str) -> Any:
    """Import "module:name"."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
