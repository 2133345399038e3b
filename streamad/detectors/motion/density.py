"""The detector's model in NumPy: how far the movement in a cell is from what was normal there."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import CLOSEST, DISTANCE, FAST, MOVEMENT, OUTPUTS, PLACE, SLOW, STAY, STAYED

Floats = npt.NDArray[np.float32]

TIME_OF = np.repeat([0, 1], [FAST.stop - FAST.start, SLOW.stop - SLOW.start])
"""Column of `MotionModel.usual` that each number of the movement belongs to."""

CHUNK = 128
"""Points that are compared with the examples at once: their distances stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class MotionModel:
    """What was learned from a camera's normal video.

    **Usual movement and pace.** Gaussian kernel regressions, over `anchors`, of the logarithms of the usual movement
    over each of the two times (mean speed over a cell in which something moves) and of the usual pace (speed of what
    moves).

    **Distance.** A cell's movement is divided by the usual movement there and by `spread`, so that near and far, busy
    and quiet places are measured alike. Its distance is the Euclidean one from (movement, place · `nearness`) to the
    nearest normal example, but at most that to no movement at all, which is normal everywhere. Places are counted from
    the middle of the anchors, for the rounding of squares.

    **Stay.** Where something new stands, the distance is the length of the stay in units of the longest usual one
    there, times `stay_scale`.

    A density of velocities by nearest neighbors is the idea of AI-VAD (Reiss and Hoshen 2022, arXiv 2212.00789). Cells
    instead of detected objects, two times, and the scale of the place are additions.

    Attributes:
        anchors: (a, 2) rows and columns, working pixels.
        usual: (a, 4) natural logarithms of the usual movement over the shorter and the longer time, larger where
            normal video itself is hard to foresee (`fitting.scaled_by_surprise`), and of the usual pace there, working
            pixels per second, and of the longest usual stay there, seconds.
        sharpness: (1,) 1 / (2 · bandwidth²) of the kernel, 1 / pixel².
        spread: (10,) root mean square of each number of the movement, in units of the usual movement over its time.
        nearness: (1,) distance per working pixel between places.
        examples: (m, 12) normal examples of movement and place · nearness.
        stay_scale: (1,) distance of a stay that is as long as the longest usual one.
    """

    anchors: Floats
    usual: Floats
    sharpness: Floats
    spread: Floats
    nearness: Floats
    examples: Floats
    stay_scale: Floats

    def with_stays(self, usual: float, scale: float) -> MotionModel:
        """Return the model with another longest usual stay, seconds, and another `stay_scale`."""
        table = self.usual.copy()
        table[:, -1] = np.log(usual)
        return replace(self, usual=table, stay_scale=np.array([scale], np.float32))

    def usual_there(self, place: Floats) -> Floats:
        """Return the (n, 4) usual movement, pace and stay (see `usual`) at (n, 2) rows and columns."""
        # There are few distinct places: each is computed once, its two 32-bit numbers viewed as one of 64 bits.
        keys, which = np.unique(np.ascontiguousarray(place, np.float32).view(np.int64).ravel(), return_inverse=True)
        places = keys.view(np.float32).reshape(-1, 2)
        squares = ((places[:, None, :] - self.anchors[None]) ** 2).sum(axis=-1) * self.sharpness
        weights = np.exp(squares.min(axis=1, keepdims=True) - squares)
        logs = (weights @ self.usual) / weights.sum(axis=1, keepdims=True)
        return np.asarray(np.exp(logs), dtype=np.float32)[which]

    def points(self, values: Floats) -> Floats:
        """Return the (n, 12) points of (n, length) descriptors that compare with `examples`."""
        place = values[:, PLACE]
        moved = values[:, MOVEMENT] / (self.usual_there(place)[:, TIME_OF] * self.spread)
        return np.concatenate([moved, (place - self.anchors.mean(axis=0)) * self.nearness], axis=1)

    def __call__(self, values: Floats) -> Floats:
        """Return the (n, 5) network's output for (n, length) descriptors; see `layout`."""
        answer = np.empty((len(values), OUTPUTS), np.float32)
        usual = self.usual_there(values[:, PLACE])
        answer[:, 1:STAYED] = usual[:, :-1]
        answer[:, STAYED] = values[:, STAY] / usual[:, -1]
        stayed = self.stay_scale * answer[:, STAYED]
        answer[:, DISTANCE] = np.maximum(distances(self.points(values), self.examples), stayed)
        return answer

    @property
    def numbers(self) -> int:
        """Number of learned parameters."""
        return sum(value.size for value in self.state().values())

    def state(self) -> dict[str, Floats]:
        """Return every array by its name, as stored."""
        return {item.name: np.ascontiguousarray(getattr(self, item.name), np.float32) for item in fields(self)}


def distances(
    points: Floats,
    examples: Floats,
    own: npt.NDArray[np.intp] | None = None,
    of: npt.NDArray[np.intp] | None = None,
) -> Floats:
    """Return the (n,) distance, at least `CLOSEST`, of each point to the nearest example, or to no movement if nearer.

    Args:
        points: (n, 12) points, see `MotionModel.points`.
        examples: (m, 12) examples.
        own: (n,) number of the stretch of time that each point comes from. Default: examples of all stretches count.
        of: (m,) ascending number of the stretch that each example comes from; those of a point's own stretch do not
            count for it.
    """
    still = (points[:, : MOVEMENT.stop - MOVEMENT.start] ** 2).sum(axis=1)
    least = np.full(len(points), np.inf, np.float32)
    # |e|² − 2 p·e as one product of matrices; |p|² is common to a point's row.
    right = np.ascontiguousarray(np.concatenate([-2.0 * examples, (examples**2).sum(axis=1, keepdims=True)], axis=1).T)
    left = np.concatenate([points, np.ones((len(points), 1), np.float32)], axis=1)
    room = np.empty((CHUNK, len(examples)), np.float32)
    for start in range(0, len(points) if len(examples) else 0, CHUNK):
        part = left[start : start + CHUNK]
        squares = np.matmul(part, right, out=room[: len(part)])
        if own is not None and of is not None:
            mine = own[start : start + CHUNK]
            for stretch in np.unique(mine):
                first, last = np.searchsorted(of, [stretch, stretch + 1])
                squares[mine == stretch, first:last] = np.inf
        squares.min(axis=1, out=least[start : start + CHUNK])
    return np.asarray(np.sqrt(np.maximum(np.minimum(least + (points**2).sum(axis=1), still), CLOSEST**2)), np.float32)
