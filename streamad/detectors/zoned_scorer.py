"""Zones in front of any detector: places that do not count are taken out before a frame's score is made."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import CameraScorer
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import ModelInput
from streamad.scoring.frame_score import FrameScore
from streamad.zones import Zones

_log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

MOST_OF_THE_TIME = 0.25
"""Quantile of a zone's highest outputs that must be high for its `min_duration_seconds`: outputs are not smoothed over
time, and a thing that is missed in some frames is still there. Chosen without measurement."""


@dataclass
class CurrentZones:
    """The zones of one camera that are active now; they may be replaced between two frames."""

    zones: Zones | None = None


class ZonedScorer:
    """Wraps a detector's scorer: places that its zones leave out do not exist for it.

    Moving cells and patches are taken out of the network's input. A network of whole frames sees the whole frame: its
    anomaly map loses these places, and the frame's score is made from the rest of the map, as the mean or maximum that
    it is otherwise. Without zones, nothing is changed.

    Args:
        inner: The detector's scorer.
        manifest: Manifest of its bundle.
        current: The camera's zones.
    """

    def __init__(self, inner: CameraScorer, manifest: Manifest, current: CurrentZones) -> None:
        self._inner = inner
        self._manifest = manifest
        self._current = current
        self._held: dict[str, deque[tuple[float, float]]] = {}
        self._checked: tuple[Zones, LocationBoxes] | None = None

    @property
    def gaps(self) -> int:
        """Number of times that the history was reset because frames were missing."""
        return self._inner.gaps

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """Return the detector's input, without moving places that do not count."""
        found = self._inner.preprocess(frame)
        zones = self._current.zones
        if zones is None or found is None or found.locations is None or found.boxes is None:
            return found
        if self._checked is None or self._checked[0] is not zones or self._checked[1] is not found.boxes:
            self._checked = zones, found.boxes
            if problem := zones.problem(found.boxes):
                _log.warning("camera %s: %s", found.camera, problem)
        kept = zones.keep(found.boxes, found.locations, settled=found.settled, standing=found.standing)
        return found if kept.all() else _only(found, kept)

    def score(self, model_input: ModelInput, outputs: Floats) -> FrameScore:
        """Return the score of the places that count; others are NaN in the anomaly map."""
        zones = self._current.zones
        if zones is None:
            return self._inner.score(model_input, outputs)
        if model_input.skipped_reason is not None:
            self._held.clear()
            return self._inner.score(model_input, outputs)
        if not np.isfinite(outputs).all():
            return self._inner.score(model_input, outputs)
        if model_input.locations is not None:
            if zones.has_durations and model_input.boxes is not None:
                model_input, outputs = self._lasting(zones, model_input, outputs)
            score = self._inner.score(model_input, outputs)
            if score.anomaly_map is None or score.boxes is None:
                return score
            hidden = zones.places(score.boxes).is_hidden  # what stands may reach beyond the zones
            if np.isfinite(score.anomaly_map[hidden]).any():
                return replace(score, anomaly_map=np.where(hidden, np.float32(np.nan), score.anomaly_map))
            return score
        return self._whole(zones, model_input, outputs)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location in pixels of the source's frame; x1, y1 exclusive."""
        return self._inner.location_box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._inner.reset()
        self._held.clear()

    def _lasting(self, zones: Zones, model_input: ModelInput, outputs: Floats) -> tuple[ModelInput, Floats]:
        """Limit the outputs of moving places to what has lasted in their zone."""
        assert model_input.locations is not None
        assert model_input.boxes is not None
        rows, cols = model_input.locations.T
        number = zones.places(model_input.boxes).zone[rows, cols]
        values = outputs if outputs.ndim == 1 else outputs[:, 0]
        moves = np.ones(len(number), np.bool_) if model_input.settled is None else ~model_input.settled
        limit = self._limits(zones, number[moves], values[moves], model_input.pts_seconds)[number]
        limit[~moves] = np.inf  # how long it stands is what its output says
        kept = limit > -np.inf
        outputs, limit = outputs[kept].copy(), limit[kept].astype(np.float32)
        values = outputs if outputs.ndim == 1 else outputs[:, 0]
        np.minimum(values, limit, out=values)
        return (model_input if kept.all() else _only(model_input, kept)), outputs

    def _whole(self, zones: Zones, model_input: ModelInput, outputs: Floats) -> FrameScore:
        """Score a whole frame from the places of its anomaly map that count."""
        spec, side = self._manifest.input, self._manifest.score.heat_cell
        grid = (spec.height // side, spec.width // side)
        if model_input.boxes is None or outputs.shape != (1, 1 + grid[0] * grid[1]):
            return self._inner.score(model_input, outputs)  # which says what is wrong
        places = zones.places(_map_boxes(model_input.boxes.shape, grid))
        limit = np.where(places.is_hidden, -np.inf, np.inf).ravel()
        values = outputs[0, 1:]
        if zones.has_durations:
            number = places.zone.ravel()
            lasting = self._limits(zones, number, values, model_input.pts_seconds)[number]
            limit = np.minimum(limit, lasting)
        if (values <= limit).all():
            return self._inner.score(model_input, outputs)
        counting = np.minimum(values, limit.astype(np.float32))[limit > -np.inf]
        changed = outputs.copy()
        changed[0, 0] = self._frame_value(counting) if counting.size else values.min()
        score = self._inner.score(model_input, changed)
        if score.anomaly_map is None:
            return score
        shown = np.minimum(score.anomaly_map, limit.reshape(grid).astype(np.float32))
        return replace(score, anomaly_map=np.where(np.isneginf(shown), np.float32(np.nan), shown))

    def _frame_value(self, values: Floats) -> float:
        """Return what the network's first output is made of its map by: an error's mean, or the highest location."""
        is_peak = self._manifest.score.kind == "map" and self._manifest.training.options.get("pooling") == "peak"
        return float(values.max() if is_peak else values.mean(dtype=np.float64))

    def _limits(
        self, zones: Zones, number: npt.NDArray[np.intp], values: Floats, now: float
    ) -> npt.NDArray[np.float64]:
        """Return the highest output that has lasted in each zone for its `min_duration_seconds`; no zone comes last."""
        limits = np.full(len(zones.specs) + 1, np.inf)
        for index, zone in enumerate(zones.specs):
            if not zone.min_duration_seconds:
                continue
            own = values[number == index]
            past = self._held.setdefault(zone.name, deque())
            if past and now <= past[-1][0]:
                past.clear()
            past.append((now, float(own.max()) if own.size else -np.inf))
            begin = now - zone.min_duration_seconds
            while len(past) > 1 and past[1][0] <= begin + 1e-6:
                past.popleft()
            limits[index] = -np.inf
            if past[0][0] <= begin + 1e-6:
                peaks = np.array([peak for _, peak in past])
                limits[index] = np.partition(peaks, at := int(MOST_OF_THE_TIME * len(peaks)))[at]
        return limits


def _only(model_input: ModelInput, kept: npt.NDArray[np.bool_]) -> ModelInput:
    assert model_input.locations is not None
    return replace(
        model_input,
        batch=model_input.batch[kept],
        locations=model_input.locations[kept],
        settled=None if model_input.settled is None else model_input.settled[kept],
    )


def _map_boxes(shape: tuple[int, int], grid: tuple[int, int]) -> LocationBoxes:
    ys, xs = ([round(k * length / count) for k in range(count + 1)] for length, count in zip(shape, grid, strict=True))
    return LocationBoxes.between(shape, ys, xs)
