"""How far a descriptor is from what was normal there, and what that proves: the detector's model, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import (
    CLOSEST,
    LOOK,
    PLACE,
    SLOWEST,
    SPEED,
    VELOCITY,
)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MotionModel:
    """What was learned from a camera's normal video.

    **Usual speed.** u(place): a Gaussian kernel regression over `anchors` of the logarithm of the usual speed.

    **Three measures** of a cell's descriptor, each larger for what is less usual:

    - speed: its speed over u.
    - direction: Euclidean distance from (velocity / u, place · `nearness`) to the nearest normal example.
    - look: Euclidean distance from ((√look − `look_mean`) · `look_basis`, place · `look_nearness`) to the nearest
      normal example. The basis is this camera's own: the principal components of the looks of its normal video, each
      scaled to unit variance. Roots bring strong and weak edges closer together.

    **Evidence.** Of each measure m: slope · max(ln m − base, 0). `base` is what a usual frame of this camera has,
    `slope` by how much the logarithm of the odds rises that this is an anomaly of the measure's kind and not normal
    video that the model was not shown (see `fitting`). So measures of different kinds add up, and one that cannot tell
    this camera's normal video from anomalies has a slope of 0 and counts for nothing.

    The idea of a density for each kind of attribute is AI-VAD's (Reiss and Hoshen 2022, arXiv 2212.00789); places, the
    usual speed and the evidence are our choice.

    Attributes:
        anchors: (a, 2) rows and columns, working pixels.
        usual: (a,) natural logarithm of the usual speed there, working pixels a second.
        sharpness: (1,) 1 / (2 · bandwidth²) of the kernel, 1 / pixel².
        nearness: (1,) units of a measure to a working pixel of distance.
        velocities: (m, 6) examples of velocity / u and place · nearness.
        look_mean: (l,) mean of the roots of looks.
        look_basis: (l, d) their principal components over the standard deviation along each.
        look_nearness: (1,) units of a look's measure to a working pixel of distance.
        looks: (e, d + 2) examples of looks and place · look_nearness.
        base: (3,) logarithm of speed, direction and look up to which there is no evidence.
        slope: (3,) evidence for each unit of the logarithm beyond, at least 0.
    """

    anchors: Floats
    usual: Floats
    sharpness: Floats
    nearness: Floats
    velocities: Floats
    look_mean: Floats
    look_basis: Floats
    look_nearness: Floats
    looks: Floats
    base: Floats
    slope: Floats

    def usual_speed(self, place: Floats) -> Floats:
        """(n,) usual speed, working pixels a second, at (n, 2) rows and columns in working pixels."""
        # Cells have few places: each is reckoned once, its two numbers of 32 bits taken as one of 64.
        keys, which = np.unique(np.ascontiguousarray(place, np.float32).view(np.int64).ravel(), return_inverse=True)
        places = keys.view(np.float32).reshape(-1, 2)
        squares = ((places[:, None, :] - self.anchors[None]) ** 2).sum(axis=-1) * self.sharpness
        weights = np.exp(squares.min(axis=1, keepdims=True) - squares)
        logs = (weights * self.usual).sum(axis=1) / weights.sum(axis=1)
        return np.asarray(np.exp(logs), dtype=np.float32)[which]

    def velocity_points(self, values: Floats) -> Floats:
        """(n, 6) what `velocities` are examples of, from (n, length) descriptors."""
        place = values[:, PLACE]
        return np.concatenate([values[:, VELOCITY] / self.usual_speed(place)[:, None], place * self.nearness], axis=1)

    def look_points(self, values: Floats) -> Floats:
        """(n, d + 2) what `looks` are examples of, from (n, length) descriptors."""
        seen = np.sqrt(np.maximum(values[:, LOOK], 0)) - self.look_mean
        return np.concatenate([seen @ self.look_basis, values[:, PLACE] * self.look_nearness], axis=1)

    def speed_ratios(self, values: Floats) -> Floats:
        """(n,) speed over the usual speed there."""
        ratio = np.maximum(values[:, SPEED][:, 0], SLOWEST) / self.usual_speed(values[:, PLACE])
        return np.asarray(ratio, dtype=np.float32)

    def measures(self, values: Floats) -> Floats:
        """(n, 3) speed, direction and look of (n, length) descriptors."""
        direction = nearest(self.velocity_points(values), self.velocities)
        look = nearest(self.look_points(values), self.looks)
        return np.stack([self.speed_ratios(values), direction, look], axis=1)

    def evidence(self, measures: Floats) -> Floats:
        """(…, 3) evidence, at least 0, of (…, 3) measures."""
        beyond = np.maximum(np.log(np.maximum(measures, CLOSEST)) - self.base, 0)
        return np.asarray(self.slope * beyond, dtype=np.float32)

    def __call__(self, values: Floats) -> Floats:
        """(n, 4) evidence and the usual speed there: what the network answers."""
        usual = self.usual_speed(values[:, PLACE])[:, None]
        return np.concatenate([self.evidence(self.measures(values)), usual], axis=1)

    @property
    def numbers(self) -> int:
        """How many numbers were learned."""
        return sum(value.size for value in self.state().values())

    def state(self) -> dict[str, Floats]:
        """Every array by its name, as it is stored."""
        return {item.name: np.ascontiguousarray(getattr(self, item.name), np.float32) for item in fields(self)}


def nearest(points: Floats, examples: Floats) -> Floats:
    """(n,) Euclidean distance of each point to the nearest example, by one product of matrices."""
    answer = np.empty(len(points), np.float32)
    lengths = (examples**2).sum(axis=1)
    for start in range(0, len(points), 4096):  # bounds the memory
        part = points[start : start + 4096]
        squares = lengths - 2.0 * (part @ examples.T)
        answer[start : start + 4096] = np.sqrt(np.maximum(squares.min(axis=1) + (part**2).sum(axis=1), 0))
    return answer
