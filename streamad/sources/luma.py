"""Luma: full-range (0..255) gray pictures from decoded frames.

The Y plane is the gray picture except for its range. Most video is coded in the limited range 16..235 (ITU-R
BT.601 and BT.709), which a 256-entry table expands. This is 20 to 60 times cheaper than a conversion through
RGB and equals FFmpeg's own conversion to `gray` (tested).
"""

from __future__ import annotations

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from streamad.frame import UInt8Image

_LIMITED, _FULL = 1, 2
"""FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG; 0 is unspecified."""

_YUV = frozenset(f"yuv{s}p" for s in (410, 411, 420, 422, 440, 444)) | {
    *(f"yuva{s}p" for s in (420, 422, 444)),
    *("nv12", "nv21", "nv16", "nv24", "nv42"),
}
"""8-bit formats whose first plane is Y. An unspecified range means limited, by the convention of H.264 and H.265."""
_FULL_YUV = frozenset(f"yuvj{s}p" for s in (411, 420, 422, 440, 444))
_GRAY = frozenset(["gray"])
"""For gray, an unspecified range means full, as in FFmpeg."""

_EXPAND: npt.NDArray[np.uint8] = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


class LumaConverter:
    """Converter from decoded frames to luma. Use one per stream: it reuses its scaler's buffers."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> UInt8Image:
        """Return the (H, W) uint8 luma, full range, of a frame in any pixel format. The array owns its memory."""
        name = frame.format.name
        if name in _YUV or name in _FULL_YUV or name in _GRAY:
            plane = _plane(frame)
            if plane is not None:
                limited = name not in _FULL_YUV and (
                    frame.color_range == _LIMITED or (name in _YUV and frame.color_range != _FULL)
                )
                return _expanded(plane) if limited else plane.copy()
        # The default starts one thread per core, which is ten times slower for a single frame (PyAV issue 2200).
        gray = self._reformatter.reformat(frame, format="gray", dst_color_range=_FULL, threads=1)
        plane = _plane(gray)
        assert plane is not None
        return plane.copy()


def luma(frame: av.VideoFrame) -> UInt8Image:
    """Return the (H, W) uint8 luma, full range, of a single frame. For a stream, keep a `LumaConverter`."""
    return LumaConverter()(frame)


def _plane(frame: av.VideoFrame) -> UInt8Image | None:
    plane = frame.planes[0]
    if plane.line_size < frame.width:  # negative: stored bottom up
        return None
    # Rows are padded to the line size, and the last row's padding may be missing.
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8, count=plane.line_size * (frame.height - 1) + frame.width)
    return np.lib.stride_tricks.as_strided(rows, (frame.height, frame.width), (plane.line_size, 1), writeable=False)


def _expanded(plane: UInt8Image) -> UInt8Image:
    expanded: UInt8Image = cv2.LUT(plane, _EXPAND).reshape(plane.shape)  # type: ignore[assignment]
    return expanded
