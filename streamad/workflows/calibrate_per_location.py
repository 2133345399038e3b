"""Per-location calibration on a camera's normal video; no frame is scored by statistics that include it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.calibration.per_location import PerLocationScore, PerLocationSpec, PerLocationStatistics, pooled
from streamad.calibration.per_location_fit import CellSamples, fit_per_location, join_samples
from streamad.detectors import find_detector
from streamad.errors import CalibrationError, OutputError
from streamad.inference.clips import score_clips
from streamad.inference.model import Model
from streamad.protocols import Progress, no_progress
from streamad.sources import SourceError, SourceSpec
from streamad.zones import ZoneSpec

FOLDS, LEAST_CLIPS = 5, 3
"""The video is divided into this many parts, each scored by statistics of the others; with at least this many clips,
parts consist of whole clips. Chosen without measurement."""

PRIOR_SECONDS = 50.0
"""Length of video that a wider level counts for when a narrower one is shrunk toward it. Given in time, not frames:
frames within a second are nearly identical."""

MAP_POOL = 3
"""An error map of the whole picture is averaged over 3×3 locations: errors occur at the edges of objects, and an object
spans several locations. The cells of detectors that score only moving ones are already as large as objects."""


@dataclass(frozen=True)
class LocalClips:
    """Result of per-location calibration on normal clips.

    Attributes:
        scores: (n,) per-location scores of every clip, each frame scored by the statistics of other parts; NaN if it
            has no score.
        statistics: Statistics of all clips, for use after calibration.
        indices: (n,) frame numbers of these scores in every clip: detectors that score windows skip the ends.
    """

    scores: list[npt.NDArray[np.float64]]
    statistics: PerLocationStatistics
    indices: list[npt.NDArray[np.int_]] = field(default_factory=list)


def local_spec(manifest: Manifest, fps: float | None = None) -> PerLocationSpec:
    """Return the parameters for a detector; see docs/concepts/per-location-calibration.md.

    Args:
        manifest: Manifest of the detector's bundle.
        fps: Frames per second of the video. Default: the bundle's.
    """
    pool = 1 if manifest.tiling.kind == "cells" else MAP_POOL
    return PerLocationSpec(pool=pool, prior_samples=PRIOR_SECONDS * (fps or manifest.training.fps))


def is_per_location_by_default(manifest: Manifest) -> bool:
    """Whether `calibrate` fits per-location statistics by default (`Detector.per_location`)."""
    return manifest.fusion is None and find_detector(manifest.detector).per_location


def score_clips_per_location(
    clips: Sequence[SourceSpec],
    model: Model,
    *,
    fps: float | None = None,
    zones: Sequence[ZoneSpec] = (),
    progress: Progress = no_progress,
    lost: Callable[[int, SourceError], None] | None = None,
) -> LocalClips:
    """Score normal clips of one camera, in order, and fit per-location statistics.

    Anomaly maps are kept in a temporary file: 4 bytes per location and frame, 370 MB for an hour of 32×32 locations at
    25 frames/s. Memory holds a bounded sample of every location.

    Args:
        clips: Normal video.
        model: The model.
        fps: Frames per second. Default: the bundle's.
        zones: See `score_clips`.
        progress: See `score_clips`.
        lost: See `score_clips`.

    Raises:
        CalibrationError: The model has no anomaly map, or nothing can be learned from these clips.
        OutputError: The temporary file cannot be written.
    """
    with Spool() as spool:
        found = score_clips(
            clips, model, zones=zones, on_score=lambda score: spool.add(score.anomaly_map), progress=progress, lost=lost
        )
        if spool.shape is None:
            raise CalibrationError(
                f"the model {model.bundle.name} has no anomaly map, which per-location calibration needs",
                hint="calibrate with --no-local, or give more normal video",
            )
        spec = local_spec(model.bundle.manifest, fps)
        fitted = crossfit(spool, [clip.has_map for clip in found], spec)
        return replace(fitted, indices=[clip.indices for clip in found])


def crossfit(heat: Spool, scored: Sequence[npt.NDArray[np.bool_]], spec: PerLocationSpec) -> LocalClips:
    """Score recorded anomaly maps, each part by statistics of the others; see `score_clips_per_location`.

    Args:
        heat: Anomaly maps of all frames of all clips, in order.
        scored: (frames,) of every clip: whether a frame has a score.
        spec: Parameters of the statistics.

    Raises:
        CalibrationError: The scored frames are too few to make two parts.
    """
    assert heat.shape is not None
    part = parts([len(known) for known in scored])
    samples = [CellSamples(heat.shape, seed=k) for k in range(max(int(p.max()) for p in part if p.size) + 1)]
    for maps, known, fold in zip(heat.clips(scored), scored, part, strict=True):
        for anomaly_map, is_known, k in zip(maps, known, fold, strict=True):
            if is_known:
                samples[k].add(pooled(anomaly_map, spec.pool))
    filled = [k for k, sample in enumerate(samples) if sample.frames]
    if len(filled) < 2:
        raise CalibrationError(
            "cannot calibrate cells: the scored frames do not make two parts", hint="give more normal video"
        )
    whole = join_samples([samples[k] for k in filled])
    others = {k: _fitted([samples[j] for j in filled if j != k], spec, whole.frames) for k in filled}
    answer = []
    for maps, known, fold in zip(heat.clips(scored), scored, part, strict=True):
        values = np.full(len(known), np.nan)
        state: PerLocationScore | None = None
        for t, (anomaly_map, is_known, k) in enumerate(zip(maps, known, fold, strict=True)):
            if not is_known:
                continue
            if state is None:
                state = PerLocationScore(others[k])
            state.statistics = others[k]
            values[t], _ = state.update(anomaly_map)
        answer.append(values)
    return LocalClips(answer, fit_per_location(whole, spec))


def _fitted(parts: Sequence[CellSamples], spec: PerLocationSpec, frames: int) -> PerLocationStatistics:
    """Fit statistics of some parts that give scores as high as the statistics of all parts, of `frames` frames.

    The longer a location was observed, the higher its scores may be. Statistics of fewer frames would give lower
    scores, and thus a threshold that is too low for the statistics of all parts, so the prior is reduced in proportion.
    """
    samples = join_samples(parts)
    return fit_per_location(samples, replace(spec, prior_samples=spec.prior_samples * samples.frames / frames))


def parts(frames: Sequence[int]) -> list[npt.NDArray[np.int_]]:
    """Assign every frame of every clip to a part: whole clips if there are at least three, else segments of clips.

    Clips differ more than frames of one clip do: other people, other light. Scored by statistics of the rest of its own
    clip, a frame looks more normal than a frame of a new clip would, so clips are not split unless necessary. Several
    clips share `FOLDS` parts; one or two clips are cut into equal segments, at least `FOLDS` in total.
    """
    if len(frames) >= LEAST_CLIPS:
        folds = min(FOLDS, len(frames))
        ends = np.cumsum(frames)
        middles = (ends - np.asarray(frames) / 2) * folds / max(ends[-1], 1)
        if len(frames) == folds:  # one part per clip, whatever its length
            middles = np.arange(folds)
        return [np.full(n, min(int(at), folds - 1)) for n, at in zip(frames, middles, strict=True)]
    cuts = -(-FOLDS // max(len(frames), 1))
    return [number * cuts + np.arange(n) * cuts // max(n, 1) for number, n in enumerate(frames)]


class Spool:
    """Temporary file of anomaly maps."""

    def __init__(self) -> None:
        self.shape: tuple[int, int] | None = None
        self._missing = 0
        self._folder = tempfile.TemporaryDirectory(prefix="streamad-")
        self._file: IO[bytes] = (Path(self._folder.name) / "heat").open("w+b")

    def add(self, anomaly_map: npt.NDArray[np.float32] | None) -> None:
        """Append the next frame's anomaly map; None if it has none.

        Raises:
            CalibrationError: The map's size changed.
            OutputError: The map cannot be written.
        """
        if anomaly_map is None and self.shape is None:
            self._missing += 1
            return
        if self.shape is None and anomaly_map is not None:
            self.shape = (anomaly_map.shape[0], anomaly_map.shape[1])
            for _ in range(self._missing):
                self.add(None)
        assert self.shape is not None
        if anomaly_map is not None and anomaly_map.shape != self.shape:
            raise CalibrationError(
                f"the pictures change their size: anomaly maps of {self.shape} and of {anomaly_map.shape} cells",
                hint="give clips of one size, as the camera sends it",
            )
        shown = np.full(self.shape, np.nan, np.float32) if anomaly_map is None else anomaly_map
        try:
            self._file.write(np.ascontiguousarray(shown, np.float32).tobytes())
        except OSError as error:
            raise OutputError(
                f"cannot keep anomaly maps in {self._folder.name}: {error.strerror}", hint="set TMPDIR to a larger disk"
            ) from error

    def clips(self, scored: Sequence[npt.NDArray[np.bool_]]) -> Iterator[Iterator[npt.NDArray[np.float32]]]:
        """Yield the anomaly maps of each clip, in order; read each clip to its end before the next."""
        self._file.seek(0)
        for known in scored:
            yield (self._read() for _ in range(len(known)))

    def _read(self) -> npt.NDArray[np.float32]:
        assert self.shape is not None
        data = self._file.read(4 * self.shape[0] * self.shape[1])
        return np.frombuffer(data, np.float32).reshape(self.shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._folder.cleanup()
