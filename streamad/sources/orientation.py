"""Orientation: rotation and mirroring of coded pictures for display, as in players and FFmpeg.

Containers (such as MP4 from a phone) and EXIF in JPEG store the picture as the sensor read it, plus a display matrix.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

from streamad.frame import UInt8Image

_SLANT = 0.02
"""Tolerated off-axis share of a display matrix: about one degree, as in FFmpeg's autorotation."""


class Orientation(NamedTuple):
    """A rotation by a multiple of 90 degrees, with or without mirroring.

    Attributes:
        transposed: Whether rows and columns are swapped. Applied first.
        left_right: Whether columns are then reversed.
        top_down: Whether rows are then reversed.
    """

    transposed: bool = False
    left_right: bool = False
    top_down: bool = False

    def apply(self, pixels: UInt8Image) -> UInt8Image:
        """Return the (H, W) or (H, W, 3) picture as displayed; W before H if transposed. The array owns its memory."""
        if not any(self):
            return pixels
        shown = pixels.swapaxes(0, 1) if self.transposed else pixels
        shown = shown[:: -1 if self.top_down else 1, :: -1 if self.left_right else 1]
        return np.ascontiguousarray(shown)


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """Orientation of a decoded frame; None if its matrix is not a rotation by a multiple of 90 degrees."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV cannot list side data of unknown kinds, such as EXIF. Only the angle is available then.
        turn = math.radians(frame.rotation)
        a, b, c, d = math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)
    else:
        if data is None:
            return Orientation()
        # The coded point (x, y) is displayed at (a x + c y, b x + d y).
        a, b, _, c, d = (value / 65536 for value in struct.unpack_from("=5i", memoryview(cast(SideData, data))))
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) <= _SLANT * straight:
        return Orientation(False, a < 0, d < 0)
    if max(abs(a), abs(d)) <= _SLANT * crossed:
        return Orientation(True, c < 0, b < 0)
    return None
