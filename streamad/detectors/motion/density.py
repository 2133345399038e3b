"""The detector's model in NumPy: how far a descriptor is from what was normal there, and how much evidence that is."""

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

    **Usual speed.** u(place): a Gaussian kernel regression, over `anchors`, of the logarithm of the usual speed.

    **Three measures** of a patch's descriptor, each larger for what is less usual:

    - speed: its speed divided by u.
    - direction: Euclidean distance from (velocity / u, place · `nearness`) to the nearest normal example.
    - look: Euclidean distance from ((√look − `look_mean`) · `look_basis`, place · `look_nearness`) to the nearest
      normal example. The basis is this camera's own: the principal components of the appearance in its normal video,
      each scaled to unit variance. Square roots reduce the difference between strong and weak edges.

    **Evidence.** For each measure m: slope · max(ln m − base, 0). `base` is the value of a usual frame of this camera.
    `slope` is the increase of the log odds that this is an anomaly of the measure's kind rather than normal video that
    the model was not fitted to (see `fitting`). Measures of different kinds therefore add up, and one that cannot
    separate this camera's normal video from anomalies has a slope of 0 and no effect.

    One density for each kind of attribute is the idea of AI-VAD (Reiss and Hoshen 2022, arXiv 2212.00789). Places, the
    usual speed and the evidence are additions.

    Attributes:
        anchors: (a, 2) rows and columns, working pixels.
        usual: (a,) natural logarithm of the usual speed there, working pixels per second.
        sharpness: (1,) 1 / (2 · bandwidth²) of the kernel, 1 / pixel².
        nearness: (1,) units of a measure per working pixel of distance.
        velocities: (m, 6) examples of velocity / u and place · nearness.
        look_mean: (l,) mean of the square roots of appearance.
        look_basis: (l, d) their principal components divided by the standard deviation along each.
        look_nearness: (1,) units of the appearance measure per working pixel of distance.
        looks: (e, d + 2) examples of appearance and place · look_nearness.
        base: (3,) logarithm of speed, direction and appearance up to which there is no evidence.
        slope: (3,) evidence for each unit of the logarithm beyond it, at least 0.
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
        """Return the (n,) usual speed, working pixels per second, at (n, 2) rows and columns in working pixels."""
        # There are few distinct places: each is computed once, its two 32-bit numbers viewed as one of 64 bits.
        keys, which = np.unique(np.ascontiguousarray(place, np.float32).view(np.int64).ravel(), return_inverse=True)
        places = keys.view(np.float32).reshape(-1, 2)
        squares = ((places[:, None, :] - self.anchors[None]) ** 2).sum(axis=-1) * self.sharpness
        weights = np.exp(squares.min(axis=1, keepdims=True) - squares)
        logs = (weights * self.usual).sum(axis=1) / weights.sum(axis=1)
        return np.asarray(np.exp(logs), dtype=np.float32)[which]

    def velocity_points(self, values: Floats) -> Floats:
        """Return the (n, 6) points of (n, length) descriptors that compare with `velocities`."""
        place = values[:, PLACE]
        return np.concatenate([values[:, VELOCITY] / self.usual_speed(place)[:, None], place * self.nearness], axis=1)

    def look_points(self, values: Floats) -> Floats:
        """Return the (n, d + 2) points of (n, length) descriptors that compare with `looks`."""
        seen = np.sqrt(np.maximum(values[:, LOOK], 0)) - self.look_mean
        return np.concatenate([seen @ self.look_basis, values[:, PLACE] * self.look_nearness], axis=1)

    def speed_ratios(self, values: Floats) -> Floats:
        """Return the (n,) speeds divided by the usual speed there."""
        ratio = np.maximum(values[:, SPEED][:, 0], SLOWEST) / self.usual_speed(values[:, PLACE])
        return np.asarray(ratio, dtype=np.float32)

    def measures(self, values: Floats) -> Floats:
        """Return (n, 3) speed, direction and appearance measures of (n, length) descriptors."""
        direction = nearest(self.velocity_points(values), self.velocities)
        look = nearest(self.look_points(values), self.looks)
        return np.stack([self.speed_ratios(values), direction, look], axis=1)

    def evidence(self, measures: Floats) -> Floats:
        """Return (…, 3) evidence, at least 0, of (…, 3) measures."""
        beyond = np.maximum(np.log(np.maximum(measures, CLOSEST)) - self.base, 0)
        return np.asarray(self.slope * beyond, dtype=np.float32)

    def __call__(self, values: Floats) -> Floats:
        """Return (n, 4) evidence and the usual speed there: the network's output."""
        usual = self.usual_speed(values[:, PLACE])[:, None]
        return np.concatenate([self.evidence(self.measures(values)), usual], axis=1)

    @property
    def numbers(self) -> int:
        """Number of learned parameters."""
        return sum(value.size for value in self.state().values())

    def state(self) -> dict[str, Floats]:
        """Return every array by its name, as stored."""
        return {item.name: np.ascontiguousarray(getattr(self, item.name), np.float32) for item in fields(self)}


def nearest(points: Floats, examples: Floats) -> Floats:
    """Return the (n,) Euclidean distance of each point to the nearest example, by one matrix product."""
    answer = np.empty(len(points), np.float32)
    lengths = (examples**2).sum(axis=1)
    for start in range(0, len(points), 4096):  # limits memory
        part = points[start : start + 4096]
        squares = lengths - 2.0 * (part @ examples.T)
        answer[start : start + 4096] = np.sqrt(np.maximum(squares.min(axis=1) + (part**2).sum(axis=1), 0))
    return answer
