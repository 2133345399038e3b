"""Orientation: how a coded picture is turned and mirrored to be shown, as players and FFmpeg do.

Containers (a phone's MP4) and JPEG's EXIF keep the picture as the sensor saw it, with a display matrix beside it.
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
"""Share of a matrix that may point elsewhere than along the axes: about one degree, as in FFmpeg's autorotation."""


class Orientation(NamedTuple):
    """A turn by a multiple of 90 degrees, with or without mirroring.

    Attributes:
        transposed: rows and columns change places; done first.
        left_right: then columns are reversed.
        top_down: then rows are reversed.
    """

    transposed: bool = False
    left_right: bool = False
    top_down: bool = False

    def applied(self, pixels: UInt8Image) -> UInt8Image:
        """The (H, W) picture as shown: (W, H) where transposed. The array owns its memory."""
        if not any(self):
            return pixels
        shown = pixels.T if self.transposed else pixels
        shown = shown[:: -1 if self.top_down else 1, :: -1 if self.left_right else 1]
        return np.ascontiguousarray(shown)


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """How a decoded frame is to be shown; None where its matrix is not a multiple of 90 degrees."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV cannot list side data of a kind that it does not know, such as EXIF. The angle alone is still to be had.
        turn = math.radians(frame.rotation)
        a, b, c, d = math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)
    else:
        if data is None:
            return Orientation()
        # The point (x, y) of the coded picture is shown at (a x + c y, b x + d y).
        a, b, _, c, d = (value / 65536 for value in struct.unpack_from("=5i", memoryview(cast(SideData, data))))
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) <= _SLANT * straight:
        return Orientation(False, a < 0, d < 0)
    if max(abs(a), abs(d)) <= _SLANT * crossed:
        return Orientation(True, c < 0, b < 0)
    return None
