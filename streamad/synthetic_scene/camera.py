"""A pinhole camera over flat ground: projection of scene points to the picture, and back.

World axes: X to the right, Y away from the camera along the ground, Z up; meters. The camera is above the origin.
Picture axes: x to the right, y down; pixels of the (supersampled) canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A fixed surveillance camera.

    Attributes:
        width: Canvas width, pixels.
        height: Canvas height, pixels.
        focal: Focal length, pixels of the canvas.
        elevation: Height of the lens above the ground, meters.
        tilt: Angle of the optical axis below the horizontal, radians.
        roll: Rotation about the optical axis, radians.
    """

    width: int
    height: int
    focal: float
    elevation: float
    tilt: float
    roll: float

    @cached_property
    def rotation(self) -> Floats:
        """(3, 3) matrix. Its rows are the camera's right, down and forward axes in world coordinates."""
        sin, cos = math.sin(self.tilt), math.cos(self.tilt)
        right = np.array([1.0, 0.0, 0.0])
        down = np.array([0.0, -sin, -cos])
        forward = np.array([0.0, cos, -sin])
        sin_roll, cos_roll = math.sin(self.roll), math.cos(self.roll)
        return np.stack([cos_roll * right + sin_roll * down, cos_roll * down - sin_roll * right, forward])

    @cached_property
    def matrix(self) -> Floats:
        """(3, 4) matrix from homogeneous world points to (x·depth, y·depth, depth)."""
        intrinsics = np.array([[self.focal, 0.0, self.width / 2], [0.0, self.focal, self.height / 2], [0.0, 0.0, 1.0]])
        center = np.array([0.0, 0.0, self.elevation])
        extrinsics = np.concatenate([self.rotation, (-self.rotation @ center)[:, None]], axis=1)
        return np.asarray(intrinsics @ extrinsics)

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Project world points.

        Args:
            points: (..., 3) world points, meters.

        Returns:
            (..., 2) canvas pixels, and (...) depth along the optical axis in meters. Points behind the camera have a
            depth <= 0 and meaningless pixels.
        """
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = homogeneous[..., 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        return homogeneous[..., :2] / safe[..., None], depth

    def ground_of(self, x: Floats, y: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Find the ground points at canvas pixels.

        Args:
            x: Horizontal canvas pixels, of any shape.
            y: Vertical canvas pixels, of the same shape.

        Returns:
            World X and Y in meters, and a mask that is False where the ray does not hit the ground (sky).
        """
        rays_x = (x - self.width / 2) / self.focal
        rays_y = (y - self.height / 2) / self.focal
        r = self.rotation
        down = -(rays_x * r[0, 2] + rays_y * r[1, 2] + r[2, 2])
        hits = down > 1e-3
        reach = self.elevation / np.where(hits, down, 1.0)
        world_x = reach * (rays_x * r[0, 0] + rays_y * r[1, 0] + r[2, 0])
        world_y = reach * (rays_x * r[0, 1] + rays_y * r[1, 1] + r[2, 1])
        return world_x, world_y, hits


@dataclass(frozen=True)
class Walkway:
    """A straight path on the ground with its own coordinates.

    `s` runs along the path in the direction of the flow, `v` across it; +v is the far side. Meters.

    Attributes:
        origin_x, origin_y: World position of s = 0, v = 0.
        angle: Direction of the path relative to the world's X axis, radians, within ±π/2.
        forward: +1 if the flow follows `angle`, -1 if it runs the other way.
        half_width: Half the paved width.
        visible: (first, last) s of the center line inside the picture.
        reach: (first, last) s beyond which nothing on the path is visible.
    """

    origin_x: float
    origin_y: float
    angle: float
    forward: int
    half_width: float
    visible: tuple[float, float] = (0.0, 0.0)
    reach: tuple[float, float] = (0.0, 0.0)

    @property
    def heading(self) -> float:
        """World angle of the flow, radians."""
        return self.angle if self.forward > 0 else self.angle + math.pi

    def world(self, s: float, v: float) -> tuple[float, float]:
        """World X, Y of a position on the path."""
        along_x, along_y = math.cos(self.heading), math.sin(self.heading)
        return (
            self.origin_x + s * along_x - v * math.sin(self.angle),
            self.origin_y + s * along_y + v * math.cos(self.angle),
        )

    def coordinates(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Path coordinates (s, v) of world positions of any common shape."""
        dx, dy = x - self.origin_x, y - self.origin_y
        s = dx * math.cos(self.heading) + dy * math.sin(self.heading)
        return s, dy * math.cos(self.angle) - dx * math.sin(self.angle)
