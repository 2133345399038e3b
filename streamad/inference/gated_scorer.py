"""The frame-quality gate in front of a detector."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle
from streamad.detectors import CameraScorer
from streamad.detectors.base import skipped_score
from streamad.errors import OutputError
from streamad.files import write_atomic
from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore
from streamad.sources import ImagesSpec, SourceSpec
from streamad.sources.images import depth_hint, read_gray
from streamad.sources.quality import QualitySpec
from streamad.sources.quality.gate import GOOD, QualityGate, Verdict

QUALITY = "quality"
"""`FrameScore.skipped_reason` of a frame that the gate rejects."""

_NOTHING = np.zeros((0, 1, 1, 1), np.float32)

_log = logging.getLogger(__name__)

_WORDS = {
    "corrupt": "the decoder reports damage; frames are rejected until a clean key frame. Check the network",
    "dark": "the picture is black, or far darker than usual. Check the light and the lens",
    "washed_out": "the picture is white, or far brighter than usual. Check exposure, and what shines into the lens",
    "covered": "the scene is not visible. Check what is in front of the lens",
    "frozen": "the picture does not change. Restart the camera or its encoder",
    "light": "the light changed in the whole picture at once",
    "moved": "the camera no longer shows its usual view. Turn it back, or learn the new view (streamad learn)",
    "shaken": "the picture shakes. Check the mount",
    "blurred": "the picture is out of focus. Check the lens",
}


def in_words(reason: str) -> str:
    """Describe a reason of the gate and what to do about it."""
    return _WORDS.get(reason, reason)


def why_skipped(spec: SourceSpec, skipped: Mapping[str, int], frames: int) -> list[str]:
    """Explain to a user why frames of a recording have no score.

    Args:
        spec: The recording.
        skipped: Number of frames without a score, by cause (`FrameScore.cause`).
        frames: Number of all frames.
    """
    faults = {cause.partition(":")[2]: count for cause, count in skipped.items() if cause.startswith(f"{QUALITY}:")}
    said = [f"{count} of {frames} frames were rejected: {fault} ({in_words(fault)})" for fault, count in faults.items()]
    if faults and isinstance(spec, ImagesSpec) and (hint := depth_hint(spec)) is not None:
        said.append(hint)
    if sum(skipped.values()) == frames:
        said.append("nothing was scored: " + (", ".join(f"{cause} {n}" for cause, n in skipped.items()) or "no frame"))
    return said


class SkippedFrames:
    """Counts frames without a score over several recordings."""

    def __init__(self) -> None:
        self._causes: Counter[str] = Counter()
        self._frames = 0
        self._at_fault: SourceSpec | None = None

    def add(self, spec: SourceSpec, score: FrameScore) -> None:
        """Count a frame of a recording."""
        self._frames += 1
        if score.cause is not None:
            self._causes[score.cause] += 1
        if score.skipped_reason == QUALITY:
            self._at_fault = self._at_fault or spec

    def warn(self) -> None:
        """Log what is wrong with the recordings if frames were rejected."""
        for sentence in why_skipped(self._at_fault, self._causes, self._frames) if self._at_fault else ():
            _log.warning("%s", sentence)


@dataclass(frozen=True, slots=True)
class RejectedInput(ModelInput):
    """The empty input of a rejected frame."""

    fault: str = ""


class GatedScorer:
    """A camera's scorer behind the gate: rejected frames do not reach the detector and get no score.

    Args:
        scorer: The detector's scorer.
        gate: The camera's gate.
    """

    def __init__(self, scorer: CameraScorer, gate: QualityGate) -> None:
        self.inner = scorer
        self.gate = gate
        self.verdict: Verdict = GOOD
        """The verdict on the newest frame."""
        self._held = False

    @property
    def gaps(self) -> int:
        """Times that the detector's history was reset because frames were missing."""
        return self.inner.gaps

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """Return what the engine should run; nothing for a rejected frame.

        Raises:
            FrameSizeError: The frame is too small for this detector.
        """
        self.verdict = self.gate.check(frame)
        if self.verdict.reason is not None:
            self._held = True
            return RejectedInput(
                camera=frame.camera,
                index=frame.index,
                pts_seconds=frame.pts_seconds,
                received_at=frame.received_at,
                batch=_NOTHING,
                skipped_reason=QUALITY,
                fault=str(self.verdict.reason),
            )
        if self._held:
            # The detector missed frames: whatever remembers earlier ones starts over.
            self._held = False
            frame = replace(frame, flags=frame.flags | FrameFlags.DISCONTINUITY)
        return self.inner.preprocess(frame)

    def score(self, tiles: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Score the frame; NaN if it was rejected."""
        if isinstance(tiles, RejectedInput):
            return skipped_score(tiles, QUALITY, tiles.fault)
        return self.inner.score(tiles, outputs)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location of the anomaly map in pixels of the source's frame."""
        return self.inner.location_box(row, col)

    def reset(self) -> None:
        """Forget all frames; the gate keeps what it knows of the camera."""
        self.inner.reset()


def gated(scorer: CameraScorer, bundle: Bundle, spec: QualitySpec | None, *, camera: str) -> CameraScorer:
    """Put a scorer behind a gate, unless the gate is switched off.

    Args:
        scorer: The detector's scorer.
        bundle: Its reference view is used if the camera has none of its own.
        spec: The gate's configuration. Default: as shipped.
        camera: The camera's id, for messages.
    """
    spec = spec or QualitySpec()
    if not spec.enabled:
        return scorer
    reference = None
    for path in (spec.reference, bundle.place_path):
        if reference is None and path is not None and path.exists():
            reference = read_place(path, camera=camera)
    return GatedScorer(scorer, QualityGate(spec, reference=reference))


def read_place(path: Path, *, camera: str) -> UInt8Image | None:
    """Read an (h, w) uint8 reference view; None, with a warning, if it cannot be read."""
    picture = read_gray(path)
    if picture is None:
        _log.warning("camera %s: %s is not a picture; the reference view is learned again", camera, path)
        return None
    return np.asarray(picture, dtype=np.uint8)


def write_place(path: Path, picture: UInt8Image) -> None:
    """Write a reference view as PNG, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OutputError(f"cannot encode the reference view for {path}")
    write_atomic(path, data.tobytes())
