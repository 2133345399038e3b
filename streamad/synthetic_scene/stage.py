"""One video as an iterator: advances the crowd and events, draws, and applies the sensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from streamad.synthetic_scene.anomalies import ANOMALY_KINDS, AnomalyKind, Director, Planned, check_kinds, plan
from streamad.synthetic_scene.backdrop import Backdrop, Layer, blend, build_backdrop
from streamad.synthetic_scene.crowd import Crowd
from streamad.synthetic_scene.layout import SUPERSAMPLING, Layout, Rgb, sample_layout
from streamad.synthetic_scene.sensor import Sensor
from streamad.synthetic_scene.shapes import SHIFT, Box, Canvas, Painter, Polygon, bounds

Part = Literal["training", "testing"]
Mask = npt.NDArray[np.bool_]

VISIBLE_FRACTION = 0.25
"""Share of an anomaly's silhouette that must be visible (inside the picture and not hidden) for it to count as present.
A wheel at the edge of the picture is not yet a cyclist. Chosen without measurement."""

_MIN_PIXELS = 40  # pixels at a height of 360; anything smaller is invisible to people


@dataclass(frozen=True)
class Sighting:
    """An anomalous subject in one frame.

    Attributes:
        event: Index in the video's plan.
        kind: Kind of anomaly.
        box: (x0, y0, x1, y1) in pixels of the picture, clipped to it; x1 and y1 exclusive.
        visible: Visible share of its silhouette, 0..1.
    """

    event: int
    kind: AnomalyKind
    box: Box
    visible: float


@dataclass(frozen=True)
class SceneFrame:
    """A rendered frame with its ground truth.

    Attributes:
        index: Frame number in the video, from 0.
        seconds: Time of the frame, index / fps.
        pixels: (H, W, 3) uint8 RGB.
        sightings: Anomalous subjects of which at least `VISIBLE_FRACTION` is visible.
        walkers: Boxes (x0, y0, x1, y1) of the normal walkers, which all walk with the flow.
        walker_ids: Identity of each walker, constant over the video.
        mask: (H, W) bool, visible pixels of the anomalous subjects; None if there are none.
    """

    index: int
    seconds: float
    pixels: Canvas = field(repr=False)
    sightings: tuple[Sighting, ...]
    walkers: tuple[Box, ...]
    walker_ids: tuple[int, ...]
    mask: Mask | None = field(repr=False)

    @property
    def label(self) -> int:
        """1 if an anomaly is visible, else 0."""
        return int(bool(self.sightings))


@lru_cache(maxsize=2)
def scene_of(seed: int, size: tuple[int, int]) -> tuple[Layout, Backdrop]:
    """Layout and empty scene of a seed. Cached, because all videos of a seed share them."""
    layout = sample_layout(seed, size)
    return layout, build_backdrop(layout)


def random_of(seed: int, part: Part, video: int) -> np.random.Generator:
    """Random generator of one video, independent of all others."""
    return np.random.default_rng([seed, 2 if part == "training" else 3, video])


def iterate_frames(
    *,
    seed: int = 0,
    size: tuple[int, int] = (640, 360),
    fps: float = 12.5,
    seconds: float = 10.0,
    part: Part = "testing",
    video: int = 0,
    anomalies: Sequence[str] = ANOMALY_KINDS,
    pace: tuple[float, float] | None = None,
) -> Iterator[SceneFrame]:
    """Render one video frame by frame, without encoding.

    Args:
        seed: Seed of the place. Equal seeds give equal frames.
        size: Picture size (width, height), pixels.
        fps: Frames per second.
        seconds: Length of the video.
        part: "training" has only normal walkers.
        video: Number of the video in its part, from 0.
        anomalies: Anomalies of a testing video; each entry occurs once (see `ANOMALY_KINDS`).
        pace: Minimum and maximum speed of anomalous subjects, relative to the mean walking speed. Default: the usual
            range of each kind.

    Yields:
        round(seconds · fps) `SceneFrame` objects.

    Raises:
        UsageError: If an anomaly is unknown, or more are requested than fit.
    """
    kinds = check_kinds(anomalies) if part == "testing" else ()
    layout, backdrop = scene_of(seed, size)
    rng = random_of(seed, part, video)
    events = plan(layout, kinds, seconds, rng, pace)
    stage = _Stage(layout, backdrop, events, size, rng)
    stage.warm_up(fps)
    for index in range(round(seconds * fps)):
        stage.advance(index / fps, 1 / fps)
        yield stage.picture(index, index / fps)


class _Stage:
    def __init__(
        self,
        layout: Layout,
        backdrop: Backdrop,
        events: Sequence[Planned],
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        crowd_rng, cast_rng, sensor_rng = rng.spawn(3)
        self._layout = layout
        self._backdrop = backdrop
        self._events = events
        self._size = size
        self._crowd = Crowd(layout, crowd_rng)
        self._director = Director(layout, self._crowd, events, cast_rng)
        self._sensor = Sensor(layout.light, size, sensor_rng)
        self._painter = Painter(layout.camera, layout.light)
        self._canvas = np.empty_like(backdrop.canvas)

    def warm_up(self, fps: float) -> None:
        """Fill the walkway before the first frame."""
        first, last = self._layout.walkway.reach
        seconds = (last - first + 8.0) / 0.85
        for step in range(round(seconds * fps)):
            self.advance(step / fps - seconds, 1 / fps)

    def advance(self, now: float, dt: float) -> None:
        self._director.step(now)
        self._crowd.step(dt)

    def picture(self, index: int, seconds: float) -> SceneFrame:
        subjects = {id(mover): number for number, mover in self._director.subjects()}
        canvas, layout = self._canvas, self._layout
        np.copyto(canvas, self._backdrop.canvas)
        movers = self._crowd.movers
        feet = np.array([(*layout.walkway.world(m.s, m.v), 0.0) for m in movers]).reshape(-1, 3)
        _, depths = layout.camera.project(feet)
        placed = [(float(depths[k]), movers[k], movers[k].figures(layout)) for k in np.argsort(-depths, kind="stable")]
        for _, _, figures in placed:
            for figure in figures:
                self._painter.shadow(canvas, figure)
        masks: dict[int, npt.NDArray[np.uint8]] = {}
        silhouettes: dict[int, list[Polygon]] = {}
        walkers: list[tuple[int, Box]] = []
        hidden_by = list(self._backdrop.layers)
        behind: list[Box] = []
        for depth_of, mover, figures in placed:
            while hidden_by and hidden_by[0].depth > depth_of:
                self._hide(behind, masks, hidden_by.pop(0))
            polygons: list[Polygon] = []
            for figure in figures:
                polygons += self._painter.draw(canvas, figure, self._brightness(figure.x, figure.y))
            box = bounds(polygons)
            if box is None:
                continue
            behind.append(box)
            for mask in masks.values():
                _fill(mask, polygons, 0, box)
            clipped = self._clip(box)
            number = subjects.get(id(mover))
            if number is not None and clipped is not None:
                silhouettes[number] = polygons
                masks[number] = np.zeros((self._size[1], self._size[0]), np.uint8)
                _fill(masks[number], polygons, 1, None)
            elif number is None and clipped is not None and mover.role == "walker":
                walkers.append((mover.identity, clipped))
        for layer in hidden_by:
            self._hide(behind, masks, layer)
        sightings, in_sight = self._judge(masks, silhouettes)
        return SceneFrame(
            index=index,
            seconds=seconds,
            pixels=self._sensor.expose(canvas, seconds),
            sightings=sightings,
            walkers=tuple(box for _, box in walkers),
            walker_ids=tuple(identity for identity, _ in walkers),
            mask=in_sight,
        )

    def _judge(
        self, masks: dict[int, npt.NDArray[np.uint8]], silhouettes: dict[int, list[Polygon]]
    ) -> tuple[tuple[Sighting, ...], Mask | None]:
        sightings: list[Sighting] = []
        union: Mask | None = None
        smallest = _MIN_PIXELS * (self._size[1] / 360) ** 2
        for number, pixels in masks.items():
            seen = int(pixels.sum())
            whole = max(1, _area(silhouettes[number]))
            box = bounds(silhouettes[number])
            clipped = self._clip(box) if box is not None else None
            if clipped is None or seen < smallest or seen / whole < VISIBLE_FRACTION:
                continue
            sightings.append(Sighting(number, self._events[number].kind, clipped, min(1.0, seen / whole)))
            mask = pixels.astype(bool)
            union = mask if union is None else union | mask
        return tuple(sightings), union

    def _hide(self, behind: list[Box], masks: dict[int, npt.NDArray[np.uint8]], layer: Layer) -> None:
        height, width = layer.alpha.shape
        for x0, y0, x1, y1 in behind:
            box = (int(x0) - 2, int(y0) - 2, int(x1) + 3, int(y1) + 3)
            blend(self._canvas, layer, box)
        n = SUPERSAMPLING
        for mask in masks.values():
            half = (max(1, width // n), max(1, height // n))
            small = cv2.resize(layer.alpha, half, interpolation=cv2.INTER_AREA)
            y, x = layer.y // n, layer.x // n
            patch = mask[y : y + small.shape[0], x : x + small.shape[1]]
            patch[small[: patch.shape[0], : patch.shape[1]] > 127] = 0

    def _brightness(self, x: float, y: float) -> Rgb:
        layout = self._layout
        foot, _ = layout.camera.project(np.array([x, y, 0.0]))
        column = min(max(int(foot[0]), 0), layout.camera.width - 1)
        row = min(max(int(foot[1]), 0), layout.camera.height - 1)
        gain = float(self._backdrop.light[row, column]) * layout.light.exposure
        # Bodies are taller than the shade on the ground, so they lose less light.
        gain = gain**0.8 * 1.05
        r, g, b = layout.light.tint
        return gain * r, gain * g, gain * b

    def _clip(self, box: Box) -> Box | None:
        n = SUPERSAMPLING
        width, height = self._size
        x0, y0 = max(0.0, box[0] / n), max(0.0, box[1] / n)
        x1, y1 = min(float(width), box[2] / n), min(float(height), box[3] / n)
        if x1 - x0 < 1 or y1 - y0 < 1:
            return None
        return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)


def _fill(mask: npt.NDArray[np.uint8], polygons: Sequence[Polygon], value: int, box: Box | None) -> None:
    """Fill canvas polygons in a mask of the picture's size, halving them by one more fractional bit."""
    if box is not None:
        n = SUPERSAMPLING
        x0, y0 = max(0, int(box[0] // n)), max(0, int(box[1] // n))
        if not mask[y0 : int(box[3] // n) + 1, x0 : int(box[2] // n) + 1].any():
            return
    for polygon in polygons:
        cv2.fillConvexPoly(mask, polygon, (value,), cv2.LINE_8, SHIFT + SUPERSAMPLING // 2)


def _area(polygons: Sequence[Polygon]) -> int:
    """Number of picture pixels in the whole silhouette, including parts outside the picture."""
    points = np.concatenate(polygons)
    unit = SUPERSAMPLING << SHIFT
    corner = np.floor(points.min(axis=0) / unit).astype(np.int32)
    width, height = (np.ceil(points.max(axis=0) / unit).astype(int) - corner + 1).tolist()
    patch = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        moved = np.asarray(polygon - corner * unit, dtype=np.int32)
        cv2.fillConvexPoly(patch, moved, (1,), cv2.LINE_8, SHIFT + SUPERSAMPLING // 2)
    return int(patch.sum())
