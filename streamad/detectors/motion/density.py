"""How rare a descriptor is, given what was normal there: the detector's model, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import (
    BEYOND,
    CLOSEST,
    PLACE,
    SHAPE,
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
    - shape: the same for (principal components of the surround, place · `nearness`).

    **Rarity.** Of each measure m: z = (ln m − location) / scale, where location and scale are those of the Gumbel
    distribution of ln m's maxima over blocks of normal video that the model was not shown (see `fitting`). Such a
    maximum reaches z with a chance of about e^−z: z is the logarithm of the number of blocks in which it is to be
    expected once. So measures of different kinds, and cameras, are comparable. A distance to examples says that
    something was not seen, not how far from normal it is: what lies beyond `cap`, the rarest that the normal video can
    vouch for, counts by a tenth. Speeds have a scale of their own, and are extrapolated.

    The idea of a density for each kind of attribute is AI-VAD's (Reiss and Hoshen 2022, arXiv 2212.00789); places, the
    usual speed, the maxima and the cap are our choice.

    Attributes:
        anchors: (a, 2) rows and columns, working pixels.
        usual: (a,) natural logarithm of the usual speed there, working pixels a second.
        sharpness: (1,) 1 / (2 · bandwidth²) of the kernel, 1 / pixel².
        nearness: (1,) units of a measure to a working pixel of distance.
        velocities: (m, 6) examples of velocity / u and place · nearness.
        mean: (k,) mean surround.
        components: (k, c) its principal components, scaled.
        shapes: (s, c + 2) examples of shape and place · nearness.
        location: (3,) of speed, direction, shape.
        scale: (3,) of speed, direction, shape.
        cap: (3,) largest rarity that counts in full; infinite is written as 1e9.
    """

    anchors: Floats
    usual: Floats
    sharpness: Floats
    nearness: Floats
    velocities: Floats
    mean: Floats
    components: Floats
    shapes: Floats
    location: Floats
    scale: Floats
    cap: Floats

    def usual_speed(self, place: Floats) -> Floats:
        """(n,) usual speed, working pixels a second, at (n, 2) rows and columns in working pixels."""
        squares = ((place[:, None, :] - self.anchors[None]) ** 2).sum(axis=-1) * self.sharpness
        weights = np.exp(squares.min(axis=1, keepdims=True) - squares)
        logs = (weights * self.usual).sum(axis=1) / weights.sum(axis=1)
        return np.asarray(np.exp(logs), dtype=np.float32)

    def velocity_points(self, values: Floats) -> Floats:
        """(n, 6) what `velocities` are examples of, from (n, length) descriptors."""
        place = values[:, PLACE]
        return np.concatenate([values[:, VELOCITY] / self.usual_speed(place)[:, None], place * self.nearness], axis=1)

    def shape_points(self, values: Floats) -> Floats:
        """(n, c + 2) what `shapes` are examples of, from (n, length) descriptors."""
        shape = (values[:, SHAPE] - self.mean) @ self.components
        return np.concatenate([shape, values[:, PLACE] * self.nearness], axis=1)

    def speed_ratios(self, values: Floats) -> Floats:
        """(n,) speed over the usual speed there."""
        ratio = np.maximum(values[:, SPEED][:, 0], SLOWEST) / self.usual_speed(values[:, PLACE])
        return np.asarray(ratio, dtype=np.float32)

    def measures(self, values: Floats) -> Floats:
        """(n, 3) speed, direction and shape of (n, length) descriptors."""
        direction = nearest(self.velocity_points(values), self.velocities)
        shape = nearest(self.shape_points(values), self.shapes)
        return np.stack([self.speed_ratios(values), direction, shape], axis=1)

    def rarities(self, measures: Floats) -> Floats:
        """(…, 3) rarities of (…, 3) measures."""
        z = (np.log(np.maximum(measures, CLOSEST)) - self.location) / self.scale
        return np.asarray(z - (1 - BEYOND) * np.maximum(z - self.cap, 0), dtype=np.float32)

    def __call__(self, values: Floats) -> Floats:
        """(n, 4) rarities and the usual speed there: what the network answers."""
        usual = self.usual_speed(values[:, PLACE])[:, None]
        return np.concatenate([self.rarities(self.measures(values)), usual], axis=1)

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
