"""A clip of luma as it was scored: full range, real timestamps, complete or absent."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from streamad.errors import OutputError
from streamad.frame import Frame

CRF = 16
"""Quality of the recordings: noise and edges of the background stay as they are live, at 2.3 Mbit/s for a street in
640×360."""

_MILLISECONDS = Fraction(1, 1000)
_FULL = 2  # AVCOL_RANGE_JPEG


class ClipWriter:
    """Writes frames of one size as H.264 in Matroska, under a temporary name until it is closed.

    Args:
        path: The file.
        fps: Frame rate, for the encoder.

    Raises:
        OutputError: The file cannot be created.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.part")
        self._fps = fps
        self._first: float | None = None
        self._last = -1
        self.seconds = 0.0
        """Time from the first frame to the newest, plus one frame."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._temporary), "w", format="matroska")
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self._stream: av.VideoStream | None = None

    def write(self, frame: Frame) -> None:
        """Add a frame. An odd last row or column is left out, since H.264 needs even sizes.

        Raises:
            OutputError: The disk is full.
        """
        height, width = (side // 2 * 2 for side in frame.shape)
        self._first = frame.pts_seconds if self._first is None else self._first
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = frame.pixels[:height, :width]
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.color_range = _FULL
        self._last = max(self._last + 1, round(1000 * (frame.pts_seconds - self._first)))
        picture.pts, picture.time_base = self._last, _MILLISECONDS
        try:
            if self._stream is None:
                self._stream = self._begin(height, width)
            self._container.mux(self._stream.encode(picture))
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self.seconds = frame.pts_seconds - self._first + 1.0 / self._fps

    def close(self) -> None:
        """Finish the file.

        Raises:
            OutputError: The disk is full.
        """
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()
            os.replace(self._temporary, self.path)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error

    def discard(self) -> None:
        """Remove what was written."""
        self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _begin(self, height: int, width: int) -> av.VideoStream:
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate, options={"crf": str(CRF), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = _MILLISECONDS
        stream.codec_context.thread_count = 1
        stream.codec_context.color_range = _FULL
        stream.codec_context.gop_size = max(1, round(2 * self._fps))
        stream.codec_context.max_b_frames = 0
        return stream

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(
            f"cannot record to {self.path}: {getattr(error, 'strerror', None) or error}",
            hint="free some disk space, or give another folder with --out",
        )
