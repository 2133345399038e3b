"""H264Writer: frames to an mp4 file that is either complete or absent.

It is not in `streamad.visual`, which exports it, because `streamad.synthetic_scene` uses it and may not import that
package.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from streamad.errors import OutputError, UsageError

KEY_FRAME_SECONDS = 2.0
"""Longest time between key frames, as in surveillance cameras."""


class H264Writer:
    """Writes RGB frames to an H.264 mp4 (libx264, yuv420p, index at the front for streaming).

    The file has a temporary name in the same folder until it is complete; an exception in the `with` block removes it.
    Odd sizes are padded by repeating the last column or row, because yuv420p requires even sizes.

    Args:
        path: The file to write; its folder is created.
        width: Width of the frames given to `write`, pixels, at least 2.
        height: Height of the frames, pixels, at least 2.
        fps: Frames per second, > 0.
        crf: Constant rate factor, 0 (lossless) to 51; x264's default is 23.
        preset: Speed preset of x264.
        threads: Encoder threads; the same number gives the same bytes.

    Raises:
        UsageError: A size, rate or quality is out of range.
        OutputError: The file cannot be created (read-only folder, no libx264).

    Example:
        >>> with H264Writer(path, width=640, height=360, fps=12.5) as writer:  # doctest: +SKIP
        ...     writer.write(frame)
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: float | Fraction,
        crf: float = 23,
        preset: str = "veryfast",
        threads: int = 2,
    ) -> None:
        if width < 2 or height < 2:
            raise UsageError(f"a video must be at least 2×2 pixels, got {width}×{height}")
        if not 0 < fps <= 1000 or not 0 <= crf <= 51 or threads < 1:
            raise UsageError(
                "expected 0 < fps <= 1000, 0 <= crf <= 51 and threads >= 1, "
                f"got fps {fps}, crf {crf}, threads {threads}"
            )
        self._path = Path(path)
        self._shape = (height, width, 3)
        self._pad = (height % 2, width % 2)
        self._frames = 0
        self._container: OutputContainer | None = None
        self._reformatter = VideoReformatter()
        self._temporary: Path | None = None
        rate = Fraction(fps).limit_denominator(1001)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(".mp4", f".{self._path.name}.", self._path.parent)
            self._temporary = Path(name)
            os.fchmod(descriptor, 0o644)
            os.close(descriptor)
            self._container = av.open(name, "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = self._add_stream(self._container, rate, crf, preset, threads)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            self._discard()
            raise self._failure(error) from error

    def _add_stream(
        self, container: OutputContainer, rate: Fraction, crf: float, preset: str, threads: int
    ) -> VideoStream:
        options = {"crf": f"{crf:g}", "preset": preset}
        if platform.machine() in ("x86_64", "AMD64"):
            # With two threads, x264's AVX-512 code writes different bytes from run to run. Without it, it is no slower
            # and writes the same bytes on every such processor.
            options["x264-params"] = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2"
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = self._shape[1] + self._pad[1], self._shape[0] + self._pad[0]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = threads
        stream.codec_context.gop_size = max(1, round(KEY_FRAME_SECONDS * rate))
        # Record the conversion below in the file: BT.601 coefficients, limited range (16..235).
        stream.codec_context.color_range = 1
        stream.codec_context.colorspace = 6
        return stream

    @property
    def path(self) -> Path:
        """Path of the finished file."""
        return self._path

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._frames

    def write(self, frame_rgb: npt.NDArray[np.uint8]) -> None:
        """Append a frame.

        Args:
            frame_rgb: (height, width, 3) uint8 RGB.

        Raises:
            ValueError: The shape or type is not that of the writer, or the writer is closed.
            OutputError: The disk is full or the encoder failed; the unfinished file is removed.
        """
        if self._container is None:
            raise ValueError(f"the writer of {self._path} is closed; create a new one to write again")
        if frame_rgb.shape != self._shape or frame_rgb.dtype != np.uint8:
            raise ValueError(
                f"expected a {self._shape} uint8 RGB frame, got shape {frame_rgb.shape} and dtype {frame_rgb.dtype}"
            )
        if any(self._pad):
            bottom, right = self._pad
            padded = cv2.copyMakeBorder(frame_rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            frame_rgb = np.asarray(padded, dtype=np.uint8)
        try:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
            frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU601, threads=1)
            frame.pts = self._frames
            frame.time_base = 1 / self._stream.codec_context.framerate
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            self._discard()
            raise self._failure(error) from error
        self._frames += 1

    def close(self) -> None:
        """Finish the file and rename it; does nothing if the writer is already closed.

        Raises:
            OutputError: The disk is full, or no frame was written; the unfinished file is removed.
        """
        if self._container is None or self._temporary is None:
            return
        if self._frames == 0:
            self._discard()
            raise OutputError(f"no frame was written to {self._path}", hint="check that the source has frames")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            with self._temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self._path)
            self._temporary = None
        except (OSError, av.error.FFmpegError) as error:
            self._discard()
            raise self._failure(error) from error

    def abort(self) -> None:
        """Close the encoder and remove the unfinished file."""
        self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _discard(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            # Writing the trailer of a discarded file may fail for the same reason.
            with contextlib.suppress(OSError, ValueError, av.error.FFmpegError):
                container.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _failure(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(
            f"cannot write the video {self._path}: {reason}",
            hint="check that the folder is writable and that the disk is not full",
        )
